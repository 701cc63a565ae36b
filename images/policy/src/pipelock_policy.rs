//! The policy of `pipelock`: a validated configuration.

use std::net::{IpAddr, SocketAddr};

use bottle_contract::Reason;
use bottle_contract::host::{Host, HostPattern};
use bottle_contract::pipelock::{Connect, Limits, Parent, PipelockConfig, Ports, Tunnel};
use bottle_contract::route::DEFAULT_PORTS;
use bottle_scan::Scanner;
use ipnet::IpNet;

use crate::guard::{Guard, metadata, refuse_chosen};
use crate::own::{is_loopback, is_own};
use crate::refused::Refused;
use crate::scanner;

/// One generation of pipelock's policy.
#[derive(Clone, Debug)]
pub struct PipelockPolicy {
    /// The bottle's id.
    pub bottle: String,
    /// Its number.
    pub generation: u64,
    /// Limits.
    pub limits: Limits,
    /// PEM files with additional roots.
    pub trust: Vec<String>,
    /// The next proxy, if any.
    pub parent: Option<Parent>,
    /// Non-public addresses that may be dialled.
    pub exempt: Vec<IpNet>,
    /// The agent connects to pipelock directly, so pipelock intercepts its TLS.
    pub intercepts: bool,
    /// Responses are scanned for text that tries to instruct the agent.
    pub reads_answers: bool,
    /// Rules and the bottle's own secrets.
    pub scanner: Scanner,
    scanner_source: scanner::Source,
    hosts: Vec<HostPattern>,
    ports: Vec<Ports>,
    connect: Vec<Connect>,
    tunnels: Vec<Tunnel>,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the addresses that its name resolves to.
    Resolve,
    /// At this address, which the operator chose.
    Fixed(SocketAddr),
    /// Through the parent proxy.
    Parent(SocketAddr),
}

impl PipelockPolicy {
    /// Validates a configuration. A key with only one safe value accepts only that value.
    pub fn new(config: PipelockConfig) -> Result<Self, String> {
        Self::after(config, None)
    }

    /// The same; the policy `before` lends its scanner, if that is built from the same rules and fingerprints.
    pub fn after(config: PipelockConfig, before: Option<&Self>) -> Result<Self, String> {
        let constant = |fits: bool, what: &str| if fits { Ok(()) } else { Err(what.to_owned()) };
        constant(config.version == 1, "`version` must be 1")?;
        constant(config.mode == "strict", "`mode` must be `strict`: there is no mode that lets unlisted hosts pass")?;
        constant(config.enforce, "`enforce` must be true: there is no warn mode")?;
        constant(config.forward_proxy.enabled, "`forward_proxy.enabled` must be true: there is nothing else to serve")?;
        constant(config.request_body_scanning.enabled, "`request_body_scanning.enabled` must be true")?;
        constant(config.request_body_scanning.action == "block", "`request_body_scanning.action` must be `block`")?;
        constant(config.dlp.include_defaults, "`dlp.include_defaults` must be true")?;
        constant(!config.sentry.enabled, "`sentry.enabled` must be false: nothing is reported anywhere")?;
        let own = config.x_bottle;
        let exempt = config.ssrf.ip_allowlist.iter().map(|text| prefix(text)).collect::<Result<_, _>>()?;
        // The guard does not judge the parent's address.
        if own.parent.as_ref().is_some_and(|parent| refuse_chosen(parent.address.ip()).is_err()) {
            return Err("`x_bottle.parent`: the address of a metadata service".to_owned());
        }
        let scanner_source = scanner::Source { rules: own.rules, fingerprints: own.fingerprints };
        let built = before.map(|before| (&before.scanner_source, &before.scanner));
        let scanner = scanner_source.build(built).map_err(|why| format!("`x_bottle`: {why}"))?;
        Ok(Self {
            bottle: own.bottle,
            generation: own.generation,
            limits: own.limits,
            trust: own.trust,
            parent: own.parent,
            exempt,
            intercepts: config.tls_interception.enabled,
            reads_answers: config.response_scanning.enabled,
            scanner,
            scanner_source,
            hosts: config.api_allowlist,
            ports: own.ports,
            connect: own.connect,
            tunnels: own.tunnels,
        })
    }

