//! Start, reload, stop.

use std::io::Read;
use std::path::Path;

use bottle_contract::Reason;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{BINARY, Bottle, DEADLINE, TOKEN, always, answer, route, with_token};

fn hello() -> Bottle {
    Bottle::new(always(answer("200 OK", &[], "hello")))
}

// covers: Y10
#[test]
fn a_table_that_cannot_be_used_leaves_the_old_one_in_force() {
    let egress = hello().start(&[route("old.test")]);
    let good = egress.bottle.config(2, &[route("new.test")]);
    let older = egress.bottle.config(0, &[route("new.test")]);
    let mut slotless = with_token("new.test");
    slotless["auth"]["slot"] = "EGRESS_TOKEN_9".into();
    let slotless = egress.bottle.config(2, &[slotless]);
    for bad in ["", "{", &good[..good.len() / 2], &good.replace("\"ports\"", "\"port\""), &older, &slotless] {
        let event = egress.reload(bad);
        assert_eq!((event.event.as_str(), event.generation), ("reload_failed", Some(1)), "{bad}");
        assert_eq!(egress.fetch(&["https://old.test/"]), "hello");
        assert_eq!(egress.refusal(&["http://new.test/"]).1.reason.slug(), "host_not_listed");
        let health: Value = serde_json::from_str(&egress.fetch(&["http://egress:9099/_bottle/health"])).unwrap();
        assert_eq!(health["generation"], 1);
        assert_eq!(health["reload_failed"].as_str(), event.message.as_deref());
        assert!(event.message.is_some());
    }
    let event = egress.reload(&good);
    assert_eq!((event.event.as_str(), event.generation), ("reload", Some(2)));
    assert_eq!(egress.fetch(&["https://new.test/"]), "hello");
    assert_eq!(egress.refusal(&["http://old.test/"]).1.reason.slug(), "host_not_listed");
    let health: Value = serde_json::from_str(&egress.fetch(&["http://egress/_bottle/health"])).unwrap();
    assert_eq!((&health["generation"], &health["reload_failed"]), (&2.into(), &Value::Null));
}

#[test]
fn the_agent_sees_the_routes_and_no_slot() {
    let egress = hello().start(&[with_token("api.test"), route("*.open.test")]);
    let by_proxy = egress.fetch(&["http://egress:9099/_bottle/routes"]);
    let direct = egress.fetch(&["--proxy", "", "-H", "host: egress:9099", &format!("http://{}/_bottle/routes", egress.address)]);
    assert_eq!(by_proxy, direct);
    let page: Value = serde_json::from_str(&by_proxy).unwrap();
    let expected = serde_json::json!({ "generation": 1, "routes": [
        { "host": "api.test", "ports": [443, 80], "matches": [], "ask": false, "auth": { "header": "authorization", "scheme": "Bearer" } },
        { "host": "*.open.test", "ports": [443, 80], "matches": [], "ask": false, "auth": null },
    ], "grants": [] });
    assert_eq!(page, expected);
    let (status, refusal) = egress.refusal(&["http://egress:9099/else"]);
    assert_eq!((status.as_str(), refusal.reason.slug()), ("403", "self_request"));
}

#[test]
fn sigterm_ends_it_cleanly_and_no_event_or_argument_holds_the_secret() {
    let mut egress = hello().start(&[with_token("api.test")]);
    assert_eq!(egress.fetch(&["https://api.test/"]), "hello");
    let process = format!("/proc/{}", egress.child.id());
    let command_line = std::fs::read(format!("{process}/cmdline")).unwrap();
    assert!(!command_line.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()));
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core: Vec<_> = limits.lines().find(|l| l.starts_with("Max core")).unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let mut idle = egress.dial();
    egress.signal(Signal::TERM);
    let mut rest = Vec::new();
    // Reset, if it had not been accepted yet.
    let end = idle.read_to_end(&mut rest).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    assert_eq!(rest, b"");
    let end = std::time::Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = egress.child.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < end, "it does not end");
        std::thread::yield_now();
    };
    assert!(status.success(), "{status}");
    egress.event(|event| event.event == "stopping");
    assert!(!format!("{:?}", egress.events()).contains(TOKEN));
}

#[test]
fn it_runs_in_an_empty_root() {
    let bottle = hello();
    std::fs::copy(BINARY, bottle.path("bottle-egress")).unwrap();
    let upstream = serde_json::json!({ "link": { "socket": "/link/pipelock.sock" } });
    bottle.write("config/egress.json", &bottle.config_with(1, &[with_token("api.test")], upstream));
    let root = bottle.path("").to_str().unwrap().to_owned();
    let egress =
        bottle.run(&["/usr/bin/unshare", "--user", "--map-root-user", "/usr/sbin/chroot", &root, "/bottle-egress"], Path::new("/"));
    assert_eq!(egress.fetch(&["https://api.test/"]), "hello");
    assert_eq!(egress.stub().last().field("authorization"), Some(&*format!("Bearer {TOKEN}")));
}

// covers: X08
#[test]
fn without_descriptors_it_turns_away_and_recovers() {
    let bottle = hello();
    bottle.write("config/egress.json", &bottle.config(1, &[route("open.test")]));
    let root = bottle.path("");
    let egress = bottle.run(&["/usr/bin/prlimit", "--nofile=64:64", BINARY], &root);
    let many: Vec<_> = (0..200).map(|_| egress.dial()).collect();
    egress.event(|event| event.reason == Some(Reason::TooMany));
    drop(many);
    let end = std::time::Instant::now() + DEADLINE;
    while egress.curl(&["https://open.test/"]).stdout != b"hello" {
        assert!(std::time::Instant::now() < end, "{:#?}", egress.events());
    }
    assert!(egress.events().iter().all(|event| event.event != "error"), "{:#?}", egress.events());
}

#[test]
fn a_start_that_fails_says_why_and_never_says_ready() {
    for (spoil, expected) in [
        ("config/egress.json", "egress.json is not valid"),
        ("secrets/EGRESS_TOKEN_0", "the secret in slot \"EGRESS_TOKEN_0\" is empty"),
        ("ca/key.pem", "the authority's key cannot be read"),
        ("ca/cert.pem", "the authority's certificate is not PEM"),
    ] {
        let bottle = hello();
        bottle.write("config/egress.json", &bottle.config(1, &[with_token("api.test")]));
        bottle.write(spoil, "");
        let (said, events, code) = bottle.fail();
        assert_eq!((said.as_slice(), code), (&b""[..], Some(125)), "{spoil}");
        assert!(events.contains(expected) && !events.contains(TOKEN), "{events}");
    }
}

// covers: S09
#[test]
fn the_pages_of_a_secret_are_locked_into_memory() {
    let locked = |egress: &crate::support::Egress| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", egress.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(locked(&hello().start(&[route("open.test")])), 0);
    assert!(locked(&hello().start(&[with_token("api.test")])) >= 4, "in KiB, one page at least");
}
