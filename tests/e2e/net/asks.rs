//! A person is asked: held requests, answers, leases, and what a crash leaves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bottle_test_support::deadline::wait_until;
use bottle_test_support::engine::engines;
use bottle_test_support::run::OnPipes;
use bottle_test_support::warden::Ending;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::tools::MCP;
use super::world::{NAME, TOKEN, World, users};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Prints the status and the body of one request.
const CURL: &str = "curl -sS -w '%{http_code}\\n' --max-time 50";

/// A bottle whose hosts below `asked.test` are asked about.
fn world(user: Option<u32>, supervise: &str) -> World {
    asking(World::new(user), supervise)
}

fn asking(world: World, supervise: &str) -> World {
    world.route("*.asked.test", ", ask: true").setting(&format!("supervise: {{ unattended: queue{supervise} }}"))
}

/// What `bottle` prints beside a run, which must succeed.
#[track_caller]
fn says(world: &World, arguments: &[&str]) -> String {
    let output = world.bottle.beside(env!("CARGO_BIN_EXE_bottle"), arguments).output().expect("bottle runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out.into_owned()
}

fn asks(world: &World) -> Vec<Value> {
    let output = world.bottle.beside(env!("CARGO_BIN_EXE_bottle"), ["asks", "--json"]).output().expect("bottle runs");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The first question that waits.
#[track_caller]
fn question(world: &World) -> Value {
    wait_until(TIMEOUT, || asks(world).into_iter().next()).expect("a question comes")
}

fn field<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[track_caller]
fn answer(world: &World, ask: &Value, words: &[&str]) -> String {
    says(world, &[&["answer", field(ask, "ask"), words[0], "--hash", field(ask, "hash")], &words[1..]].concat())
}

fn sh<'w>(world: &'w World, script: &str) -> OnPipes<'w> {
    world.bottle.start(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", script])
}

fn record(world: &World, event: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.bottle.path().join(format!("state/bottle/{NAME}/timeline.jsonl"))).expect("there is a timeline");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record is JSON"));
    lines.filter(|record| record["event"] == event).collect()
}

// covers: M15
#[test]
fn a_held_request_goes_on_with_a_yes_and_only_that_one_does() {
    let embedded = users().into_iter().map(World::new);
    let on_engines = engines().iter().map(|engine| World::on(Some(engine), None));
    for world in embedded.chain(on_engines) {
        let world = asking(world, "").ready("provider: shell");
        let run =
            sh(&world, &format!("{CURL} https://one.asked.test/x -d held; {CURL} --max-time 2 https://one.asked.test/y 2>&1; echo end"));
        let ask = question(&world);
        assert_eq!(field(&ask, "ask"), format!("{NAME}.1"));
        assert_eq!(ask["reach"][0], "new: POST to one.asked.test:443 /x");
        assert_eq!((&ask["source"], &ask["held"]), (&Value::from("request"), &Value::from(1)));
        assert_eq!(world.since(0).len(), 0, "nothing is sent before the answer");
        let asked = Instant::now();
        assert_eq!(answer(&world, &ask, &["yes"]), format!("{NAME}.1 is allowed (generation 2)\n"));
        run.said("200\n");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let ended = run.end();
        assert!(ended.stdout.ends_with("end\n"), "{ended:?}");
        let heard: Vec<_> = world.since(0).into_iter().map(|request| (request.method, request.target)).collect();
        assert_eq!(heard, [("POST".to_owned(), "https://one.asked.test/x".to_owned())]);
        assert_eq!(record(&world, "decision").len(), 1);
        assert_eq!(record(&world, "ask_granted").len(), 1);
        // The record of a bottle that has ended.
        let history = says(&world, &["asks", NAME]);
        assert!(history.contains("  ended\n"), "{history}");
        world.is_gone();
    }
}

#[test]
fn the_agent_reads_the_reason_of_a_no_and_is_not_asked_again() {
    for user in users() {
        let world = world(user, "").ready("provider: shell");
        let run = sh(&world, &format!("{CURL} https://one.asked.test/x; {CURL} https://one.asked.test/x"));
        let ask = question(&world);
        answer(&world, &ask, &["no", "--reason", "use \u{1b}[31mthe mirror"]);
        let ended = run.end();
        assert_eq!(ended.ending, Ending::Code(0), "{ended:?}");
        assert_eq!(ended.stdout.matches("use the mirror").count(), 2, "{}", ended.stdout);
        assert_eq!(ended.stdout.matches("approval_denied").count(), 2, "{}", ended.stdout);
        assert_eq!(world.since(0).len(), 0);
        assert_eq!(record(&world, "ask").len(), 1);
    }
}

