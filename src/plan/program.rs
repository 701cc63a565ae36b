//! The agent's own program, where the host keeps it outside the trees that every bottle shows: what to show of it, and where.
//! Pure: the program was looked up before.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::agent::{HOME, PATH};

/// Trees of programs and libraries that every bottle shows. `/opt` and `/nix/store` hold whole toolchains.
pub const TREES: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/run/current-system", "/gnu/store"];

/// A program as it was found on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where `PATH` led to.
    pub found: PathBuf,
    /// The file behind all links.
    pub file: PathBuf,
    /// Who executes it, if it is a script.
    pub interpreter: Option<Box<Program>>,
}

/// What the agent sees in addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Files and directories, read-only, at the same path.
    pub trees: Vec<PathBuf>,
    /// Links in a directory of the agent's `PATH`, to what they lead to.
    pub links: BTreeMap<PathBuf, PathBuf>,
}

/// Shows as little as runs: never the directory that a program merely lies in, which may be `~/.local/bin` with its
/// neighbours, or a home.
pub fn shown(program: &Program) -> Shown {
    let mut shown = Shown::default();
    for program in [Some(program), program.interpreter.as_deref()].into_iter().flatten() {
        let visible = TREES.iter().any(|tree| program.file.starts_with(tree));
        if !visible {
            shown.trees.push(unit(&program.file));
        }
        let on_path = program.found.parent().is_some_and(|directory| PATH.split(':').any(|entry| directory == Path::new(entry)));
        if !(visible && on_path)
            && let Some(name) = program.found.file_name()
        {
            shown.links.insert(Path::new(HOME).join(".local/bin").join(name), program.file.clone());
        }
    }
    shown
}

/// The smallest unit that runs by itself: an npm package with its siblings of the same scope, where the vendor keeps the
/// binary for the platform; the directory of Claude Code's older installer; else the file alone.
fn unit(file: &Path) -> PathBuf {
    let mut path = PathBuf::new();
    let mut components = file.components();
    while let Some(component) = components.next() {
        path.push(component);
        if component == Component::Normal("node_modules".as_ref()) {
            path.extend(components.next());
            return path;
        }
        if path.ends_with(".claude/local") {
            return path;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(found: &str, file: &str) -> Program {
        Program { found: found.into(), file: file.into(), interpreter: None }
    }

    fn expected(trees: &[&str], links: &[(&str, &str)]) -> Shown {
        let link = |(name, to): &(&str, &str)| (Path::new("/home/agent/.local/bin").join(name), PathBuf::from(to));
        Shown { trees: trees.iter().map(PathBuf::from).collect(), links: links.iter().map(link).collect() }
    }

    #[test]
    fn each_way_to_install_it_shows_the_program_and_not_its_neighbours() {
        let home = "/home/ann/.local/share/claude/versions/2.1.0";
        let scope = "/home/ann/.npm-global/lib/node_modules/@anthropic-ai";
        for (found, file, shown_as) in [
            ("/usr/bin/claude", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js", expected(&[], &[])),
            ("/home/ann/.local/bin/claude", home, expected(&[home], &[("claude", home)])),
            ("/usr/local/bin/claude", home, expected(&[home], &[("claude", home)])),
            ("/opt/claude/bin/claude", "/opt/claude/bin/claude", expected(&[], &[("claude", "/opt/claude/bin/claude")])),
            (
                "/home/ann/.npm-global/bin/claude",
                &format!("{scope}/claude-code/cli.js"),
                expected(&[scope], &[("claude", &format!("{scope}/claude-code/cli.js"))]),
            ),
            (
                "/home/ann/.claude/local/claude",
                "/home/ann/.claude/local/claude",
                expected(&["/home/ann/.claude/local"], &[("claude", "/home/ann/.claude/local/claude")]),
            ),
            ("/home/ann/bin/claude", "/home/ann/bin/claude", expected(&["/home/ann/bin/claude"], &[("claude", "/home/ann/bin/claude")])),
        ] {
            assert_eq!(shown(&program(found, file)), shown_as, "{found}");
        }
    }

    #[test]
    fn a_script_brings_its_interpreter() {
        let node = "/home/ann/.nvm/versions/node/v24.0.0/bin/node";
        let cli = "/home/ann/.nvm/versions/node/v24.0.0/lib/node_modules/@anthropic-ai/claude-code/cli.js";
        let mut script = program("/home/ann/.nvm/versions/node/v24.0.0/bin/claude", cli);
        script.interpreter = Some(Box::new(program(node, node)));
        let scope = "/home/ann/.nvm/versions/node/v24.0.0/lib/node_modules/@anthropic-ai";
        assert_eq!(shown(&script), expected(&[scope, node], &[("claude", cli), ("node", node)]));
    }
}