    /// The pattern that lists the host and port, or why none does. An unlisted host is never resolved.
    pub fn admit(&self, host: &Host, port: u16) -> Result<&HostPattern, Reason> {
        if metadata::is_name(host) {
            return Err(Reason::MetadataAddress);
        }
        if is_own(host, port) {
            return Err(Reason::SelfRequest);
        }
        let listed = self.hosts.iter().filter(|p| p.matches(host)).min_by_key(|p| p.breadth()).ok_or(Reason::HostNotListed)?;
        let row = self.ports.iter().filter(|row| row.host.matches(host)).min_by_key(|row| row.host.breadth());
        let ports = row.map_or(&DEFAULT_PORTS[..], |row| &row.ports);
        if ports.contains(&port) { Ok(listed) } else { Err(Reason::PortNotListed) }
    }

    /// The same, with a refusal that has a message.
    pub fn listed(&self, host: &Host, port: u16) -> Result<String, Refused> {
        self.admit(host, port).map(HostPattern::text).map_err(|reason| {
            Refused::new(
                reason,
                match reason {
                    Reason::HostNotListed if is_loopback(host) => {
                        format!("{host} is this bottle's own machine: ask it directly, without the proxy")
                    }
                    Reason::HostNotListed => format!("{host} is not one of the hosts that this bottle may reach"),
                    Reason::PortNotListed => format!("{host} may not be reached on port {port}"),
                    Reason::MetadataAddress => format!("{host} is a cloud metadata service"),
                    _ => format!("{host} is part of this bottle"),
                },
            )
        })
    }

    /// Judges the address of a host as far as it is known before name resolution: a fixed address, or an address literal.
    /// `local` are the machine's own addresses.
    pub fn foresee(&self, host: &Host, port: u16, local: &[IpAddr]) -> Result<(), Refused> {
        match (self.way(host, port), host) {
            (Way::Fixed(address), _) => refuse_chosen(address.ip()).map_err(|reason| address_refused(reason, host)),
            (Way::Parent(_) | Way::Resolve, Host::Ip(literal)) => self.judge(host, &[*literal], local),
            (Way::Parent(_) | Way::Resolve, Host::Name(_)) => Ok(()),
        }
    }

    /// Judges the addresses of a host.
    pub fn judge(&self, host: &Host, addresses: &[IpAddr], local: &[IpAddr]) -> Result<(), Refused> {
        Guard { exempt: &self.exempt, local }.judge_all(addresses).map_err(|reason| address_refused(reason, host))
    }

    /// The allowlist.
    pub fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        self.hosts.iter()
    }

    /// True for a target to which a sibling may open an opaque tunnel. It needs no entry in the allowlist.
    pub fn is_tunnel(&self, host: &Host, port: u16) -> bool {
        self.tunnels.iter().any(|row| row.host == *host && row.port == port)
    }

    /// How the host is reached: a tunnel's address wins over a row of `connect`, and both win over the parent.
    pub fn way(&self, host: &Host, port: u16) -> Way {
        let tunnel = self.tunnels.iter().find(|row| row.host == *host && row.port == port);
        if let Some(address) = tunnel.and_then(|row| row.address) {
            return Way::Fixed(address);
        }
        let row = self.connect.iter().filter(|row| row.host.matches(host)).min_by_key(|row| row.host.breadth());
        match (row, &self.parent) {
            (Some(row), _) => Way::Fixed(row.address),
            (None, Some(parent)) => Way::Parent(parent.address),
            (None, None) => Way::Resolve,
        }
    }
}

fn address_refused(reason: Reason, host: &Host) -> Refused {
    Refused::new(
        reason,
        match reason {
            Reason::MetadataAddress => format!("{host} resolves to a cloud metadata service"),
            _ => format!("{host} resolves to an address that is not public"),
        },
    )
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|address: IpAddr| IpNet::from(address));
    text.parse().or_else(|_| single()).map_err(|_| format!("`ssrf.ip_allowlist`: {text:?} is neither an address nor a prefix"))
}

#[cfg(test)]
mod tests {
    use bottle_contract::RuleFile;

    use super::*;

