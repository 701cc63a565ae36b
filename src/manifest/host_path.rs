//! Parses paths of the host, and refuses directories that an agent must not see.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::provider::Login;
use crate::yaml::{At, Problem};

/// The base of relative paths.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The home directory, for `~`.
    pub home: Option<&'a Path>,
    /// The manifest's own directory; none for a built-in one.
    pub directory: Option<&'a Path>,
    /// Logins that a credential may come from, by provider.
    pub logins: Option<&'a BTreeMap<String, Login>>,
}

impl Base<'_> {
    /// Of what bottle brings along.
    pub const BUILT_IN: Self = Self { home: None, directory: None, logins: None };
}

/// Directories of the kernel and of running services: they contain no tools, and their sockets lead out of the bottle.
const FORBIDDEN: [&str; 8] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/tmp", "/etc", "/boot"];

/// Directories in the home directory with credentials.
const CREDENTIALS: [&str; 9] = [".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/bottle"];

/// Parses the path of a file: absolute, from `~`, or relative to the manifest.
pub fn file(text: &At<String>, base: Base<'_>) -> Result<PathBuf, Problem> {
    let path = expand(text, base)?;
    if path.is_absolute() {
        return Ok(path);
    }
    match base.directory {
        Some(directory) => Ok(directory.join(path)),
        None => Err(text.problem("a relative path in a built-in manifest", "write the path from the root or from `~`")),
    }
}

/// Parses a directory of the host that the agent will see.
pub fn tool(text: &At<String>, base: Base<'_>) -> Result<PathBuf, Problem> {
    let path = expand(text, base)?;
    if !path.is_absolute() {
        return Err(text.problem("a tool's directory must be absolute", "write the path from the root or from `~`"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(text.problem("a tool's directory must not go up (`..`)", "write the path without `..`"));
    }
    let secret = base.home.iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let within = FORBIDDEN.iter().map(PathBuf::from).chain(secret).find(|never| path.starts_with(never) || never.starts_with(&path));
    match within {
        None => Ok(path),
        Some(never) => Err(text.problem(
            format!(
                "the agent must not see this directory: it contains, or is in, {}",
                bottle_contract::Untrusted::new(never.as_os_str().as_encoded_bytes())
            ),
            "name the tool's own directory",
        )),
    }
}

/// Reads the path of a file or directory of the host that the agent gets a copy of.
pub fn copied(text: &At<String>, base: Base<'_>) -> Result<PathBuf, Problem> {
    let path = file(text, base)?;
    let clean: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    if clean.components().any(|part| part == Component::ParentDir) {
        return Err(text.problem("a path that goes up (`..`)", "write the path that is meant"));
    }
    let secret = base.home.iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let never = FORBIDDEN.iter().map(PathBuf::from).chain(secret).find(|never| clean.starts_with(never));
    if never.is_some() || base.home.is_some_and(|home| home.starts_with(&clean)) {
        return Err(text.problem("the agent must not get a copy of this", "name the file or directory that it needs"));
    }
    Ok(clean)
}

/// True for a tree that no agent is shown merely because somebody works there: a home directory, the root, and whatever holds, or lies in,
/// credentials of the account.
pub fn is_private(path: &Path, home: Option<&Path>) -> bool {
    let secret = home.iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name))).collect::<Vec<_>>();
    let system = FORBIDDEN.iter().map(Path::new).any(|never| never.starts_with(path));
    system || secret.iter().any(|never| path.starts_with(never) || never.starts_with(path))
}

fn expand(text: &At<String>, base: Base<'_>) -> Result<PathBuf, Problem> {
    let path = text.value.as_str();
    if path.is_empty() || path.chars().any(char::is_control) {
        return Err(text.problem("a path is missing or has a control character", "write the path of a file or directory"));
    }
    if path != "~" && !path.starts_with("~/") {
        if path.starts_with('~') {
            return Err(text.problem("another user's home directory", "write the path from the root"));
        }
        return Ok(PathBuf::from(path));
    }
    match base.home {
        Some(home) => Ok(home.join(path[1..].trim_start_matches('/'))),
        None => Err(text.problem("`~`, but no home directory is known", "set HOME, or write the path from the root")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> At<String> {
        At { value: value.to_owned(), line: 1, column: 1 }
    }

    fn base() -> Base<'static> {
        Base { home: Some(Path::new("/home/u")), directory: Some(Path::new("/home/u/.config/bottle/bottles")), logins: None }
    }

    #[test]
    fn a_file_is_found_from_the_root_the_home_or_the_manifest() {
        for (path, expected) in [
            ("/etc/ssl/x.pem", "/etc/ssl/x.pem"),
            ("~/x.pem", "/home/u/x.pem"),
            ("~//x.pem", "/home/u/x.pem"),
            ("x.pem", "/home/u/.config/bottle/bottles/x.pem"),
            ("../x.pem", "/home/u/.config/bottle/bottles/../x.pem"),
        ] {
            assert_eq!(file(&text(path), base()), Ok(PathBuf::from(expected)));
        }
        for path in ["", "~root/x", "a\nb", "a\0b"] {
            assert!(file(&text(path), base()).is_err(), "{path:?}");
        }
        assert!(file(&text("~/x"), Base { home: None, ..base() }).is_err());
        assert!(file(&text("x"), Base { directory: None, ..base() }).is_err());
    }

    #[test]
    fn a_tool_shows_no_credentials_and_no_sockets() {
        for path in ["/opt/node", "~/.cargo/bin", "/nix/store", "/home/u/tools", "/usr/local/go"] {
            assert!(tool(&text(path), base()).is_ok(), "{path}");
        }
        for path in [
            "/",
            "/home",
            "~",
            "~/",
            "/home/u",
            "~/.ssh",
            "~/.ssh/keys",
            "~/.config",
            "/run/user/1000",
            "/proc",
            "/etc/ssl",
            "/var",
            "bin",
            "/opt/../root",
            "/home/u/.",
        ] {
            assert!(tool(&text(path), base()).is_err(), "{path}");
        }
    }
}
