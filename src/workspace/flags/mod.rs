//! Files that run by themselves: a tool of the operator executes or obeys them without being asked.

mod table;

use std::path::Path;

use table::{ENDINGS, NAMES, PLACES};

/// When it runs, the most dangerous first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At the next command of version control.
    Next,
    /// When somebody enters the directory, opens it, or starts a program there.
    Entered,
    /// When somebody builds, tests, installs or pushes.
    Asked,
}

/// When and why a path deserves a look before the operator works in the tree; `None` for most.
pub fn flag(path: &Path) -> Option<(When, &'static str)> {
    // File systems that ignore case would take `.GIT/hooks` for the same.
    let path = path.as_os_str().to_string_lossy().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').collect();
    let (name, _) = parts.split_last()?;
    let in_place = parts.iter().zip(1..).filter_map(|(part, next)| in_place(part, &parts[next..]));
    let by_name = NAMES.iter().filter(|(names, ..)| names.contains(name)).map(|(_, when, why)| (*when, *why));
    let by_ending = ENDINGS.iter().filter(|(ending, ..)| name.ends_with(ending)).map(|(_, when, why)| (*when, *why));
    in_place.chain(by_name).chain(by_ending).min_by_key(|(when, _)| *when)
}

fn in_place(directory: &str, below: &[&str]) -> Option<(When, &'static str)> {
    let first = below.first()?;
    if directory == ".git" && matches!(*first, "modules" | "worktrees") {
        // A submodule has a git directory of its own there.
        let is_config = below.last().is_some_and(|name| matches!(*name, "config" | "config.worktree"));
        return (below.contains(&"hooks") || is_config).then_some((When::Next, "git runs it, or programs that it names"));
    }
    let found = PLACES.iter().find(|(place, names, ..)| *place == directory && (names.is_empty() || names.contains(first)));
    found.map(|(.., when, why)| (*when, *why))
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: G07 I02
    #[test]
    fn what_runs_by_itself_is_named() {
        for (path, when) in [
            (".git/hooks/pre-commit", When::Next),
            ("sub/.git/config", When::Next),
            (".git", When::Next),
            (".GIT/hooks/x", When::Next),
            (".git/modules/lib/hooks/x", When::Next),
            (".hg/hgrc", When::Next),
            (".envrc", When::Entered),
            ("deep/down/.envrc", When::Entered),
            (".vscode/tasks.json", When::Entered),
            (".Rprofile", When::Entered),
            (".lvimrc", When::Entered),
            (".ycm_extra_conf.py", When::Entered),
            ("x/sitecustomize.py", When::Entered),
            ("lib/x.pth", When::Entered),
            ("opencode.json", When::Entered),
            (".claude/settings.json", When::Entered),
            (".codex/config.toml", When::Entered),
            ("a.code-workspace", When::Entered),
            ("Makefile", When::Asked),
            (".github/workflows/ci.yml", When::Asked),
            (".mvn/extensions.xml", When::Asked),
            ("gradle/wrapper/gradle-wrapper.jar", When::Asked),
            ("eslint.config.mjs", When::Asked),
            ("compose.override.yaml", When::Asked),
            ("composer.json", When::Asked),
            ("PKGBUILD", When::Asked),
            ("debian/rules", When::Asked),
            ("crates/x/build.rs", When::Asked),
            ("tests/conftest.py", When::Asked),
            ("package.json", When::Asked),
        ] {
            assert_eq!(flag(Path::new(path)).map(|(when, _)| when), Some(when), "{path}");
        }
        for path in [
            "src/main.rs",
            "README.md",
            "git/hooks/x",
            "vscode/x",
            ".github/CODEOWNERS",
            "docs/makefile.md",
            ".git/objects/ab/cd",
            ".git/modules/lib/index",
        ] {
            assert_eq!(flag(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn names_in_the_table_are_in_lower_case_and_named_once() {
        let names: Vec<&str> = NAMES.iter().flat_map(|(names, ..)| *names).copied().collect();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(!names[..index].contains(name), "{name} is named twice");
        }
    }
}
