//! The policy of a bottle that runs: followed manifests, grants and their ends, and what cannot change. The agent asks, and the far end is asked.

use std::fs;
use std::process::Output;
use std::time::Duration;

use bottle_test_support::run::OnPipes;
use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::life::support::{after, component, program, send};
use crate::net::world::{NAME, Place, TOKEN, World, places, users};

/// Somebody for whom nothing is an exception.
fn ordinary() -> Option<u32> {
    users().pop().flatten()
}

/// A command of the operator's, beside the run.
fn beside(world: &World, arguments: &[&str]) -> Output {
    world.bottle.beside(program(), arguments).output().expect("bottle runs")
}

#[track_caller]
fn says(output: &Output, code: i32, text: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), format!("{out}{err}")), (Some(code), text.to_owned()));
}

fn start<'w>(world: &'w World, script: &str) -> OnPipes<'w> {
    world.bottle.start(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", script])
}

/// Waits until the host answers.
fn until(host: &str) -> String {
    format!("until curl -fsS -o /dev/null https://{host}/fine 2>/dev/null; do sleep 0.02; done; echo {host}")
}

/// Waits until it is refused.
fn until_refused(host: &str) -> String {
    format!("while curl -fsS -o /dev/null https://{host}/fine 2>/dev/null; do sleep 0.02; done; echo not {host}")
}

/// Edits the bottle's manifest.
fn edit(world: &World, from: &str, to: &str) {
    let file = world.bottle.path().join("config/bottle/bottles").join(format!("{NAME}.md"));
    let text = fs::read_to_string(&file).expect("the manifest");
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).expect("the manifest");
}

/// The supervisor's own events about the policy: what, generation, sentence.
fn recorded(world: &World) -> Vec<(String, Option<u64>, String)> {
    let text = fs::read_to_string(world.bottle.path().join("state/bottle").join(NAME).join("timeline.jsonl")).expect("the timeline");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    let of_policy = events.filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("policy_")));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    of_policy.map(|event| (text(&event, "event"), event["generation"].as_u64(), text(&event, "message"))).collect()
}

fn event(name: &str, generation: u64, message: &str) -> (String, Option<u64>, String) {
    (name.to_owned(), Some(generation), message.to_owned())
}

fn world(place: Place) -> World {
    World::on(place, ordinary()).route("echo.test", &format!(", auth: {{ token_ref: {TOKEN} }}")).ready("provider: shell")
}

#[test]
fn a_running_bottle_follows_its_manifest_and_the_next_request_is_judged_by_it() {
    for place in places() {
        let world = world(place);
        let script = [until("echo.test"), until_refused("other.test"), until("other.test"), until_refused("echo.test")].join("; ");
        let run = start(&world, &script);
        run.said("not other.test");
        says(&beside(&world, &["reload", NAME]), 0, &format!("{NAME} follows its manifests already (generation 1)\n"));
        let https = world.origin.ready().https;
        edit(
            &world,
            "routes:\n",
            &format!("routes:\n    - {{ host: other.test, matches: [{{ methods: [GET] }}], connect: \"{https}\" }}\n"),
        );
        let more = "other.test: GET of every path; no credential is sent";
        let way = format!("other.test: {https} is dialled, whatever the name resolves to");
        let shown = format!("reaches more:\n  {more}\n  {way}\n");
        says(&beside(&world, &["reload", NAME, "--dry-run"]), 0, &shown);
        let refused = "error: nobody can be asked whether to change the policy\n\
                       cause: standard input or output is not a terminal\nhint:  add --yes\n";
        says(&beside(&world, &["reload", NAME]), 2, &format!("{shown}{refused}"));
        says(&beside(&world, &["reload", NAME, "--yes"]), 0, &format!("{shown}{NAME} follows its manifests now (generation 2)\n"));
        run.said("\nother.test");
        edit(&world, "echo.test", "echo.other.test");
        let less = format!("echo.test: every method of every path; the credential {TOKEN} is sent in `authorization`");
        let output = beside(&world, &["reload", NAME, "--yes"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(&format!("reaches less:\n  {less}\n")), "{said}");
        let ended = run.end();
        assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "echo.test\nnot other.test\nother.test\nnot echo.test\n"));
        let recorded = recorded(&world);
        assert_eq!(recorded[0], event("policy_changed", 2, &format!("more: {more}; more: {way}")));
        assert_eq!((recorded.len(), recorded[1].1), (2, Some(3)));
        world.is_gone();
    }
}