#[test]
fn a_hold_that_ends_names_the_question_and_a_later_request_passes() {
    for user in users() {
        let world = world(user, ", hold: 1s").ready("provider: shell");
        let run = sh(
            &world,
            &format!(
                "{CURL} -D - https://one.asked.test/x; until {CURL} https://one.asked.test/x | grep -q 200; do sleep 0.1; done; echo passed"
            ),
        );
        run.said("approval_pending");
        let ask = question(&world);
        answer(&world, &ask, &["yes", "--bottle"]);
        run.said("passed\n");
        let ended = run.end();
        assert!(ended.stdout.contains("[ID].1 waits for a person"), "{}", ended.stdout);
        assert!(ended.stdout.to_ascii_lowercase().contains("retry-after: "), "{}", ended.stdout);
    }
}

#[test]
fn a_lease_ends_by_its_time_and_by_its_requests() {
    for user in users() {
        let world = world(user, ", hold: 1s").ready("provider: shell");
        let each = |path: &str| format!("{CURL} -o /dev/null https://one.asked.test/{path}");
        let script = format!(
            "until {} | grep -q 200; do :; done; echo timed; while {} | grep -q 200; do sleep 0.1; done; echo over
             until {} | grep -q 200; do :; done; {}; {}; echo used",
            each("time"),
            each("time"),
            each("uses"),
            each("uses"),
            each("uses")
        );
        let run = sh(&world, &script);
        answer(&world, &question(&world), &["yes", "--for", "2s"]);
        run.said("timed\n");
        run.said("over\n");
        let find = || asks(&world).into_iter().find(|ask| ask["reach"][0].as_str().is_some_and(|reach| reach.ends_with("/uses")));
        answer(&world, &wait_until(TIMEOUT, find).expect("it is asked"), &["yes", "--uses", "2"]);
        let ended = run.end();
        assert!(ended.stdout.ends_with("over\n200\n403\nused\n"), "{}", ended.stdout);
        assert_eq!(world.since(0).iter().filter(|request| request.target.ends_with("/uses")).count(), 2);
    }
}

