//! Which refusals a person may be asked about: what the allowlist lacks, and nothing else.

use bottle_contract::egress::Asks;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::Route;

use crate::guard::metadata;
use crate::own::{is_loopback, is_own};
use crate::refused::Refused;

/// Whether a person may be asked about this host and port at all. An address is written into a manifest or not used: whose it is, no person
/// can tell from it, and a private one is never reachable by an answer.
pub fn may_ever_be_asked(host: &Host, port: u16) -> bool {
    matches!(host, Host::Name(_)) && !metadata::is_name(host) && !is_own(host, port) && !is_loopback(host)
}

/// Whether a person is asked about a request that was refused so.
pub fn is_asked(asks: &Asks, routes: &[Route], host: &Host, port: u16, refused: &Refused) -> bool {
    let is_missing =
        matches!(refused.reason, Reason::HostNotListed | Reason::PortNotListed | Reason::MethodNotAllowed | Reason::PathNotAllowed);
    // A place means that a header or the query asks for something else than the request line: nobody is shown that.
    if !is_missing || refused.place.is_some() || !may_ever_be_asked(host, port) {
        return false;
    }
    asks.unlisted || routes.iter().filter(|route| route.host.matches(host)).min_by_key(|route| route.host.breadth()).is_some_and(|r| r.ask)
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::DEFAULT_PORTS;

    use super::*;
    use crate::Place;

    fn asked(unlisted: bool, host: &str, refused: &Refused) -> bool {
        let route =
            |host: &str, ask| Route { host: host.parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches: vec![], auth: None, ask };
        let routes = [route("*.x.test", true), route("closed.x.test", false)];
        let asks = Asks { socket: String::new(), hold_ms: 1, unlisted };
        is_asked(&asks, &routes, &Host::parse(host).unwrap(), 443, refused)
    }

    #[test]
    fn only_what_the_allowlist_lacks_is_asked() {
        for reason in Reason::ALL {
            let missing = [Reason::HostNotListed, Reason::PortNotListed, Reason::MethodNotAllowed, Reason::PathNotAllowed].contains(reason);
            assert_eq!(asked(true, "a.test", &Refused::new(*reason, "")), missing, "{reason}");
        }
        assert!(!asked(true, "a.test", &Refused::new(Reason::MethodNotAllowed, "").place(Place::Query)));
    }

    // covers: N06 N15
    #[test]
    fn nobody_is_asked_about_addresses_metadata_or_the_bottle_itself() {
        let refused = Refused::new(Reason::HostNotListed, "");
        for host in
            ["10.0.0.1", "1.1.1.1", "[::1]", "metadata.google.internal", "instance-data", "egress", "supervise", "localhost", "a.localhost"]
        {
            assert!(!asked(true, host, &refused), "{host}");
        }
    }

    #[test]
    fn a_route_asks_for_its_hosts_alone() {
        let refused = Refused::new(Reason::PathNotAllowed, "");
        assert!(asked(false, "a.x.test", &refused));
        // The most specific route decides, for asking too.
        assert!(!asked(false, "closed.x.test", &refused) && !asked(false, "a.test", &refused));
        assert!(asked(true, "closed.x.test", &refused));
    }
}
