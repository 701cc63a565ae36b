//! Claude Code itself, as its vendor ships it, with a model at the far end.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bottle_test_support::warden::Ending;

use crate::net::tools::CLAUDE;
use crate::net::world::{NAME, TOKEN, World, users};

/// For a first paint on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
const REPLY: &str = "The bottle is closed and the model is here.";

/// A bottle as the starter library's, whose model is the far end.
fn world(user: Option<u32>, directory: &Path) -> World {
    let world = World::new(user)
        .route(
            "api.anthropic.com",
            &format!(", matches: [{{ methods: [GET, HEAD, POST], paths: [/v1/, /api/] }}], auth: {{ token_ref: {TOKEN} }}"),
        )
        .ready("provider: claude");
    fs::write(world.origin.directory().join("reply.txt"), REPLY).expect("the far end's directory is ours");
    fs::write(world.origin.directory().join("expected-token"), world.token.value()).expect("the far end's directory is ours");
    let path = env::join_paths([directory.join("node_modules/.bin").as_path(), Path::new("/usr/bin"), Path::new("/bin")]).expect("a path");
    world.env("PATH", path)
}

/// Everything that the agent can read of its processes and files, searched for what must not be there. The pattern is put
/// together inside, so that the script does not find itself.
const SCAN: &str = r#"
head=ghp; mark="${head}_[A-Za-z0-9]\{36\}"
grep -aolr "$mark" /home/agent /tmp /run /workspace /etc /dev/shm 2>/dev/null
for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do grep -aq "$mark" "$f" 2>/dev/null && echo "$f"; done; true
"#;

// covers: S10 S02
#[test]
fn claude_answers_with_a_token_that_only_the_far_end_sees() {
    let Some(directory) = CLAUDE.installed() else { return };
    for user in users() {
        let world = world(user, &directory);
        let ended = world.bottle.run(["start", NAME, "--headless", "--prompt", "say hello"]);
        assert_eq!((ended.ending, &*ended.stdout, &*ended.stderr), (Ending::Code(0), &*format!("{REPLY}\n"), ""));
        let credentials: Vec<_> = world
            .since(0)
            .into_iter()
            .filter(|request| request.target.contains("/v1/messages"))
            .map(|request| request.header("authorization") == Some(&format!("Bearer {}", world.token.value())))
            .collect();
        assert!(!credentials.is_empty() && credentials.iter().all(|is_real| *is_real), "{credentials:?}");
    }
}

#[test]
fn the_operator_reads_what_is_shown_of_the_host_for_it() {
    let Some(directory) = CLAUDE.installed() else { return };
    let world = world(None, &directory);
    let dry = world.bottle.run(["start", NAME, "--dry-run"]);
    let shown = format!("\n  sees       {}, read-only\n", directory.join("node_modules/@anthropic-ai").display());
    assert!(dry.stdout.contains(&shown), "{shown}\n{}", dry.stdout);
}

// covers: S10
#[test]
fn while_claude_works_no_process_or_file_inside_holds_the_token() {
    let Some(directory) = CLAUDE.installed() else { return };
    for user in users() {
        let world = world(user, &directory);
        let ended = world.sh(&format!("claude --dangerously-skip-permissions --print 'say hello' &\n{SCAN}\nwait $!\n{SCAN}"));
        assert_eq!((ended.ending, &*ended.stdout, &*ended.stderr), (Ending::Code(0), &*format!("{REPLY}\n"), ""));
    }
}

#[test]
fn without_claude_the_operator_is_told_how_to_install_it() {
    for user in users() {
        let world = World::new(user).ready("provider: claude").env("PATH", "/nowhere");
        world.bottle.run(["start", NAME, "--headless", "--prompt", "say hello"]).expect(
            127,
            "",
            "error: `claude` is not installed\n\
             cause: no directory of PATH has it\n\
             hint:  `npm install -g @anthropic-ai/claude-code`, or run another program: `bottle start AGENT -- CMD`\n",
        );
    }
}

#[test]
fn at_a_terminal_claude_asks_nothing_before_the_first_task() {
    let Some(directory) = CLAUDE.installed() else { return };
    for user in users() {
        let world = world(user, &directory);
        let mut run = world.bottle.at_terminal(["start", NAME, "--yes", "--prompt", "say hello"], 100, 40);
        // The words of the reply come between escapes that place them.
        let seen = run.pty.wait_for("closed", TIMEOUT).map(|_| ());
        assert!(seen.is_ok(), "on the screen: {}", run.pty.seen().escape_ascii());
        run.pty.send(b"\x03").expect("a key");
        run.pty.send(b"\x03").expect("a key");
        let (ending, screen) = run.end();
        let text = String::from_utf8_lossy(&screen);
        for question in ["trust the files", "Choose the text style", "Select login method", "Yes, I accept"] {
            assert!(!text.contains(question), "{question}: {text}");
        }
        assert!(matches!(ending, Ending::Code(_)), "{ending:?}");
    }
}
