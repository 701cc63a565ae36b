//! Programs and toolchains of a home, laid out as their managers do: what an agent sees of them, and what never.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bottle::agent_program::toolchains_of;
use bottle::plan::agent::Invocation;
use bottle::plan::build::Facts;
use bottle::plan::plan;
use bottle::plan::toolchains::{Operator, Toolchains};
use bottle::plan::workspace::Place;

use crate::manifest::library;

struct Home {
    root: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn program(&self, name: &str) -> &Self {
        self.file(name, "\x7fELF", 0o755)
    }

    fn link(&self, name: &str, to: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
        self
    }

    fn find(&self, path: &[&str], variables: &[(&str, &str)], tools: &[&str]) -> Toolchains {
        let variables = variables.iter().map(|(name, place)| ((*name).to_owned(), self.path(place))).collect();
        let absolute = |name: &&str| if name.starts_with('/') { PathBuf::from(name) } else { self.path(name) };
        toolchains_of(&Operator {
            home: Some(self.path("")),
            path: path.iter().map(absolute).collect(),
            variables,
            tools: tools.iter().map(|name| self.path(name)).collect(),
        })
    }

    fn shown(&self, found: &Toolchains) -> (Vec<String>, Vec<String>, BTreeMap<String, String>) {
        let home = format!("{}/", self.path("").display().to_string().trim_end_matches('/'));
        let short = |path: &Path| format!("{}/", path.display()).replace(&home, "~/").trim_end_matches('/').to_owned();
        let paths = |list: &[PathBuf]| list.iter().map(|path| short(path)).collect();
        (paths(&found.trees), paths(&found.path), found.env.iter().map(|(name, place)| (name.clone(), short(place))).collect())
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

// covers: V12 W23
#[test]
fn rust_from_rustup_runs_and_brings_no_credential_and_no_cache() {
    let home = Home::new();
    home.program(".cargo/bin/rustup").link(".cargo/bin/cargo", "rustup").file(".cargo/credentials.toml", "token", 0o600);
    home.file(".cargo/registry/index/x", "", 0o644).program(".rustup/toolchains/stable/bin/cargo").file(".rustup/settings.toml", "", 0o644);
    home.file(".rustup/downloads/x", "", 0o644).file(".rustup/update-hashes/stable", "", 0o644);
    let found = home.find(&["/usr/bin", ".cargo/bin", "/bin"], &[], &[]);
    let (trees, path, variables) = home.shown(&found);
    assert_eq!(trees, texts(&["~/.cargo/bin", "~/.rustup/toolchains", "~/.rustup/settings.toml", "~/.rustup/update-hashes"]));
    assert_eq!(
        path,
        texts(&["/usr/bin", "~/.cargo/bin"])
            .into_iter()
            .chain(fs::canonicalize("/bin").ok().filter(|bin| bin != Path::new("/usr/bin")).map(|bin| bin.display().to_string()))
            .collect::<Vec<_>>()
    );
    assert_eq!(variables, env(&[("RUSTUP_HOME", "~/.rustup")]));
    assert_eq!(found.managers.into_iter().collect::<Vec<_>>(), ["cargo", "rustup"]);
}

// covers: V12 W23
#[test]
fn each_manager_is_found_by_the_operators_path() {
    let home = Home::new();
    home.program(".nvm/versions/node/v22/bin/node").program(".local/share/fnm/node-versions/v20/installation/bin/node");
    home.link("run/fnm_multishells/7", &home.path(".local/share/fnm/node-versions/v20/installation").display().to_string());
    home.program(".volta/bin/node").program(".volta/tools/image/node/1/bin/node").file(".volta/cache/x", "", 0o644);
    home.program(".local/share/pnpm/codex").program(".local/share/pnpm/global/5/x").file(".local/share/pnpm/store/x", "", 0o644);
    home.program(".pyenv/shims/python3").program(".pyenv/versions/3.12/bin/python3").program(".pyenv/libexec/pyenv");
    home.program(".local/share/mise/shims/go").program(".local/share/mise/installs/go/1/bin/go").program(".asdf/shims/ruby");
    home.program("go/bin/gopls").file("go/pkg/mod/x", "", 0o644).program("sdk/go1.22/bin/go");
    home.program(".npm-global/lib/node_modules/@google/gemini-cli/cli.js").file(".npm-global/.npmrc", "token", 0o600);
    home.link(".npm-global/bin/gemini", "../lib/node_modules/@google/gemini-cli/cli.js");
    home.program("proj/.venv/bin/python").file("proj/.venv/pyvenv.cfg", "", 0o644);
    for (path, managers, trees, variables) in [
        (".nvm/versions/node/v22/bin", "nvm", &["~/.nvm/versions"][..], env(&[("NVM_DIR", "~/.nvm")])),
        ("run/fnm_multishells/7/bin", "fnm", &["~/.local/share/fnm/node-versions"], env(&[])),
        (".volta/bin", "volta", &["~/.volta/bin", "~/.volta/tools"], env(&[("VOLTA_HOME", "~/.volta")])),
        (
            ".local/share/pnpm",
            "pnpm",
            &["~/.local/share/pnpm/codex", "~/.local/share/pnpm/global"],
            env(&[("PNPM_HOME", "~/.local/share/pnpm")]),
        ),
        (".pyenv/shims", "pyenv", &["~/.pyenv/libexec", "~/.pyenv/shims", "~/.pyenv/versions"], env(&[("PYENV_ROOT", "~/.pyenv")])),
        (
            ".local/share/mise/shims",
            "mise",
            &["~/.local/share/mise/installs", "~/.local/share/mise/shims"],
            env(&[("MISE_DATA_DIR", "~/.local/share/mise")]),
        ),
        (".asdf/shims", "asdf", &["~/.asdf/shims"], env(&[("ASDF_DATA_DIR", "~/.asdf"), ("ASDF_DIR", "~/.asdf")])),
        ("go/bin", "go", &["~/go/bin"], env(&[])),
        ("sdk/go1.22/bin", "go-sdk", &["~/sdk"], env(&[])),
        (".npm-global/bin", "npm", &["~/.npm-global/bin", "~/.npm-global/lib/node_modules"], env(&[])),
        ("proj/.venv/bin", "venv", &["~/proj/.venv"], env(&[])),
    ] {
        let found = home.find(&[path], &[], &[]);
        let (shown, _, named) = home.shown(&found);
        assert_eq!((shown, named), (texts(trees), variables), "{path}");
        assert_eq!(found.managers.iter().copied().collect::<Vec<_>>(), [managers], "{path}");
        // What the operator would execute is what the agent executes: the directory is on its path, or its programs were listed.
        assert!(found.path.len() == 1 || path == ".local/share/pnpm", "{path}: {found:?}");
    }
}

// covers: V12 W23
#[test]
fn a_link_into_a_tool_of_pipx_brings_the_tool_and_the_interpreter_behind_it() {
    let home = Home::new();
    let (venv, python) = (".local/share/pipx/venvs/aider-chat", ".local/share/uv/python/cpython-3.12/bin/python3.12");
    home.program(python).link(&format!("{venv}/bin/python"), &home.path(python).display().to_string());
    home.file(&format!("{venv}/bin/aider"), &format!("#!{}\n", home.path(&format!("{venv}/bin/python")).display()), 0o755);
    home.link(".local/bin/aider", &home.path(&format!("{venv}/bin/aider")).display().to_string());
    home.program(".local/bin/mine").file(".local/bin/notes.txt", "", 0o644);
    let found = home.find(&[".local/bin"], &[], &[]);
    let (trees, path, _) = home.shown(&found);
    assert_eq!(trees, texts(&["~/.local/share/pipx/venvs", "~/.local/share/uv/python"]));
    assert_eq!(path, texts(&[]));
    let target = home.path(&format!("{venv}/bin/aider"));
    assert_eq!(found.links, BTreeMap::from([(PathBuf::from("/home/agent/.local/bin/aider"), target)]));
    let bin = home.path(".local/bin").display().to_string();
    assert_eq!(found.notes(), [format!("1 program of {bin} are not shown to the agent; `tools: [{bin}]` in the bottle shows all of it")]);
    // The line that the note names does what it says.
    let listed = home.find(&[".local/bin"], &[], &[".local/bin"]);
    assert_eq!((listed.path, listed.absent), (vec![home.path(".local/bin")], vec![]));
}

// covers: V12 W23
#[test]
fn a_manager_that_was_moved_is_found_by_its_variable_and_the_home_itself_is_never_shown() {
    let home = Home::new();
    home.program("opt/cargo/bin/cargo").program("opt/rustup/toolchains/stable/bin/cargo").program("bin/tool").program("lib/node_modules/x");
    let moved = home.find(&["opt/cargo/bin"], &[("CARGO_HOME", "opt/cargo"), ("RUSTUP_HOME", "opt/rustup")], &[]);
    assert_eq!(home.shown(&moved).0, texts(&["~/opt/cargo/bin", "~/opt/rustup/toolchains"]));
    assert_eq!(home.find(&["bin"], &[], &[]).trees, Vec::<PathBuf>::new());
    assert_eq!(home.find(&["nowhere", "bin/tool"], &[], &[]), Toolchains::default());
}

// covers: V12 W23
#[test]
fn tools_none_shows_nothing_and_an_image_brings_its_own() {
    let home = Home::new();
    home.program(".cargo/bin/cargo");
    let toolchains = home.find(&[".cargo/bin"], &[], &[]);
    let shown = |yaml: &str| {
        let bottle = format!("---\n{yaml}\n---\n");
        let library = library(&[("bottles/b", &bottle), ("agents/a", "---\nbottle: b\nprovider: shell\n---\n")]);
        let facts = Facts {
            place: Place::plain("/work"),
            terminal: false,
            term: None,
            programs: Vec::new(),
            toolchains: toolchains.clone(),
            rules: Vec::new(),
            home: BTreeMap::new(),
            has_local_names: true,
        };
        let plan = plan(&library.resolve("a").unwrap(), "a", &Invocation::default(), &facts);
        let path = serde_json::to_string(&plan.agent.env["PATH"]).unwrap().contains(".cargo/bin");
        (plan.tools, path)
    };
    let bin = home.path(".cargo/bin");
    assert_eq!(shown("env: {}"), (vec![bin.clone()], true));
    assert_eq!(shown("tools: [/opt/x]"), (vec!["/opt/x".into(), bin], true));
    assert_eq!(shown("tools: none"), (vec![], false));
    assert_eq!(shown("rootfs: { image: /x.tar }"), (vec![], false));
}
