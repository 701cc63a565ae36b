//! What several tests need: children that run one test function elsewhere, small file systems, tools that may be missing.

use std::path::Path;
use std::process::{Command, Output};

use bottle_test_support::child::arguments;
pub(crate) use bottle_test_support::child::{child, place, said};
pub(crate) use bottle_test_support::tools::names;
use tempfile::TempDir;

/// A temporary directory on tmpfs.
pub(crate) fn memory() -> TempDir {
    tempfile::Builder::new().prefix("bottle-test-").tempdir_in("/dev/shm").unwrap()
}

/// A layout of its own below `home`, with its runtime directory in `memory`.
pub(crate) fn layout(home: &Path, memory: &Path) -> bottle::store::Layout {
    let facts = bottle::store::Facts {
        bottle_home: Some(home.as_os_str().to_owned()),
        runtime_dir: Some(memory.as_os_str().to_owned()),
        uid: rustix::process::geteuid().as_raw(),
        ..Default::default()
    };
    bottle::store::Layout::compute(&facts).unwrap()
}

/// Runs an ignored test with a small tmpfs at `place`, in a mount namespace of its own.
pub(crate) fn on_small_tmpfs(test: &str, options: &str, place: &Path) -> Output {
    in_mount_namespace(&format!("mount -t tmpfs -o mode=0700,{options} none \"$1\""), place)
        .arg(std::env::current_exe().unwrap())
        .args(arguments(test))
        .env("BOTTLE_TEST_PLACE", place)
        .output()
        .unwrap()
}

/// A shell in a mount namespace of its own: runs `script` with `place` as its argument, then the command that is appended.
pub(crate) fn in_mount_namespace(script: &str, place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", &format!("{script} && shift && exec \"$@\""), "sh"]).arg(place);
    command
}

/// Whether a tool is installed. In CI it must be.
pub(crate) fn has(tool: &str) -> bool {
    bottle_test_support::tools::tool(tool).is_some()
}

/// Whether this is root. In CI it must be.
#[expect(clippy::print_stderr, reason = "a skip says what is missing")]
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can make files of other users");
    }
    root
}

/// Permission bits of a path, which is not followed.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&std::fs::symlink_metadata(path).unwrap()) & 0o7777
}

/// Ends a process that this test has started.
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
