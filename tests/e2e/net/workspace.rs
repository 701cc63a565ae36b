//! What an agent does to its working directory, and what of it the operator's tree shows: during, after, and once applied.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;

use crate::net::world::{NAME, World, users};

/// Everything of a tree that a change would show in: type, mode, owner, and content or target.
fn picture(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").filter_map(Result::ok) {
            let (path, meta) = (entry.path(), entry.metadata().expect("an entry"));
            let content = if meta.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else if meta.is_symlink() {
                format!("link to {}", fs::read_link(&path).expect("a link").display())
            } else {
                fs::read_to_string(&path).expect("text")
            };
            let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
            found.insert(name, format!("{:o} {}:{} {content}", meta.mode() & 0o7777, meta.uid(), meta.gid()));
        }
    }
    found
}

/// What the agent does in each mode.
const WORK: &str = "cat kept link; echo new >added; echo changed >kept; rm removed; mkdir -p deep/er; echo x >deep/er/file; chmod 755 added; mv moved deep/";

fn world(user: Option<u32>, mode: &str) -> World {
    let world = World::new(user)
        .setting(&format!("workspace: {mode}"))
        .file("kept", "as it was\n")
        .file("removed", "still there\n")
        .file("moved", "moved\n")
        .ready("provider: shell");
    symlink("kept", world.bottle.path().join("work/link")).expect("a link");
    world
}

fn operator(user: Option<u32>) -> (u32, u32) {
    user.map_or((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()), |user| (user, user))
}

/// The operator's tree when the agent's work is in it.
fn done(user: Option<u32>) -> BTreeMap<String, String> {
    let (uid, gid) = operator(user);
    [
        ("added", "755", "new\n"),
        ("deep", "755", "directory"),
        ("deep/er", "755", "directory"),
        ("deep/er/file", "644", "x\n"),
        ("deep/moved", "755", "moved\n"),
        ("kept", "755", "changed\n"),
        ("link", "777", "link to kept"),
    ]
    .map(|(name, mode, content)| (name.to_owned(), format!("{mode} {uid}:{gid} {content}")))
    .into()
}

#[track_caller]
fn ended_well(ended: &Ended) {
    assert_eq!(ended.ending, Ending::Code(0), "{}{}", ended.stdout, ended.stderr);
}

// covers: R19
#[test]
fn the_operators_tree_is_untouched_until_the_changes_are_applied() {
    for user in users() {
        for mode in ["overlay", "copy"] {
            let world = world(user, mode);
            let work = world.bottle.path().join("work");
            // The first run hands the tree to its user.
            ended_well(&world.sh("true"));
            let before = picture(&work);
            let ended = world.bottle.run(["start", NAME, "--name", "altered", "--yes", "--headless", "--", "/bin/sh", "-c", WORK]);
            ended_well(&ended);
            assert_eq!(ended.stdout, "as it was\nas it was\n");
            assert_eq!(picture(&work), before, "{mode} as {user:?}");
            let diff = world.bottle.run(["diff", "altered"]);
            ended_well(&diff);
            assert!(diff.stdout.contains("-as it was\n+changed\n") && diff.stdout.contains("--- a/removed\n"), "{}", diff.stdout);
            assert_eq!(picture(&work), before, "{mode} as {user:?}");
            ended_well(&world.bottle.run(["apply", "altered"]));
            assert_eq!(picture(&work), done(user), "{mode} as {user:?}");
        }
    }
}

#[test]
fn a_mounted_tree_is_the_operators_own() {
    for user in users() {
        let world = world(user, "mount");
        ended_well(&world.sh(WORK));
        assert_eq!(picture(&world.bottle.path().join("work")), done(user), "as {user:?}");
    }
}

#[test]
fn an_agent_without_a_workspace_sees_an_empty_directory() {
    for user in users() {
        let world = world(user, "none");
        let ended = world.sh("ls -A; echo x >file; pwd; findmnt -no FSTYPE /workspace 2>/dev/null || stat -f -c %T /workspace");
        ended.expect(0, "/workspace\ntmpfs\n", "");
        assert!(!world.bottle.path().join("work/file").exists());
    }
}

// covers: G07
#[test]
fn what_would_run_by_itself_is_named_at_the_end_and_hooks_are_not_applied() {
    for user in users() {
        let world = World::new(user).file(".git/HEAD", "ref: refs/heads/main\n").file("Makefile", "all:\n").ready("provider: shell");
        let ended = world.sh("mkdir -p .git/hooks .vscode src
             printf '#!/bin/sh\\ntouch /tmp/owned\\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
             echo '{}' >.vscode/tasks.json; echo 'use flake' >.envrc; echo 'all: ; id' >Makefile; echo fine >src/main.rs
             printf 'x' >\"$(printf 'esc\\033[2Jape')\"; ln -s /etc/passwd out");
        ended_well(&ended);
        for line in [
            "A .envrc: the shell obeys it in this directory",
            "A .git/hooks/pre-commit (executable): git runs it",
            "A .vscode/tasks.json: the editor obeys it when the folder is opened",
            "M Makefile (executable): the build runs it",
        ] {
            assert!(ended.stderr.contains(&format!("\n  {line}\n")), "{line}\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("src/main.rs:") && !ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
        let applied = world.bottle.run(["apply", NAME]);
        let work = world.bottle.path().join("work");
        assert!(work.join("src/main.rs").exists() && !work.join(".git/hooks").exists(), "{}{}", applied.stdout, applied.stderr);
        assert!(fs::symlink_metadata(work.join("out")).is_err(), "a link out of the tree was taken");
        assert_eq!(fs::metadata(work.join("Makefile")).expect("it is there").permissions().mode() & 0o7000, 0);
    }
}