    fn policy(edit: impl FnOnce(&mut PipelockConfig)) -> Result<PipelockPolicy, String> {
        let mut config = PipelockConfig::closed("test");
        config.api_allowlist = ["a.test", "*.b.test"].map(|host| host.parse().unwrap()).to_vec();
        edit(&mut config);
        PipelockPolicy::new(config)
    }

    fn rules(text: &str) -> RuleFile {
        RuleFile { path: "mine.toml".into(), sha256: String::new(), text: text.into() }
    }

    fn admit(policy: &PipelockPolicy, host: &str, port: u16) -> Result<String, Reason> {
        policy.admit(&Host::parse(host).unwrap(), port).map(ToString::to_string)
    }

    #[test]
    fn a_host_is_admitted_on_its_ports_alone() {
        let policy = policy(|config| {
            config.api_allowlist.push("*".parse().unwrap());
            config.x_bottle.ports = vec![Ports { host: "*.b.test".parse().unwrap(), ports: vec![8443] }];
        })
        .unwrap();
        assert_eq!(admit(&policy, "a.test", 443), Ok("a.test".into()));
        assert_eq!(admit(&policy, "a.test", 80), Ok("a.test".into()));
        assert_eq!(admit(&policy, "a.test", 22), Err(Reason::PortNotListed));
        assert_eq!(admit(&policy, "x.b.test", 8443), Ok("*.b.test".into()));
        assert_eq!(admit(&policy, "x.b.test", 443), Err(Reason::PortNotListed));
        assert_eq!(admit(&policy, "c.test", 443), Ok("*".into()));
    }

    // covers: F20
    #[test]
    fn an_empty_allowlist_admits_nothing() {
        let policy = policy(|config| config.api_allowlist.clear()).unwrap();
        assert_eq!(admit(&policy, "a.test", 443), Err(Reason::HostNotListed));
    }

    // covers: N06 N15
    #[test]
    fn neither_metadata_nor_a_sibling_is_admitted_by_a_star() {
        let policy = policy(|config| config.api_allowlist = vec!["*".parse().unwrap()]).unwrap();
        for name in ["metadata.google.internal", "metadata.google.internal.", "Metadata.GOOG", "instance-data"] {
            assert_eq!(admit(&policy, name, 80), Err(Reason::MetadataAddress), "{name}");
        }
        for name in ["pipelock", "egress", "git-gate", "supervise", "PIPELOCK."] {
            assert_eq!(admit(&policy, name, 80), Err(Reason::SelfRequest), "{name}");
        }
    }

    #[test]
    fn a_configuration_that_would_weaken_pipelock_is_refused() {
        type Edit = fn(&mut PipelockConfig);
        let edits: [(Edit, &str); 5] = [
            (|c| c.mode = "audit".into(), "`mode`"),
            (|c| c.enforce = false, "`enforce`"),
            (|c| c.request_body_scanning.action = "warn".into(), "`request_body_scanning.action`"),
            (|c| c.x_bottle.rules = vec![rules("[[rules]]\nid = 'x'")], "`x_bottle`: `rules`: mine.toml: line 2: rule `x`"),
            (|c| c.ssrf.ip_allowlist = vec!["10.0.0".into()], "`ssrf.ip_allowlist`"),
        ];
        for (edit, key) in edits {
            let error = policy(edit).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn an_address_is_judged_before_anything_is_looked_up() {
        let policy = policy(|config| {
            config.api_allowlist = vec!["*".parse().unwrap()];
            config.x_bottle.connect = vec![Connect { host: "fixed.test".parse().unwrap(), address: "10.0.0.7:443".parse().unwrap() }];
        })
        .unwrap();
        let local = ["9.9.9.9".parse().unwrap()];
        let foreseen = |host: &str| policy.foresee(&Host::parse(host).unwrap(), 443, &local).map_err(|refused| refused.reason);
        assert_eq!(foreseen("a.test"), Ok(()));
        assert_eq!(foreseen("1.1.1.1"), Ok(()));
        assert_eq!(foreseen("fixed.test"), Ok(()));
        assert_eq!(foreseen("9.9.9.9"), Err(Reason::AddressNotPublic));
        assert_eq!(foreseen("10.0.0.7"), Err(Reason::AddressNotPublic));
        assert_eq!(foreseen("[::ffff:169.254.169.254]"), Err(Reason::MetadataAddress));
    }
}
