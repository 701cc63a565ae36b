//! URLs, paths and hosts: the canonical form is stable, and nothing in it can leave the prefix that was matched.
#![no_main]

use bottle_contract::HostPattern;
use bottle_contract::host::Host;
use bottle_contract::path::canonical;
use bottle_contract::pipelock::PipelockConfig;
use bottle_policy::evaluate::{Policies, Query};
use bottle_policy::pipelock_policy::PipelockPolicy;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<PipelockPolicy> = LazyLock::new(|| {
    let mut config = PipelockConfig::closed("fuzz");
    config.api_allowlist = vec![HostPattern::Any];
    PipelockPolicy::new(config).expect("a good configuration")
});

fuzz_target!(|text: &str| {
    if let Ok(path) = canonical(text) {
        assert_eq!(canonical(&path).as_ref(), Ok(&path));
        assert!(path.bytes().all(|b| b > b' ' && b < 0x7f && !b"\\#?".contains(&b)));
        let mut level = path.clone();
        for _ in 0..4 {
            assert!(!level.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))));
            level = level.replace("%2E", ".").replace("%2e", ".").replace("%2F", "/").replace("%2f", "/").replace("%25", "%");
        }
    }
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    }
    let policies = Policies { routes: None, pipelock: &POLICY, local: &[] };
    if let Ok(allowed) = policies.evaluate(Query { method: "GET", url: text, body: None }) {
        let again = allowed.target.url();
        let second = policies.evaluate(Query { method: "GET", url: &again, body: None }).expect("the canonical form is allowed too");
        assert_eq!(second.target, allowed.target);
    }
});
