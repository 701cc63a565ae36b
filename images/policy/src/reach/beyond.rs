//! The comparison of two reaches, host by host.
//!
//! The patterns of both divide all hosts into regions: the hosts that a pattern names and no narrower one does. In a region the same rows
//! decide for every host, so one comparison for each region and port is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bottle_contract::host::HostPattern;
use bottle_contract::route::Route;

use super::requests::{self, Row};
use super::{Credential, Excess, Reach, refs};
use crate::guard::metadata;
use crate::own;

/// What `other` reaches that `known` does not; nothing if there is no request, push or credential that `other` lets out and `known` does not.
pub fn beyond(known: &Reach, other: &Reach) -> Vec<Excess> {
    let patterns: BTreeSet<&HostPattern> = [known, other].into_iter().flat_map(patterns).filter(|pattern| is_reachable(pattern)).collect();
    let mut found: Vec<Excess> = patterns.into_iter().flat_map(|region| at(region, known, other)).collect();
    if known.parent != other.parent {
        found.push(Excess::Parent(other.parent));
    }
    found.extend(refs::beyond(&known.repos, &other.repos));
    let lost = known.rules.iter().filter(|(digest, _)| !other.rules.contains_key(*digest));
    found.extend(lost.map(|(_, path)| Excess::Unscanned { rules: path.clone() }));
    found
}

fn patterns(reach: &Reach) -> impl Iterator<Item = &HostPattern> {
    let routes = reach.routes.iter().chain(reach.grants.iter().map(|grant| &grant.route));
    routes.map(|route| &route.host).chain(reach.connect.iter().map(|row| &row.host))
}

/// Some hosts are refused whatever lists them.
fn is_reachable(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Exact(host) => !metadata::is_name(host) && !own::is_own(host, 443),
        HostPattern::Suffix(_) | HostPattern::Any => true,
    }
}

/// What one region has.
struct Region<'r> {
    /// The route that decides.
    route: Option<&'r Route>,
    granted: Vec<&'r Route>,
    address: Option<SocketAddr>,
}

impl<'r> Region<'r> {
    fn of(pattern: &HostPattern, reach: &'r Reach) -> Self {
        let names = |host: &HostPattern| host.covers(pattern);
        let rows = reach.connect.iter().filter(|row| names(&row.host));
        Self {
            route: reach.routes.iter().filter(|route| names(&route.host)).min_by_key(|route| route.host.breadth()),
            granted: reach.grants.iter().map(|grant| &grant.route).filter(|route| names(&route.host)).collect(),
            address: rows.min_by_key(|row| row.host.breadth()).map(|row| row.address),
        }
    }

    fn routes(&self) -> impl Iterator<Item = &'r Route> {
        self.route.into_iter().chain(self.granted.iter().copied())
    }

    fn rows(&self, port: u16) -> Vec<Row<'r>> {
        // A row that asks, and names nothing, allows nothing.
        let allows = |route: &&Route| route.ports.contains(&port) && !(route.ask && route.matches.is_empty());
        self.routes().filter(allows).map(|route| &*route.matches).collect()
    }

    fn credential(&self, port: u16) -> Option<Credential> {
        let auth = self.route.filter(|route| route.ports.contains(&port))?.auth.as_ref()?;
        Some(Credential { token: auth.slot.clone(), header: auth.header.clone() })
    }
}

fn at(pattern: &HostPattern, known: &Reach, other: &Reach) -> Vec<Excess> {
    let (known, other) = (Region::of(pattern, known), Region::of(pattern, other));
    let ports: BTreeSet<u16> = other.routes().flat_map(|route| route.ports.iter().copied()).collect();
    let mut requests: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    let mut credentials: BTreeMap<Credential, Vec<u16>> = BTreeMap::new();
    for port in ports {
        let credential = other.credential(port);
        let asks = requests::beyond(&known.rows(port), &other.rows(port));
        match credential {
            credential if !asks.is_empty() => requests.entry((asks, credential)).or_default().push(port),
            Some(credential) if known.credential(port).as_ref() != Some(&credential) => {
                credentials.entry(credential).or_default().push(port)
            }
            _ => {}
        }
    }
    let host = || pattern.clone();
    let is_new = !requests.is_empty() && known.routes().next().is_none();
    let mut found: Vec<Excess> =
        requests.into_iter().map(|((asks, credential), ports)| Excess::Requests { host: host(), ports, asks, credential }).collect();
    found.extend(credentials.into_iter().map(|(credential, ports)| Excess::Credential { host: host(), ports, credential }));
    let differs = if is_new { other.address.is_some() } else { other.address != known.address };
    if differs && other.routes().next().is_some() {
        found.push(Excess::Way { host: host(), address: other.address });
    }
    found
}
