//! What `/etc` says to an agent, in every backend: one user, the bottle's names, one certificate authority, and the bottle's own
//! resolver where it has one. Pure.

use std::net::Ipv4Addr;

use bottle_contract::local;

use crate::plan::Plan;
use crate::plan::agent::{CA_BUNDLE, HOME};

/// Where else programs look for what is in the files: a link, and what it leads to.
pub(super) const LINKS: [(&str, &str); 3] = [
    ("/etc/ssl/cert.pem", "certs/ca-certificates.crt"),
    ("/etc/pki/tls/certs/ca-bundle.crt", CA_BUNDLE),
    ("/etc/mtab", "/proc/self/mounts"),
];

/// The files, by path. `user` is the number of the agent's user and group, `address` says where a name is.
pub(super) fn files(plan: &Plan, ca_pem: &str, user: u32, address: impl Fn(&str) -> Ipv4Addr) -> Vec<(&'static str, String)> {
    let mut places: Vec<(Ipv4Addr, Vec<&str>)> = Vec::new();
    for host in &plan.agent.hosts {
        let address = address(host);
        match places.iter_mut().find(|(other, _)| *other == address) {
            Some((_, names)) => names.push(host),
            None => places.push((address, vec![host])),
        }
    }
    let resolver = local::RESOLVER.ip();
    let (resolv_conf, databases) = match plan.has_local_names() {
        // It answers at once or not at all. There is no search list, as the host name has no domain: a name is asked for as it is.
        true => (format!("nameserver {resolver}\noptions timeout:1 attempts:2\n"), "files dns"),
        false => ("# Names are resolved by the proxy; there is no name server to ask.\n".into(), "files"),
    };
    let names: String = places.iter().map(|(address, names)| format!("{address} {}\n", names.join(" "))).collect();
    vec![
        ("/etc/passwd", format!("agent:x:{user}:{user}::{HOME}:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n")),
        ("/etc/group", format!("agent:x:{user}:\nnogroup:x:65534:\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost {}\n::1 localhost\n{names}", plan.id)),
        ("/etc/hostname", format!("{}\n", plan.id)),
        ("/etc/resolv.conf", resolv_conf),
        ("/etc/nsswitch.conf", format!("passwd: files\ngroup: files\nhosts: {databases}\n")),
        (CA_BUNDLE, ca_pem.to_owned()),
    ]
}