// covers: M04
#[test]
fn an_answer_counts_only_for_what_was_shown_and_a_credential_needs_its_host() {
    let world = World::new(None)
        .route("*.asked.test", &format!(", ask: true, auth: {{ token_ref: {TOKEN} }}"))
        .setting("supervise: { unattended: queue }")
        .ready("provider: shell");
    let run = sh(&world, &format!("{CURL} https://one.asked.test/x"));
    let ask = question(&world);
    assert_eq!(ask["credential"], TOKEN);
    let (name, hash) = (field(&ask, "ask"), field(&ask, "hash"));
    let refused = |words: &[&str]| {
        let words = [&["answer", name, "yes"], words].concat();
        let output = world.bottle.beside(env!("CARGO_BIN_EXE_bottle"), words).output().expect("bottle runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (words, why) in [
        (&["--hash", &hash[..15]][..], "at least 16"),
        (&["--hash", "0123456789abcdef"], "not what was shown"),
        (&["--hash", hash], "the host must be typed"),
        (&["--hash", hash, "--host", "two.asked.test"], "another one"),
    ] {
        let (code, said) = refused(words);
        assert!(code == Some(2) && said.contains(why), "{words:?}: {code:?} {said}");
    }
    answer(&world, &ask, &["yes", "--host", "one.asked.test"]);
    let ended = run.end();
    assert!(ended.stdout.ends_with("200\n"), "{ended:?}");
    let bearer = format!("Bearer {}", world.token.value());
    assert_eq!(world.since(0).iter().map(|request| request.header("authorization")).collect::<Vec<_>>(), [Some(&*bearer)]);
}

// covers: M01
#[test]
fn without_a_person_nobody_is_asked() {
    let world = World::new(None).route("*.asked.test", ", ask: true").setting("supervise: true").ready("provider: shell");
    let since = Instant::now();
    let ended = world.sh(&format!("{CURL} https://one.asked.test/x"));
    assert!(ended.stdout.contains("path_not_allowed") && since.elapsed() < Duration::from_secs(30), "{ended:?}");
    assert_eq!((world.since(0).len(), record(&world, "ask").len()), (0, 0));
}

// covers: M01 M15
#[test]
fn a_supervisor_that_is_killed_grants_nothing_whatever_was_said_before() {
    for answered in [false, true] {
        let world = world(None, "").ready("provider: shell");
        let run = sh(&world, &format!("{CURL} https://one.asked.test/x; sleep 100"));
        let ask = question(&world);
        if answered {
            answer(&world, &ask, &["yes", "--bottle"]);
            run.said("200\n");
        }
        let seen = world.since(0).len();
        kill_process(Pid::from_raw(run.pid()).expect("a process"), Signal::KILL).expect("it runs");
        let _ = run.end_killed();
        says(&world, &["cleanup"]);
        let history: Value = serde_json::from_str(&says(&world, &["asks", NAME, "--json"])).expect("JSON");
        assert_eq!(history[0]["state"], if answered { "ended" } else { "expired" }, "{history}");
        assert_eq!(world.since(0).len(), seen);
    }
}

#[test]
fn a_client_that_leaves_takes_its_question_back() {
    let world = world(None, "").ready("provider: shell");
    let run = sh(&world, &format!("{CURL} --max-time 1 https://one.asked.test/x 2>&1; echo left; sleep 2"));
    let ask = question(&world);
    run.said("left\n");
    wait_until(TIMEOUT, || asks(&world).is_empty().then_some(())).expect("the question is withdrawn");
    let arguments = ["answer", field(&ask, "ask"), "yes", "--hash", field(&ask, "hash")];
    let late = world.bottle.beside(env!("CARGO_BIN_EXE_bottle"), arguments).output().expect("bottle runs");
    assert_eq!(late.status.code(), Some(2), "{late:?}");
    let ended = run.end();
    assert_eq!((ended.ending, world.since(0).len()), (Ending::Code(0), 0));
}

#[test]
fn only_a_signer_of_the_bottle_grants() {
    let Some(keygen) = bottle_test_support::tools::tool("ssh-keygen") else { return };
    let keys = tempfile::tempdir().expect("a directory for keys");
    let key = |name: &str| {
        let path = keys.path().join(name);
        let made = std::process::Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
        assert!(made.expect("ssh-keygen runs").success());
        path
    };
    let (signer, stranger) = (key("signer"), key("stranger"));
    let public = fs::read_to_string(signer.with_extension("pub")).expect("a public key");
    let world = world(None, ", signers: ../signers");
    let world = world.setting("");
    let signers = world.bottle.path().join("config/bottle/signers");
    fs::create_dir_all(signers.parent().expect("a directory")).expect("the configuration");
    fs::write(&signers, format!("ada namespaces=\"ask@bottle\" {public}")).expect("a file of signers");
    let world = world.ready("provider: shell");
    let run = sh(&world, &format!("{CURL} https://one.asked.test/x"));
    let ask = question(&world);
    let sign = |key: &Path, namespace: &str| {
        let file = keys.path().join("hash");
        fs::write(&file, field(&ask, "hash")).expect("a file");
        let _ = fs::remove_file(keys.path().join("hash.sig"));
        let signed = std::process::Command::new(&keygen).args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(key).arg(&file).status();
        assert!(signed.expect("ssh-keygen runs").success());
        keys.path().join("hash.sig")
    };
    let answered = |more: &[&str]| {
        let words = [&["answer", field(&ask, "ask"), "yes", "--hash", field(&ask, "hash")], more].concat();
        let output = world.bottle.beside(env!("CARGO_BIN_EXE_bottle"), words).output().expect("bottle runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = answered(&[]);
    assert!(code == Some(2) && said.contains("needs a signature"), "{said}");
    for (key, namespace) in [(&stranger, "ask@bottle"), (&signer, "file")] {
        let file = sign(key, namespace);
        let (code, said) = answered(&["--signer", "ada", "--signature", file.to_str().expect("text")]);
        assert!(code == Some(2) && said.contains("no signer of this bottle"), "{said}");
    }
    let file = sign(&signer, "ask@bottle");
    assert_eq!(answered(&["--signer", "ada", "--signature", file.to_str().expect("text")]), (Some(0), String::new()));
    assert!(run.end().stdout.ends_with("200\n"));
    assert!(record(&world, "decision")[0]["message"].as_str().is_some_and(|message| message.contains("signed")));
}

/// Proposes a route, waits for the answer, and prints what came.
const PROPOSE: &str = r#"
import asyncio, json
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main():
    async with streamable_http_client("http://supervise:9100/") as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            print(sorted(tool.name for tool in (await session.list_tools()).tools))
            arguments = {"host": "two.asked.test", "methods": ["GET"], "paths": ["/x"], "reason": "for the \x1b[31mtask"}
            proposed = await session.call_tool("bottle_propose", arguments)
            ask = json.loads(proposed.content[0].text)["ask"]
            print(ask, flush=True)
            state = "open"
            while state in ("open", "granting"):
                waited = await session.call_tool("bottle_wait", {"ask": ask})
                state = json.loads(waited.content[0].text)["state"]
            print(state)


asyncio.run(main())
"#;

#[test]
fn the_official_client_proposes_and_waits_and_its_request_passes() {
    let Some(packages) = MCP.installed() else { return };
    for user in users() {
        let world = world(user, "").tree("packages", &packages).file("propose.py", PROPOSE).ready("provider: shell");
        let run = sh(
            &world,
            &format!("PYTHONPATH=/workspace/packages /usr/bin/python3 /workspace/propose.py 2>&1; {CURL} https://two.asked.test/x"),
        );
        run.said(&format!("{NAME}.1\n"));
        let ask = question(&world);
        assert_eq!((&ask["source"], &ask["agent_says"]), (&Value::from("proposal"), &Value::from("for the task")));
        answer(&world, &ask, &["yes", "--bottle"]);
        let ended = run.end();
        assert!(ended.stdout.starts_with("['bottle_denials', 'bottle_propose', 'bottle_wait']\n"), "{ended:?}");
        assert!(ended.stdout.contains("granted\n") && ended.stdout.ends_with("200\n"), "{ended:?}");
    }
}