#[test]
fn what_cannot_change_while_a_bottle_runs_is_refused_by_name() {
    let world = world(None);
    let run = start(&world, "echo runs; read -r line < /workspace/never; sleep 60");
    run.said("runs");
    edit(&world, "egress:\n", "limits: { pids: 99 }\nenv: { A: b }\negress:\n");
    let text = format!(
        "error: the policy of `{NAME}` was not changed\ncause: cannot change while a bottle runs: env; limits\n\
         hint:  `bottle stop {NAME}`, then `bottle start {NAME}`\n"
    );
    says(&beside(&world, &["reload", NAME, "--yes"]), 2, &text);
    edit(&world, "limits: { pids: 99 }\nenv: { A: b }\n", "");
    edit(&world, TOKEN, "ANOTHER_TOKEN");
    let text = format!(
        "error: the policy of `{NAME}` was not changed\n\
         cause: cannot change while a bottle runs: auth (the token `ANOTHER_TOKEN` has no value in this bottle)\n\
         hint:  `bottle stop {NAME}`, then `bottle start {NAME}`\n"
    );
    says(&beside(&world, &["reload", NAME, "--yes"]), 2, &text);
    edit(&world, "routes:\n", "rules:\n");
    assert_eq!(beside(&world, &["reload", NAME, "--yes"]).status.code(), Some(2), "a manifest that is none changes nothing");
    send(run.pid(), libc::SIGTERM);
    let _ = run.end();
    assert_eq!(recorded(&world), []);
    says(
        &beside(&world, &["reload", NAME]),
        2,
        &format!("error: bottle `{NAME}` does not run\ncause: no supervisor holds it\nhint:  `bottle list` shows which bottles run\n"),
    );
}

#[test]
fn a_websocket_ends_when_the_route_that_allowed_it_goes() {
    for place in places() {
        let world =
            World::on(place, ordinary()).route("echo.test", "").file("hold.py", include_str!("hold_websocket.py")).ready("provider: shell");
        let run = start(&world, "/usr/bin/python3 hold.py echo.test");
        run.said("101");
        edit(&world, "echo.test", "other.test");
        assert!(beside(&world, &["reload", NAME, "--yes"]).status.success());
        let ended = run.end();
        assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "101\nended\n"), "{}", ended.stderr);
    }
}

#[test]
fn a_grant_opens_at_once_ends_in_time_and_takes_its_websocket_with_it() {
    let world = World::on(None, ordinary()).route("*.test", "").file("hold.py", include_str!("hold_websocket.py")).ready("provider: shell");
    // The route names the address alone: what may be asked there comes by grants.
    edit(&world, ", connect:", ", matches: [{ methods: [GET], paths: [/fine] }], connect:");
    let run = start(&world, "until /usr/bin/python3 hold.py echo.test 2>/dev/null; do sleep 0.02; done; echo over");
    let begun = std::time::Instant::now();
    // The agent's own script runs once its bottle does.
    let granted = loop {
        let output = beside(&world, &["allow", "echo.test", "--in", NAME, "--for", "2s"]);
        if output.status.success() {
            break output;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{output:?}");
    };
    says(
        &granted,
        0,
        &format!("{NAME} reaches more for 2s (generation 2):\n  echo.test: every method of every path; no credential is sent\n"),
    );
    run.said("101");
    run.said("ended");
    let ended = run.end();
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "101\nended\nover\n"));
    let names: Vec<_> = recorded(&world).into_iter().map(|(name, generation, _)| (name, generation)).collect();
    assert_eq!(names, [("policy_changed".to_owned(), Some(2)), ("policy_changed".to_owned(), Some(3))]);
}

