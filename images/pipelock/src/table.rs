//! The table: a configuration that was read, understood as a whole, and can judge.

use std::net::SocketAddr;

use bottle_contract::Reason;
use bottle_contract::host::{Host, HostPattern};
use bottle_contract::names;
use bottle_contract::pipelock::{Connect, Limits, Parent, PipelockConfig, Ports, Tunnel};
use bottle_contract::route::DEFAULT_PORTS;
use bottle_scan::{Fingerprints, Scanner};
use ipnet::IpNet;

use crate::guard::metadata;

/// What is enforced, of one generation.
#[derive(Clone, Debug)]
pub struct Table {
    /// The bottle's id.
    pub bottle: String,
    /// Which table this is.
    pub generation: u64,
    /// Bounds.
    pub limits: Limits,
    /// PEM files with further roots.
    pub trust: Vec<String>,
    /// The proxy behind this one.
    pub parent: Option<Parent>,
    /// Addresses that may be dialled though they are not public.
    pub exempt: Vec<IpNet>,
    /// The agent dials pipelock itself, so what it says inside TLS must be read here.
    pub intercepts: bool,
    /// Rules and the bottle's own secrets.
    pub scanner: Scanner,
    hosts: Vec<HostPattern>,
    ports: Vec<Ports>,
    connect: Vec<Connect>,
    tunnels: Vec<Tunnel>,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the addresses that its name resolves to.
    Resolve,
    /// By this address, which a person chose.
    Fixed(SocketAddr),
    /// Through the parent proxy.
    Parent(SocketAddr),
}

impl Table {
    /// Understands a configuration, or says what is wrong with it. What only one value is safe for has only that value.
    pub fn new(config: PipelockConfig) -> Result<Self, String> {
        let constant = |fits: bool, what: &str| if fits { Ok(()) } else { Err(what.to_owned()) };
        constant(config.version == 1, "`version` must be 1")?;
        constant(config.mode == "strict", "`mode` must be `strict`: there is no mode that lets unlisted hosts pass")?;
        constant(config.enforce, "`enforce` must be true: there is no warn mode")?;
        constant(config.forward_proxy.enabled, "`forward_proxy.enabled` must be true: there is nothing else to serve")?;
        constant(config.request_body_scanning.enabled, "`request_body_scanning.enabled` must be true")?;
        constant(config.request_body_scanning.action == "block", "`request_body_scanning.action` must be `block`")?;
        constant(!config.response_scanning.enabled, "`response_scanning.enabled` must be false: answers are not scanned")?;
        constant(config.dlp.include_defaults, "`dlp.include_defaults` must be true")?;
        constant(!config.sentry.enabled, "`sentry.enabled` must be false: nothing is reported anywhere")?;
        let own = config.x_bottle;
        let exempt = config.ssrf.ip_allowlist.iter().map(|text| prefix(text)).collect::<Result<_, _>>()?;
        let fingerprints = match own.fingerprints {
            serde_json::Value::Null => Fingerprints::default(),
            value => serde_json::from_value(value).map_err(|_| "`x_bottle.fingerprints` cannot be read".to_owned())?,
        };
        Ok(Self {
            bottle: own.bottle,
            generation: own.generation,
            limits: own.limits,
            trust: own.trust,
            parent: own.parent,
            exempt,
            intercepts: config.tls_interception.enabled,
            scanner: Scanner::new(fingerprints)?,
            hosts: config.api_allowlist,
            ports: own.ports,
            connect: own.connect,
            tunnels: own.tunnels,
        })
    }

    /// The pattern that lists the host and port, or why none does. Nothing is resolved for a host that is not listed.
    pub fn admit(&self, host: &Host, port: u16) -> Result<&HostPattern, Reason> {
        if metadata::is_name(host) {
            return Err(Reason::MetadataAddress);
        }
        if is_own_name(host) {
            return Err(Reason::SelfRequest);
        }
        let listed = self.hosts.iter().filter(|p| p.matches(host)).min_by_key(|p| p.breadth()).ok_or(Reason::HostNotListed)?;
        let row = self.ports.iter().filter(|row| row.host.matches(host)).min_by_key(|row| row.host.breadth());
        let ports = row.map_or(&DEFAULT_PORTS[..], |row| &row.ports);
        if ports.contains(&port) { Ok(listed) } else { Err(Reason::PortNotListed) }
    }

