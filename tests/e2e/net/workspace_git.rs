//! Git inside: a repository works as on the host, wherever the bottle starts in it, and what the agent did comes back.

use std::fs;
use std::path::Path;
use std::process::Command;

use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;

use crate::net::world::{NAME, World, users};

/// Git of the test's own, with nobody's configuration.
#[track_caller]
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Ann", "-c", "user.email=ann@work.test", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]);
    command.args(["-c", "protocol.file.allow=always"]).args(arguments).current_dir(directory);
    let ended = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").output().expect("git runs");
    assert!(ended.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// A repository in the operator's directory, with a worktree and a submodule beside it.
fn repository(user: Option<u32>, mode: &str) -> World {
    let world = World::new(user).setting(&format!("workspace: {mode}")).file("src/deep/a", "one\n").ready("provider: shell");
    let work = world.bottle.path().join("work");
    git(&work, &["init", "-q"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "first"]);
    git(&work, &["worktree", "add", "-q", "../absolute"]);
    git(&work, &["clone", "-q", ".", "../library"]);
    git(&work, &["submodule", "--quiet", "add", "../library", "module"]);
    git(&work, &["commit", "-qm", "with a module"]);
    world
}

#[track_caller]
fn said(ended: &Ended) -> &str {
    assert_eq!(ended.ending, Ending::Code(0), "{}{}", ended.stdout, ended.stderr);
    &ended.stdout
}

fn start(world: World, below: &str, script: &str) -> (World, Ended) {
    let world = world.below(below);
    let ended = world.sh(script);
    (world, ended)
}

const WORK: &str = "set -e; pwd; git status --short; git commit -q --allow-empty -m inside; git log --format='%an %s' -1; git stash list; \
                    git rev-parse --show-toplevel";

// covers: V02 V08 V11 W10 W11 W12
#[test]
fn a_repository_works_from_every_place_in_it() {
    for user in users() {
        for mode in ["overlay", "copy", "mount"] {
            for (below, top) in [("work/src/deep", "work"), ("absolute", "absolute"), ("work/module", "work/module")] {
                let world = repository(user, mode);
                let base = world.bottle.path().to_owned();
                // Signing is asked for, with a key that is not inside.
                git(&base.join("work"), &["config", "commit.gpgsign", "true"]);
                git(&base.join("work/module"), &["config", "commit.gpgsign", "true"]);
                let (_, ended) = start(world, below, WORK);
                let expected = format!("[HOME]/{below}\n[ID] inside\n[HOME]/{top}\n");
                assert_eq!(said(&ended), expected, "{below} {mode} as {user:?}\n{}", ended.stderr);
            }
        }
    }
}

// covers: V02 W12
#[test]
fn the_workspace_has_its_own_path_and_the_old_name_leads_there() {
    for user in users() {
        let world = World::new(user).file("a", "x\n").ready("provider: shell");
        let work = world.bottle.path().join("work");
        let tool = format!("#!/bin/sh\ncat {}/a\n", work.display());
        let world = world.file("tool", &tool);
        let ended = world.sh("./tool; cat /workspace/a; cd /workspace; pwd -P");
        assert_eq!(said(&ended), "x\nx\n[HOME]/work\n");
    }
}

// covers: V01
#[test]
fn a_directory_that_was_there_before_can_be_renamed() {
    for user in users() {
        let world = repository(user, "overlay");
        let script = r#"set -e
            mkdir empty; git mv src lib; python3 -c '
import os
os.makedirs("x/y"); open("x/y/f", "w").write("f")
os.rename("lib", "src"); os.rename("src", "lib")
open("lib/deep/new", "w").write("new")
os.rename("lib/deep", "deeper"); os.rename("deeper", "lib/deep")
os.rename("lib", "empty")
try: os.rename("empty", "empty/below")
except OSError as e: print(e.errno)
try: os.rename("empty", "x")
except OSError as e: print(e.errno)
try: os.rename("empty", "module/.git")
except OSError as e: print(e.errno)
os.rename("empty", "lib")
'; git status --short; find lib -type f | sort"#;
        let ended = world.sh(script);
        assert_eq!(
            said(&ended),
            "22\n39\n20\nR  src/deep/a -> lib/deep/a\n?? lib/deep/new\n?? x/\nlib/deep/a\nlib/deep/new\n",
            "{}",
            ended.stderr
        );
        let applied = world.bottle.run(["apply", NAME]);
        let work = world.bottle.path().join("work");
        assert!(work.join("lib/deep/a").exists() && !work.join("src").exists(), "{}{}", applied.stdout, applied.stderr);
        said(&world.bottle.run(["undo"]));
        assert!(work.join("src/deep/a").exists() && !work.join("lib").exists());
    }
}

// covers: V32 I22
#[test]
fn a_directory_may_be_set_group_id_in_a_mounted_tree_and_a_file_loses_the_bit() {
    for user in users() {
        let world = World::new(user).setting("workspace: mount").file("file", "x\n").ready("provider: shell");
        let ended =
            world.sh("set -e; mkdir d; chmod g+s d; git init -q --shared r; install -d -m 2755 e; chmod 2755 file; stat -c %a d e file");
        assert_eq!(said(&ended), "2755\n2755\n755\n", "{}", ended.stderr);
    }
}

// covers: W03 W05 W07
#[test]
fn the_patch_of_a_day_of_git_is_taken_by_git() {
    for user in users() {
        let world = repository(user, "overlay");
        let ended = world.sh(
            "set -e; git checkout -qb agent/x; git mv src lib; echo two >>lib/deep/a; printf '\\0\\1' >blob; chmod +x lib/deep/a
             mkdir -p .github/workflows; echo x >.github/workflows/ci.yml; git add -A; for n in 1 2 3 4 5 6 7 8 9; do git commit -qm $n --allow-empty; done",
        );
        said(&ended);
        assert!(ended.stderr.contains("A .github/workflows/ci.yml: the forge runs it\n"), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("the agent committed: refs/heads/agent/x\n") && !ended.stderr.contains("objects"),
            "{}",
            ended.stderr
        );
        let diff = world.bottle.run(["diff"]);
        let patch = world.bottle.path().join("patch");
        fs::write(&patch, said(&diff)).expect("a file of the test");
        assert!(!diff.stdout.contains(".git/"), "{}", diff.stdout);
        let work = world.bottle.path().join("work");
        git(&work, &["apply", "--check", "../patch"]);
        said(&world.bottle.run(["apply"]));
        git(&work, &["apply", "--check", "-R", "../patch"]);
    }
}

// covers: W02
#[test]
fn untracked_credentials_are_not_there_and_are_not_replaced() {
    for user in users() {
        for mode in ["overlay", "copy"] {
            let world = World::new(user).setting(&format!("workspace: {mode}")).file(".env", "TOKEN=1\n").file("deploy/key.pem", "x\n");
            let world = world.file("deploy/plain", "x\n").file("tracked.pem", "x\n").ready("provider: shell");
            let work = world.bottle.path().join("work");
            git(&work, &["init", "-q"]);
            git(&work, &["add", "tracked.pem", "deploy/plain"]);
            let ended = world.sh("ls -A . deploy | grep -v '^.git$'; git status --short; echo other >.env");
            assert_eq!(said(&ended), ".:\ndeploy\ntracked.pem\n\ndeploy:\nplain\nA  deploy/plain\nA  tracked.pem\n", "{mode} as {user:?}");
            let applied = world.bottle.run(["apply"]);
            assert_eq!(applied.ending, Ending::Code(1), "{}", applied.stdout);
            assert!(applied.stdout.contains(".env: yours has this name, and was hidden"), "{}", applied.stdout);
            assert_eq!(fs::read_to_string(work.join(".env")).expect("it stays"), "TOKEN=1\n");
            assert_eq!(fs::read_to_string(work.join("deploy/key.pem")).expect("it stays"), "x\n");
        }
    }
}

// covers: W01
#[test]
fn a_home_directory_is_handed_over_only_by_name() {
    for user in users() {
        let world = World::new(user).ready("provider: shell");
        let home = world.bottle.path().join("home");
        fs::create_dir_all(home.join(".ssh")).expect("a directory");
        fs::write(home.join(".ssh/id_ed25519"), "key\n").expect("a file");
        let world = world.below("home");
        let run = |more: &[&str]| {
            let arguments = [&["start", NAME, "--yes", "--headless"][..], more, &["--", "/bin/sh", "-c", "ls -A .ssh"]].concat();
            world.bottle.run(arguments)
        };
        let refused = run(&[]);
        assert_eq!((refused.ending, refused.stdout.as_str()), (Ending::Code(2), ""));
        assert!(refused.stderr.contains("--allow-private-directory"), "{}", refused.stderr);
        assert_eq!(run(&["--allow-private-directory"]).stdout, "id_ed25519\n");
    }
}
