//! One test function in a process of its own: the same program runs again, and in it that test alone.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Names the directory in which the child works.
pub const PLACE: &str = "BOTTLE_TEST_PLACE";

/// The command that runs one ignored test of this program, and no other.
pub fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own program"));
    command.args(arguments(test));
    command
}

/// The arguments with which a test program runs one ignored test, and no other.
pub fn arguments(test: &str) -> [&str; 5] {
    ["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]
}

/// Where a child works.
pub fn place() -> PathBuf {
    PathBuf::from(std::env::var_os(PLACE).expect("run by another test"))
}

/// All that a child wrote, for the message of a test that fails.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
