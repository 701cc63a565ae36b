//! Secrets of the operator's: none in the bottle, in any command line, in what is kept, or in what is printed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::canary::{Canary, Sweep};
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{TIMEOUT, User, component, send};

/// Variables that hold a developer's secrets.
const OPERATORS: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "GH_TOKEN",
    "NPM_TOKEN",
    "CARGO_REGISTRY_TOKEN",
    "SSH_AUTH_SOCK",
    "KUBECONFIG",
    "DATABASE_URL",
];

/// A bottle with a token, and an operator with many more.
fn with_secrets(user: User) -> (Bottle, Vec<Canary>) {
    let token = Canary::like("the token", "ghp_");
    let routes = "egress:\n  routes:\n    - host: a.test\n      auth: { scheme: Bearer, token_ref: GITHUB_TOKEN }";
    let mut bottle =
        user.bottle().bottle("routed", routes).agent("routed", "bottle: routed\nprovider: shell", "").secret("GITHUB_TOKEN", &token);
    let mut canaries = vec![token];
    for name in OPERATORS {
        let canary = Canary::new(name);
        bottle = bottle.secret(name, &canary);
        canaries.push(canary);
    }
    (bottle, canaries)
}

fn routed(script: &str) -> [&str; 7] {
    ["start", "routed", "--yes", "--", "sh", "-c", script]
}

/// Ends who watches, also when what is watched fails.
struct Over<'d>(&'d AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// covers: S01 S02
#[rstest]
fn no_secret_is_in_a_command_line_or_in_the_environment_of_a_component(#[values(User::Caller, User::Ordinary)] user: User) {
    let (bottle, canaries) = with_secrets(user);
    let sweep = Sweep::new(&canaries);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Every command line on the machine, again and again, from before the start until after the end.
        let watch = scope.spawn(|| {
            let mut found = Vec::new();
            while !done.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                    let path = entry.path().join("cmdline");
                    found.extend(fs::read(&path).map(|bytes| sweep.text(&path.to_string_lossy(), &bytes)).unwrap_or_default());
                }
            }
            found
        });
        let over = Over(&done);
        let (stdin, keys) = std::io::pipe().unwrap();
        let run = bottle.start_with(routed("exec 2>/dev/null; env; cat /proc/*/environ; echo ready; read line; exit 5"), stdin.into());
        run.said("ready\n");
        for name in ["bottle-init", "bottle-egress", "bottle-pipelock"] {
            let place = format!("/proc/{}/environ", component(run.pid(), name));
            // An ordinary user may not even look at a component that is not dumpable; root may.
            let environ = fs::read(&place).unwrap_or_default();
            assert_eq!(sweep.text(&place, &environ), Default::default());
        }
        drop(keys);
        let ended = run.end();
        drop(over);
        assert_eq!((ended.ending, ended.stderr.as_str()), (Ending::Code(5), ""));
        assert_eq!(watch.join().unwrap(), []);
    });
}

// covers: Y12
#[rstest]
fn what_is_shown_and_kept_has_names_and_no_values(#[values(User::Caller, User::Ordinary)] user: User) {
    let (bottle, _) = with_secrets(user);
    for arguments in
        [vec!["start", "routed", "--dry-run"], vec!["start", "routed", "--dry-run", "--format", "json"], vec!["info", "routed"]]
    {
        let ended = bottle.run(&arguments);
        assert_eq!(ended.ending, Ending::Code(0), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.contains("GITHUB_TOKEN"), "{arguments:?}: {}", ended.stdout);
    }
    // The search for the values, over what was said and over what is kept, is part of every run.
    assert_eq!(bottle.run(routed("exit 0")).ending, Ending::Code(0));
    let mut run = bottle.at_terminal(["start", "routed", "--", "sh", "-c", "exit 3"], 100, 40);
    run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
    run.pty.send(b"y\n").unwrap();
    assert_eq!(run.end().0, Ending::Code(3));
}

// covers: F16
#[rstest]
fn a_kill_and_a_cleanup_leave_no_secret(#[values(User::Caller, User::Ordinary)] user: User) {
    let (bottle, canaries) = with_secrets(user);
    let mut run = bottle.start(routed("echo ready; sleep 1000"));
    run.said("ready\n");
    let held = Sweep::new(&canaries).directory(bottle.runtime());
    assert_eq!(held.iter().map(|sighting| sighting.canary.as_str()).collect::<Vec<_>>(), ["the token"]);
    send(run.pid(), libc::SIGKILL);
    run.wait(TIMEOUT);
    // The sweep of this run finds the token if it is still there.
    assert_eq!(bottle.run(["cleanup"]).ending, Ending::Code(0));
    run.end();
}

/// Every file below a directory: its size, mode and time of change.
fn picture(directory: &Path, into: &mut BTreeMap<String, (u64, u32, i64, i64)>) {
    for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        let meta = entry.path().symlink_metadata().unwrap();
        into.insert(entry.path().display().to_string(), (meta.len(), meta.mode(), meta.mtime(), meta.mtime_nsec()));
        if meta.is_dir() {
            picture(&entry.path(), into);
        }
    }
}

// covers: S14
#[rstest]
fn the_operators_home_is_as_before(#[values(User::Caller, User::Ordinary)] user: User) {
    let (bottle, _) = with_secrets(user);
    let home = bottle.path().join("home");
    for name in [".bash_history", ".gitconfig", ".git-credentials", ".netrc", ".ssh/known_hosts", ".config/gh/hosts.yml"] {
        fs::create_dir_all(home.join(name).parent().unwrap()).unwrap();
        fs::write(home.join(name), name).unwrap();
    }
    // Given to the user once, so that only the second run counts.
    bottle.run(["list"]);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    picture(&home, &mut before);
    let script = "cat ~/.netrc ~/.git-credentials; git config --global user.name x; echo x >> ~/.bash_history; mkdir -p ~/.ssh; echo x > ~/.ssh/known_hosts; exit 0";
    let ended = bottle.run(routed(script));
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), ""));
    picture(&home, &mut after);
    assert_eq!(before, after);
}