    /// True for a target to which a sibling may open an opaque tunnel. Such a row lists its host and port by itself.
    pub fn is_tunnel(&self, host: &Host, port: u16) -> bool {
        self.tunnels.iter().any(|row| row.host == *host && row.port == port)
    }

    /// How the host is reached: a tunnel's own address wins over a row of `connect`, and both win over the parent.
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

/// The names under which the agent knows the sidecars, which no origin has.
pub fn is_own_name(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    [names::EGRESS, names::PIPELOCK, names::GIT_GATE, names::SUPERVISE].iter().any(|(own, _)| own == name)
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().or_else(|_| single()).map_err(|_| format!("`ssrf.ip_allowlist`: {text:?} is neither an address nor a prefix"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn table(edit: impl FnOnce(&mut PipelockConfig)) -> Result<Table, String> {
        let mut config = testing::config(&["a.test", "*.b.test"]);
        edit(&mut config);
        Table::new(config)
    }

    fn admit(table: &Table, host: &str, port: u16) -> Result<String, Reason> {
        table.admit(&Host::parse(host).unwrap(), port).map(ToString::to_string)
    }

    #[test]
    fn a_host_is_admitted_on_its_ports_alone() {
        let table = table(|config| {
            config.api_allowlist.push("*".parse().unwrap());
            config.x_bottle.ports = vec![Ports { host: "*.b.test".parse().unwrap(), ports: vec![8443] }];
        })
        .unwrap();
        assert_eq!(admit(&table, "a.test", 443), Ok("a.test".into()));
        assert_eq!(admit(&table, "a.test", 80), Ok("a.test".into()));
        assert_eq!(admit(&table, "a.test", 22), Err(Reason::PortNotListed));
        assert_eq!(admit(&table, "x.b.test", 8443), Ok("*.b.test".into()));
        assert_eq!(admit(&table, "x.b.test", 443), Err(Reason::PortNotListed));
        assert_eq!(admit(&table, "c.test", 443), Ok("*".into()));
    }

    // covers: F20
    #[test]
    fn an_empty_allowlist_admits_nothing() {
        let table = table(|config| config.api_allowlist.clear()).unwrap();
        assert_eq!(admit(&table, "a.test", 443), Err(Reason::HostNotListed));
    }

    // covers: N06 N15
    #[test]
    fn neither_metadata_nor_a_sibling_is_admitted_by_a_star() {
        let table = table(|config| config.api_allowlist = vec!["*".parse().unwrap()]).unwrap();
        for name in ["metadata.google.internal", "metadata.google.internal.", "Metadata.GOOG", "instance-data"] {
            assert_eq!(admit(&table, name, 80), Err(Reason::MetadataAddress), "{name}");
        }
        for name in ["pipelock", "egress", "git-gate", "supervise", "PIPELOCK."] {
            assert_eq!(admit(&table, name, 80), Err(Reason::SelfRequest), "{name}");
        }
    }

    #[test]
    fn what_would_weaken_the_door_is_not_a_configuration() {
        type Edit = fn(&mut PipelockConfig);
        let edits: [(Edit, &str); 6] = [
            (|c| c.mode = "audit".into(), "`mode`"),
            (|c| c.enforce = false, "`enforce`"),
            (|c| c.request_body_scanning.action = "warn".into(), "`request_body_scanning.action`"),
            (|c| c.response_scanning.enabled = true, "`response_scanning.enabled`"),
            (|c| c.ssrf.ip_allowlist = vec!["10.0.0".into()], "`ssrf.ip_allowlist`"),
            (|c| c.x_bottle.fingerprints = serde_json::json!(7), "`x_bottle.fingerprints`"),
        ];
        for (edit, key) in edits {
            let error = table(edit).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
