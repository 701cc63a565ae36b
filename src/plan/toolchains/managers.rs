//! The managers of programs and toolchains that people have: where each keeps what it installs, and what of it an agent sees.
//!
//! Absent on purpose: credentials (`.cargo/credentials.toml`, `.npmrc`, `.netrc`, `.pypirc`), caches that are written to, and anything that
//! belongs to a person rather than to a program. Only what a row lists is shown.

/// Where a manager keeps what it installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// Below the home directory, or where this variable says.
    Home(&'static str, Option<&'static str>),
    /// At one place on every machine.
    At(&'static str),
    /// Wherever a directory of `PATH` has this beside it.
    Beside(&'static str),
}

/// One manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it keeps what it installs.
    pub(super) root: Root,
    /// What of it is shown, read-only; `.` is the root itself, and `*` the files that lie in it.
    pub(super) shows: &'static [&'static str],
    /// Variables that lead to it: the name, and the place below the root.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// A manager without which it does nothing.
    pub(super) needs: Option<&'static str>,
}

const fn manager(name: &'static str, root: Root, shows: &'static [&'static str]) -> Manager {
    Manager { name, root, shows, variables: &[], needs: None }
}

/// The table; of two that fit the first counts.
pub(super) const MANAGERS: &[Manager] = &[
    // Its proxies find their toolchain by RUSTUP_HOME, in which they must find `update-hashes`, too. CARGO_HOME stays inside: the registry's cache is written to.
    Manager { needs: Some("rustup"), ..manager("cargo", Root::Home(".cargo", Some("CARGO_HOME")), &["bin"]) },
    Manager {
        variables: &[("RUSTUP_HOME", ".")],
        ..manager("rustup", Root::Home(".rustup", Some("RUSTUP_HOME")), &["toolchains", "settings.toml", "update-hashes"])
    },
    manager("go", Root::Home("go", Some("GOPATH")), &["bin"]),
    manager("go-sdk", Root::Home("sdk", None), &["."]),
    Manager { variables: &[("NVM_DIR", ".")], ..manager("nvm", Root::Home(".nvm", Some("NVM_DIR")), &["versions", "alias", "nvm.sh"]) },
    manager("fnm", Root::Home(".local/share/fnm", Some("FNM_DIR")), &["node-versions", "aliases"]),
    manager("fnm", Root::Home(".fnm", None), &["node-versions", "aliases"]),
    Manager { variables: &[("VOLTA_HOME", ".")], ..manager("volta", Root::Home(".volta", Some("VOLTA_HOME")), &["bin", "tools", "*"]) },
    Manager {
        variables: &[("PNPM_HOME", ".")],
        ..manager("pnpm", Root::Home(".local/share/pnpm", Some("PNPM_HOME")), &["*", "bin", "global", "nodejs", ".tools"])
    },
    manager("pipx", Root::Home(".local/share/pipx", Some("PIPX_HOME")), &["venvs", "py"]),
    manager("pipx", Root::Home(".local/pipx", None), &["venvs", "py"]),
    manager("uv", Root::Home(".local/share/uv", None), &["tools", "python"]),
    Manager {
        variables: &[("PYENV_ROOT", ".")],
        ..manager(
            "pyenv",
            Root::Home(".pyenv", Some("PYENV_ROOT")),
            &["bin", "libexec", "pyenv.d", "plugins", "shims", "versions", "version"],
        )
    },
    Manager {
        variables: &[("MISE_DATA_DIR", ".")],
        ..manager("mise", Root::Home(".local/share/mise", Some("MISE_DATA_DIR")), &["bin", "installs", "shims", "plugins"])
    },
    Manager {
        variables: &[("ASDF_DATA_DIR", "."), ("ASDF_DIR", ".")],
        ..manager("asdf", Root::Home(".asdf", Some("ASDF_DATA_DIR")), &["asdf.sh", "bin", "installs", "lib", "libexec", "plugins", "shims"])
    },
    manager("claude", Root::Home(".local/share/claude", None), &["versions"]),
    manager("bun", Root::Home(".bun", Some("BUN_INSTALL")), &["bin", "install/global/node_modules"]),
    manager("deno", Root::Home(".deno", Some("DENO_INSTALL")), &["bin"]),
    manager("opencode", Root::Home(".opencode", None), &["bin"]),
    Manager {
        variables: &[("HOMEBREW_PREFIX", ".")],
        ..manager(
            "homebrew",
            Root::At("/home/linuxbrew/.linuxbrew"),
            &["bin", "sbin", "lib", "libexec", "opt", "Cellar", "share", "include", "Frameworks"],
        )
    },
    // A virtual environment by its own mark, and npm's prefix by its directory of packages.
    manager("venv", Root::Beside("pyvenv.cfg"), &["."]),
    manager("npm", Root::Beside("lib/node_modules"), &["bin", "lib/node_modules", "include"]),
];
