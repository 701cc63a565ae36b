//! Makes the agent's own program visible if it is outside the trees that every bottle shows. Pure: the program was looked up before.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::agent::{HOME, PATH};
use super::toolchains::Toolchains;

/// Trees of programs and libraries that every bottle shows. `/opt` and `/nix/store` contain whole toolchains.
pub const TREES: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/run/current-system", "/gnu/store"];

/// A program of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path in `PATH`.
    pub found: PathBuf,
    /// The file, with all links resolved.
    pub file: PathBuf,
    /// The interpreter, if it is a script.
    pub interpreter: Option<Box<Program>>,
}

/// The files and links that the agent sees in addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// Files and directories, read-only, at the same path.
    pub trees: Vec<PathBuf>,
    /// Links in a directory of the agent's `PATH`, and their targets.
    pub links: BTreeMap<PathBuf, PathBuf>,
}

/// Makes as little as possible visible: never the directory of a program, which may be `~/.local/bin` or a home. What the toolchains show
/// is visible already.
pub fn visible(programs: &[Program], toolchains: &Toolchains) -> Visible {
    let mut visible = Visible::default();
    for program in programs.iter().flat_map(|program| [Some(program), program.interpreter.as_deref()]).flatten() {
        let mut trees = TREES.iter().map(Path::new).chain(toolchains.trees.iter().map(PathBuf::as_path));
        let in_tree = trees.any(|tree| program.file.starts_with(tree));
        if !in_tree {
            visible.trees.push(unit(&program.file));
        }
        let mut path = PATH.split(':').map(Path::new).chain(toolchains.path.iter().map(PathBuf::as_path));
        let on_path = program.found.parent().is_some_and(|directory| path.any(|entry| directory == entry));
        if !(in_tree && on_path)
            && let Some(name) = program.found.file_name()
        {
            visible.links.insert(Path::new(HOME).join(".local/bin").join(name), program.file.clone());
        }
    }
    visible
}

/// The smallest unit that runs: an npm package with its siblings of the same scope, because the vendor puts the platform's binary there;
/// the directory of Claude Code's old installer; otherwise the file alone.
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

    fn expected(trees: &[&str], links: &[(&str, &str)]) -> Visible {
        let link = |(name, to): &(&str, &str)| (Path::new("/home/agent/.local/bin").join(name), PathBuf::from(to));
        Visible { trees: trees.iter().map(PathBuf::from).collect(), links: links.iter().map(link).collect() }
    }

    #[test]
    fn each_way_to_install_it_shows_the_program_and_not_its_neighbours() {
        let home = "/home/ann/.local/share/claude/versions/2.1.0";
        let scope = "/home/ann/.npm-global/lib/node_modules/@anthropic-ai";
        for (found, file, expected_visible) in [
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
            assert_eq!(visible(&[program(found, file)], &Toolchains::default()), expected_visible, "{found}");
        }
    }

    #[test]
    fn a_script_brings_its_interpreter() {
        let node = "/home/ann/.nvm/versions/node/v24.0.0/bin/node";
        let cli = "/home/ann/.nvm/versions/node/v24.0.0/lib/node_modules/@anthropic-ai/claude-code/cli.js";
        let mut script = program("/home/ann/.nvm/versions/node/v24.0.0/bin/claude", cli);
        script.interpreter = Some(Box::new(program(node, node)));
        let scope = "/home/ann/.nvm/versions/node/v24.0.0/lib/node_modules/@anthropic-ai";
        assert_eq!(visible(&[script], &Toolchains::default()), expected(&[scope, node], &[("claude", cli), ("node", node)]));
    }
}
