//! Files that run by themselves: a tool of the operator executes or obeys them without being asked.

use std::path::Path;

/// Why a path deserves a look before the operator works in the tree again; `None` for most.
pub fn flag(path: &Path) -> Option<&'static str> {
    // File systems that ignore case would take `.GIT/hooks` for the same.
    let path = path.as_os_str().to_string_lossy().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').collect();
    if let Some(why) = parts.iter().zip(1..).find_map(|(part, next)| in_dir(part, &parts[next..])) {
        return Some(why);
    }
    by_name(parts.last()?)
}

/// True for git's own files, also those of a nested repository, and a `.git` file that names one elsewhere.
pub(super) fn is_git(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().eq_ignore_ascii_case(".git"))
}

fn in_dir(dir: &str, below: &[&str]) -> Option<&'static str> {
    Some(match (dir, below) {
        (".git", ["hooks", ..]) => "git runs it",
        (".git", ["config" | "config.worktree", ..]) => "git's configuration can name programs",
        (".git", _) => "git's own data",
        (".github", ["workflows" | "actions", ..]) | (".gitea" | ".forgejo", ["workflows", ..]) => "the forge runs it",
        (".circleci" | ".buildkite" | ".woodpecker", [_, ..]) => "the CI service runs it",
        (".vscode" | ".idea" | ".zed" | ".fleet", [_, ..]) => "the editor obeys it when the folder is opened",
        (".devcontainer", [_, ..]) => "the editor builds and runs it",
        (".husky" | ".githooks" | ".lefthook", [_, ..]) => "git runs it, once installed",
        (".cargo", ["config" | "config.toml"]) => "cargo obeys it, and it can name programs",
        (".yarn", ["releases" | "plugins", ..]) => "yarn runs it",
        (".claude" | ".cursor" | ".gemini" | ".codex" | ".opencode", [_, ..]) => "a coding agent obeys it",
        (".bottle", [_, ..]) => "bottle reads it",
        (".ssh" | ".gnupg" | ".config", [_, ..]) => "programs of the account obey it, if this is a home directory",
        ("node_modules", [".bin", ..]) => "npm scripts run it",
        (".direnv" | ".mise", [_, ..]) => "the shell obeys it in this directory",
        _ => return None,
    })
}

fn by_name(name: &str) -> Option<&'static str> {
    Some(match name {
        ".envrc" | ".env" | ".mise.toml" | "mise.toml" | ".tool-versions" | ".autoenv" => "the shell obeys it in this directory",
        ".gitmodules" | ".gitattributes" | ".gitconfig" => "git obeys it",
        ".gitlab-ci.yml"
        | ".travis.yml"
        | "azure-pipelines.yml"
        | "jenkinsfile"
        | ".drone.yml"
        | ".woodpecker.yml"
        | "bitbucket-pipelines.yml" => "the CI service runs it",
        ".pre-commit-config.yaml" | "lefthook.yml" | ".lefthook.yml" => "git runs it, once installed",
        "makefile" | "gnumakefile" | "justfile" | ".justfile" | "rakefile" | "taskfile.yml" | "taskfile.yaml" | "cmakelists.txt"
        | "configure" | "meson.build" => "the build runs it",
        "package.json" => "npm runs its scripts, at install too",
        ".npmrc" | ".yarnrc" | ".yarnrc.yml" | ".pnpmfile.cjs" | ".pnp.cjs" => "the package manager obeys it",
        "build.rs" => "cargo runs it",
        "rust-toolchain" | "rust-toolchain.toml" => "rustup obeys it",
        "setup.py" | "setup.cfg" | "pyproject.toml" | "conftest.py" | "tox.ini" | "noxfile.py" | "sitecustomize.py"
        | "usercustomize.py" => "Python tools run or obey it",
        "gemfile" | "build.gradle" | "build.gradle.kts" | "settings.gradle" | "settings.gradle.kts" | "pom.xml" | "gradlew" | "mvnw" => {
            "the build runs it"
        }
        "flake.nix" | "shell.nix" | "default.nix" => "nix evaluates it",
        "dockerfile" | "containerfile" | "compose.yaml" | "compose.yml" | "docker-compose.yml" | "docker-compose.yaml" => {
            "the container engine obeys it"
        }
        ".mcp.json" | "claude.md" | "agents.md" | "gemini.md" | ".cursorrules" => "a coding agent obeys it",
        ".bashrc" | ".bash_profile" | ".profile" | ".zshrc" | ".zshenv" | ".inputrc" => "the shell runs it, if this is a home directory",
        ".vimrc" | ".exrc" | ".nvimrc" | ".nvim.lua" | ".dir-locals.el" | ".editorconfig" => "the editor obeys it",
        ".lldbinit" | ".gdbinit" => "the debugger runs it",
        _ if name.ends_with(".code-workspace") || name.ends_with(".desktop") => "the desktop or the editor obeys it",
        _ if name.ends_with(".pth") => "Python runs it at its start",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: G07
    #[test]
    fn what_runs_by_itself_is_named() {
        for path in [
            ".git/hooks/pre-commit",
            "sub/.git/config",
            ".git",
            ".GIT/hooks/x",
            ".envrc",
            "deep/down/.envrc",
            ".vscode/tasks.json",
            "Makefile",
            ".github/workflows/ci.yml",
            "package.json",
            ".gitmodules",
            "a.code-workspace",
            ".claude/settings.json",
        ] {
            assert!(flag(Path::new(path)).is_some(), "{path}");
        }
        for path in ["src/main.rs", "README.md", "git/hooks/x", "vscode/x", ".github/CODEOWNERS", "docs/makefile.md"] {
            assert_eq!(flag(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn git_is_found_anywhere_in_any_case() {
        for path in [".git", ".git/x", "a/.git/hooks/y", "a/.Git"] {
            assert!(is_git(Path::new(path)), "{path}");
        }
        for path in [".gitignore", "git/x", ".github/x", "a.git/b"] {
            assert!(!is_git(Path::new(path)), "{path}");
        }
    }
}
