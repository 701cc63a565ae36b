//! What the manifest takes, the sidecars take: one rule, asked in two places.

use bottle::manifest::model::Bottle;
use bottle_contract::host::Host;
use bottle_contract::pipelock::{Connect, Parent, PipelockConfig};
use bottle_contract::remote::RemoteUrl;
use bottle_policy::credential_header;
use bottle_policy::guard::refuse_chosen;
use bottle_policy::pipelock_policy::PipelockPolicy;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use crate::manifest::bottle;

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn with_connect(address: SocketAddr) -> Result<Bottle, String> {
    bottle(&format!("egress: {{ routes: [{{ host: a.test, connect: '{address}' }}] }}"))
}

/// Addresses near the ones that matter: metadata services, their embeddings, and any other.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let special = prop::sample::select(vec![
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::254",
        "fd00:ec2::1",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::ffff:169.254.169.254",
    ]);
    let special = special.prop_map(|text| text.parse::<IpAddr>().unwrap());
    prop_oneof![special, any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

// covers: N06 A44
#[test]
fn no_metadata_service_is_an_address_that_the_manifest_takes() {
    for address in
        ["[fd00:42::42]", "[fd00:c1::a9fe:a9fe]", "[fd00:ec2::23]", "169.254.0.23", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"]
    {
        assert!(with_connect(format!("{address}:80").parse().unwrap()).is_err(), "{address} as an address to dial");
        assert!(bottle(&format!("egress: {{ routes: [{{ host: '{address}' }}] }}")).is_err(), "{address} as a host");
        assert!(bottle(&format!("egress: {{ proxy: {{ address: '{address}:80' }} }}")).is_err(), "{address} as a proxy");
    }
}

/// A policy with the scanner of another one: its rules are compiled once, not for each case.
fn policy_of(config: PipelockConfig) -> Result<PipelockPolicy, String> {
    static BASE: LazyLock<PipelockPolicy> = LazyLock::new(|| PipelockPolicy::new(PipelockConfig::closed("test")).unwrap());
    PipelockPolicy::after(config, Some(&BASE))
}

proptest! {
    // covers: A44
    #[test]
    fn every_address_that_the_manifest_takes_is_dialled(ip in addresses()) {
        let address = SocketAddr::new(ip, 443);
        let taken = with_connect(address).is_ok();
        let mut config = PipelockConfig::closed("test");
        config.api_allowlist = vec!["a.test".parse().unwrap()];
        config.x_bottle.connect = vec![Connect { host: "a.test".parse().unwrap(), address }];
        let policy = policy_of(config.clone()).unwrap();
        let dialled = policy.foresee(&Host::parse("a.test").unwrap(), 443, &[]).is_ok();
        prop_assert!(!taken || dialled, "{address}");
        config.x_bottle.parent = Some(Parent { address, ca: None });
        prop_assert_eq!(policy_of(config).is_ok(), dialled, "{} as a proxy", address);
        // Whatever may be chosen is no metadata service, whatever is exempt.
        let mut config = PipelockConfig::closed("test");
        config.ssrf.ip_allowlist = ["0.0.0.0/0", "::/0"].map(str::to_owned).to_vec();
        let exempt = policy_of(config).unwrap();
        prop_assert!(refuse_chosen(ip).is_err() || exempt.judge(&Host::Ip(ip), &[ip], &[]).is_ok(), "{ip}");
    }

    // covers: A45
    #[test]
    fn every_header_that_the_manifest_takes_carries_a_credential(name in "[a-zA-Z-]{1,20}|expect|Te|range|proxy-x|x-bottle-a|[ -~]{0,12}") {
        let yaml = format!("egress: {{ routes: [{{ host: a.test, auth: {{ header: {}, token_ref: A }} }}] }}", quoted(&name));
        let header = bottle(&yaml).ok().map(|bottle| bottle.egress.routes[0].auth.clone().unwrap().header);
        prop_assert_eq!(header, credential_header::parse(&name).ok().map(|name| name.to_string()));
    }

    // covers: A46
    #[test]
    fn every_url_that_the_manifest_takes_reads_the_same_in_the_plan(
        url in "(https://|ssh://git@|ssh://|http://)(a\\.test|GIT\\.Test\\.|127\\.1|\\[::1\\]|[a-z@:.]{0,8})(:[0-9+]{0,5})?(/[!-~]{0,12}){0,3}"
    ) {
        let keys = if url.starts_with("ssh:") {
            ", identity: /k, host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl'"
        } else {
            ""
        };
        let taken = bottle(&format!("git: {{ repos: [{{ name: app, upstream: {}{keys} }}] }}", quoted(&url)));
        let parsed = RemoteUrl::parse(&url);
        prop_assert_eq!(taken.as_ref().ok().map(|bottle| &bottle.git[0].upstream), parsed.as_ref().ok(), "{}", url);
        if let Ok(parsed) = parsed {
            prop_assert_eq!(RemoteUrl::parse(&parsed.to_string()), Ok(parsed.clone()), "{}", url);
        }
    }
}