#[test]
fn a_grant_of_two_requests_allows_two() {
    let world = world(None);
    let ask = |path: &str| format!("curl -sS -o /dev/null -w '%{{http_code}} ' https://other.test/{path};");
    let script = format!("echo runs; {} {} {} {}", until("other.test"), ask("second"), ask("third"), "echo");
    let run = start(&world, &script);
    run.said("runs");
    let https = world.origin.ready().https;
    // A grant names no address.
    edit(&world, "routes:\n", &format!("routes:\n    - {{ host: \"other.test:9\", connect: \"{https}\" }}\n"));
    let reloaded = beside(&world, &["reload", NAME, "--yes"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert!(beside(&world, &["allow", "other.test", "--in", NAME, "--uses", "2"]).status.success());
    let ended = run.end();
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "runs\nother.test\n200 403 \n"));
}

/// It stands still for longer than it may take, goes on, and is put back with the others.
#[test]
fn a_sidecar_that_does_not_acknowledge_in_time_leaves_the_old_policy_in_force_everywhere() {
    let world = world(None);
    let run = start(&world, &[until("echo.test"), "until [ -e /tmp/never ]; do sleep 1; done".to_owned()].join("; "));
    run.said("echo.test");
    let egress = component(run.pid(), "bottle-egress");
    send(egress, libc::SIGSTOP);
    edit(&world, "routes:\n", "routes:\n    - { host: other.test }\n");
    let mut reload = world.bottle.beside(program(), ["reload", NAME, "--yes"]);
    let reload = reload.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("bottle runs");
    // Past its time, and within that of the way back.
    after(Duration::from_millis(7_000));
    send(egress, libc::SIGCONT);
    let output = reload.wait_with_output().expect("bottle ends");
    let text = "reaches more:\n  other.test: every method of every path; no credential is sent\n\
                error: `egress` has not acknowledged the new policy\ncause: 5 s have passed\nhint:  `bottle logs` shows what it does\n";
    says(&output, 125, text);
    let message = "the policy of before is in force again: `egress` has not acknowledged the new policy: 5 s have passed";
    assert_eq!(recorded(&world), [event("policy_change_failed", 3, message)]);
    // And it can be tried again.
    let output = beside(&world, &["reload", NAME, "--yes"]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("(generation 4)\n"), "{output:?}");
    send(run.pid(), libc::SIGTERM);
    let _ = run.end();
}

/// Neither the change nor the way back: nobody knows what it enforces.
#[test]
fn a_sidecar_that_takes_no_policy_at_all_ends_the_bottle() {
    let world = world(None);
    let run = start(&world, &[until("echo.test"), "sleep 60".to_owned()].join("; "));
    run.said("echo.test");
    // Its token is gone, so that no configuration which names it can be read.
    let secrets =
        walk(world.bottle.runtime()).into_iter().find(|path| path.ends_with("egress/secrets/EGRESS_TOKEN_0")).expect("the secret");
    fs::remove_file(secrets).expect("the secret goes");
    edit(&world, "routes:\n", "routes:\n    - { host: other.test }\n");
    let output = beside(&world, &["reload", NAME, "--yes"]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let ended = run.end();
    assert_eq!(ended.ending, Ending::Code(125));
    assert!(ended.stderr.starts_with("error: `egress` refuses the new policy\n"), "{}", ended.stderr);
    assert_eq!(recorded(&world)[0].0, "policy_lost");
}

/// All files below.
fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_running_bottle_is_compared_with_a_manifest() {
    let world = world(None);
    let run = start(&world, "echo runs; sleep 60");
    run.said("runs");
    let boundary = world.bottle.path().join("boundary.md");
    fs::write(&boundary, "---\negress: { routes: [{ host: \"*.test\" }] }\n---\n").expect("a manifest");
    let boundary = boundary.to_string_lossy();
    let token = format!("the credential {TOKEN} is sent in `authorization`");
    let way = format!("echo.test: {} is dialled, whatever the name resolves to\n", world.origin.ready().https);
    says(&beside(&world, &["policy", "diff", "--boundary", &boundary, NAME]), 1, &format!("echo.test: {token}\n{way}"));
    let open = "*.test: every method of every path; no credential is sent\n";
    let other = "echo.test: the addresses that the name resolves to are dialled\n";
    says(&beside(&world, &["policy", "diff", NAME, &boundary]), 0, &format!("{other}{open}"));
    send(run.pid(), libc::SIGTERM);
    let _ = run.end();
}
