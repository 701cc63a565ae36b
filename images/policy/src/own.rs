//! Recognises requests to the bottle's own sidecars.

use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::names;
use bottle_contract::reason::Reason;

use crate::place::Place;
use crate::refused::Refused;

const SIDECARS: [(&str, u16); 4] = [names::EGRESS, names::PIPELOCK, names::GIT_GATE, names::SUPERVISE];

/// True when `host` is the bottle itself: the name of a sidecar or of the loopback interface, or a loopback address with a
/// sidecar's port.
pub fn is_own(host: &Host, port: u16) -> bool {
    match host {
        Host::Name(name) => SIDECARS.iter().any(|(sidecar, _)| sidecar == name) || name == "localhost" || name.ends_with(".localhost"),
        Host::Ip(_) => is_loopback(host) && SIDECARS.iter().any(|(_, own)| *own == port),
    }
}

/// Whether a host is the machine that the client itself is on: what the agent runs is reached without a proxy.
pub fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ip(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        }
    }
}

/// The refusal of a request to the bottle itself.
pub fn refuse(host: &str) -> Refused {
    let loopback = Host::parse(host).is_ok_and(|host| is_loopback(&host));
    let direct = if loopback { ": ask it directly, without the proxy" } else { "" };
    Refused::new(Reason::SelfRequest, format!("{} is part of this bottle{direct}", Untrusted::new(host))).place(Place::Head)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: N15
    #[test]
    fn the_bottle_is_known_by_its_names_and_by_its_ports() {
        let is_own = |host: &str, port| is_own(&Host::parse(host).unwrap(), port);
        for host in ["egress", "PIPELOCK.", "git-gate", "supervise", "localhost", "a.localhost"] {
            assert!(is_own(host, 443), "{host}");
        }
        for host in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_own(host, names::PIPELOCK.1), "{host}");
            assert!(!is_own(host, 443), "{host}");
        }
        for host in ["egress.test", "alocalhost", "10.0.0.1"] {
            assert!(!is_own(host, names::PIPELOCK.1), "{host}");
        }
    }
}
