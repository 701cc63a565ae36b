//! Start, reload, stop.

use std::io::Read;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Bottle, PATIENCE, TOKEN, always, answer, route, with_token};

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
        { "host": "api.test", "ports": [443, 80], "matches": [], "auth": { "header": "authorization", "scheme": "Bearer" } },
        { "host": "*.open.test", "ports": [443, 80], "matches": [], "auth": null },
    ] });
    assert_eq!(page, expected);
    let (status, refusal) = egress.refusal(&["http://egress:9099/else"]);
    assert_eq!((status.as_str(), refusal.reason.slug()), ("403", "self_request"));
}

#[test]
fn sigterm_ends_it_cleanly_and_nothing_holds_the_secret() {
    let mut egress = hello().start(&[with_token("api.test")]);
    assert_eq!(egress.fetch(&["https://api.test/"]), "hello");
    let process = format!("/proc/{}", egress.child.id());
    let dumpable = std::fs::metadata(format!("{process}/environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&dumpable), 0, "an undumpable process belongs to root");
    let command_line = std::fs::read(format!("{process}/cmdline")).unwrap();
    assert!(!command_line.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()));
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core: Vec<_> = limits.lines().find(|l| l.starts_with("Max core")).unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let mut idle = egress.dial();
    egress.signal(Signal::TERM);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    let end = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = egress.child.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < end, "it does not end");
        std::thread::yield_now();
    };
    assert!(status.success(), "{status}");
    assert!(egress.events().iter().any(|event| event.event == "stopping"));
    assert!(!format!("{:?}", egress.events()).contains(TOKEN));
}
