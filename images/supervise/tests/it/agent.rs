//! The agent's side: MCP over HTTP.

use bottle_contract::supervise::{AskState, FromClient, Proposal, Reply, ToSupervisor};
use serde_json::{Value, json};

use crate::support::{PLAIN, Supervise, post, read_until, receive, receive_after, send};

const NEW: &str = "2026-07-28";

fn request(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

fn call(name: &str, arguments: Value) -> String {
    request("tools/call", json!({ "name": name, "arguments": arguments }))
}

fn open(ask: &str) -> Reply {
    Reply::State { ask: ask.into(), state: AskState::Open, reason: None }
}

#[test]
fn clients_of_every_revision_find_the_tools() {
    let supervise = Supervise::start();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let answer = post(supervise.agent, &[], &request("initialize", params)).json();
        assert_eq!((&answer["result"]["protocolVersion"], &answer["id"]), (&json!(version), &json!(1)), "{answer}");
        let accepted = post(supervise.agent, &[], &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string());
        assert_eq!((accepted.status, accepted.body.as_str()), (202, ""));
        let listed = post(supervise.agent, &[("mcp-protocol-version", version)], &request("tools/list", json!({}))).json();
        let names: Vec<&str> = listed["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["bottle_denials", "bottle_propose", "bottle_wait"]);
        assert_eq!(listed["result"]["resultType"], Value::Null);
    }
    let meta = json!({ "_meta": {
        "io.modelcontextprotocol/protocolVersion": NEW,
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let headers = |method| [("mcp-protocol-version", NEW), ("mcp-method", method)];
    let discovered = post(supervise.agent, &headers("server/discover"), &request("server/discover", meta.clone())).json();
    assert_eq!(discovered["result"]["resultType"], "complete");
    assert!(discovered["result"]["supportedVersions"].as_array().unwrap().contains(&json!(NEW)));
    let listed = post(supervise.agent, &headers("tools/list"), &request("tools/list", meta.clone())).json();
    assert_eq!((listed["result"]["tools"].as_array().map(Vec::len), &listed["result"]["resultType"]), (Some(3), &json!("complete")));
    assert!(listed["result"]["ttlMs"].is_number() && listed["result"]["cacheScope"] == "private");
    let unknown = post(supervise.agent, &headers("ping"), &request("ping", meta.clone()));
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!(-32601)));
    let mismatch = post(supervise.agent, &headers("tools/call"), &request("tools/list", meta));
    assert_eq!((mismatch.status, &mismatch.json()["error"]["code"]), (400, &json!(-32020)));
    let old = post(supervise.agent, &[("mcp-protocol-version", "1900-01-01")], &request("tools/list", json!({})));
    assert_eq!((old.status, &old.json()["error"]["code"]), (400, &json!(-32022)));
}

// covers: M07
#[test]
fn only_a_post_of_json_from_inside_is_answered() {
    let supervise = Supervise::start();
    let ping = request("ping", json!({}));
    let status = |method: &str, replaced: &[(&str, &str)]| {
        let kept = PLAIN.iter().filter(|(name, _)| replaced.iter().all(|(other, _)| other != name));
        let fields: Vec<_> = kept.chain(replaced).copied().collect();
        receive(send(supervise.agent, method, &fields, if method == "POST" { &ping } else { "" })).status
    };
    for host in ["supervise:9100", "localhost:9100", "127.0.0.1:9100", "[::1]:9100"] {
        assert_eq!(status("POST", &[("host", host)]), 200, "{host}");
    }
    for host in ["evil.test", "evil.test:9100", "localhost.evil.test:9100", "supervise.evil.test:9100", "supervise:80", "10.0.0.1:9100"] {
        assert!(matches!(status("POST", &[("host", host)]), 400..=499), "{host}");
    }
    for origin in ["http://supervise:9100", "http://localhost:9100"] {
        assert_eq!(status("POST", &[("origin", origin)]), 200, "{origin}");
    }
    for origin in ["http://evil.test", "null", "https://supervise:9100", "http://supervise:9100.evil.test", "http://evil.test:9100"] {
        assert_eq!(status("POST", &[("origin", origin)]), 403, "{origin}");
    }
    for method in ["GET", "DELETE", "PUT", "OPTIONS"] {
        assert_eq!(status(method, &[]), 405, "{method}");
    }
    assert_eq!(status("POST", &[("content-type", "text/plain")]), 415);
}

// covers: M08
#[test]
fn what_is_no_call_is_an_error_and_the_next_call_works() {
    let mut supervise = Supervise::start();
    for (body, status, code) in [
        ("{", 400, -32700),
        ("[]", 400, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        (&call("bottle_grant", json!({})), 200, -32602),
        (&request("tools/call", json!({ "name": 1 })), 200, -32602),
        (&request("tools/call", json!({ "name": "bottle_wait", "arguments": [] })), 200, -32602),
        (&request("resources/list", json!({})), 200, -32601),
    ] {
        let answer = post(supervise.agent, &[], body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{body}: {answer:?}");
    }
    let too_large = post(supervise.agent, &[], &format!("\"{}\"", "x".repeat(70_000)));
    assert!(matches!(too_large.status, 400..=499), "{too_large:?}");
    let batch = format!("[{},{}]", request("ping", json!({})), r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(post(supervise.agent, &[], &batch).json(), json!([{ "jsonrpc": "2.0", "id": 1, "result": {} }]));
    assert_eq!(post(supervise.agent, &[("mcp-protocol-version", "2025-11-25")], &batch).status, 400);
    // An argument that does not fit is for the model to correct.
    let wrong = post(supervise.agent, &[], &call("bottle_denials", json!({ "last": 0 }))).json();
    assert_eq!(wrong["result"]["isError"], true, "{wrong}");
    let waiting = send(supervise.agent, "POST", PLAIN, &call("bottle_denials", json!({})));
    let FromClient { client, says } = supervise.supervisor.asked();
    assert_eq!(says, ToSupervisor::Denials { last: 10 });
    supervise.supervisor.tell(client, Reply::Denials(Vec::new()));
    assert_eq!(receive(waiting).json()["result"]["structuredContent"], json!({ "denials": [] }));
}

#[test]
fn a_proposal_reaches_the_supervisor_and_its_answer_the_agent() {
    let mut supervise = Supervise::start();
    let arguments = json!({ "host": "a.test", "methods": ["GET"], "paths": ["/x"], "reason": "for the task" });
    let waiting = send(supervise.agent, "POST", PLAIN, &call("bottle_propose", arguments));
    let FromClient { client, says } = supervise.supervisor.asked();
    let (methods, paths) = (vec!["GET".to_owned()], vec!["/x".to_owned()]);
    let expected = Proposal { host: "a.test".into(), port: None, methods, paths, reason: "for the task".into() };
    assert_eq!(says, ToSupervisor::Propose(expected));
    supervise.supervisor.tell(client, open("web.1"));
    let answer = receive(waiting).json();
    assert_eq!((&answer["result"]["structuredContent"]["ask"], &answer["result"]["isError"]), (&json!("web.1"), &json!(false)));
    assert_eq!(supervise.supervisor.heard(), FromClient { client, says: ToSupervisor::Left });
}

#[test]
fn a_wait_ends_with_the_decision_or_says_that_it_is_still_open() {
    let mut supervise = Supervise::start();
    let waiting = send(supervise.agent, "POST", PLAIN, &call("bottle_wait", json!({ "ask": "web.1" })));
    let client = supervise.supervisor.asked().client;
    supervise.supervisor.tell(client, open("web.1"));
    let reason = Some("not today".to_owned());
    supervise.supervisor.tell(client, Reply::State { ask: "web.1".into(), state: AskState::Denied, reason });
    let answer = receive(waiting).json();
    let shown = &answer["result"]["structuredContent"];
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("denied"), &json!("not today")));

    let waiting = send(supervise.agent, "POST", PLAIN, &call("bottle_wait", json!({ "ask": "web.2", "seconds": 1 })));
    let client = supervise.supervisor.asked().client;
    supervise.supervisor.tell(client, open("web.2"));
    let answer = receive(waiting).json();
    assert_eq!((&answer["result"]["structuredContent"]["state"], &answer["result"]["isError"]), (&json!("open"), &json!(false)));
}

#[test]
fn a_client_that_wants_progress_gets_a_stream_that_ends_with_the_answer() {
    let mut supervise = Supervise::start();
    let params = json!({ "name": "bottle_wait", "arguments": { "ask": "web.1" }, "_meta": { "progressToken": "p" } });
    let mut waiting = send(supervise.agent, "POST", PLAIN, &request("tools/call", params));
    let client = supervise.supervisor.asked().client;
    supervise.supervisor.tell(client, open("web.1"));
    let begun = read_until(&mut waiting, "progressToken");
    supervise.supervisor.tell(client, Reply::State { ask: "web.1".into(), state: AskState::Granted, reason: None });
    let response = receive_after(begun, waiting);
    assert!(response.head.contains("content-type: text/event-stream"), "{response:?}");
    let data = response.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let messages: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(messages[0]["params"]["progressToken"], "p", "{messages:?}");
    assert_eq!(messages.last().unwrap()["result"]["structuredContent"]["state"], "granted");
}

#[test]
fn a_client_that_leaves_is_reported() {
    let mut supervise = Supervise::start();
    let waiting = send(supervise.agent, "POST", PLAIN, &call("bottle_wait", json!({ "ask": "web.1" })));
    let client = supervise.supervisor.asked().client;
    supervise.supervisor.tell(client, open("web.1"));
    drop(waiting);
    assert_eq!(supervise.supervisor.heard(), FromClient { client, says: ToSupervisor::Left });
}

// covers: M06
#[test]
fn a_flood_of_calls_does_not_reach_the_supervisor() {
    let supervise = Supervise::start();
    let Supervise { agent, .. } = supervise;
    let bad = call("bottle_wait", json!({ "ask": "x".repeat(300), "seconds": 0 }));
    let mut waiting: Vec<_> = (0..60).map(|_| send(agent, "POST", PLAIN, &bad)).collect();
    // Nobody answers: those that were let through wait, the others are told at once.
    let last = waiting.pop().unwrap();
    let mut told = receive(last).json();
    for stream in waiting.drain(50..) {
        told = receive(stream).json();
    }
    assert_eq!(told["result"]["isError"], true, "{told}");
}
