//! The machine's own addresses. They may be public, and the machine's services listen there.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a list is reused. A roaming host changes its address a few times a day.
const CACHE_TTL: Duration = Duration::from_secs(2);

/// A source of the machine's addresses.
pub trait Interfaces: Send + Sync + 'static {
    /// The addresses of all interfaces; none if they cannot be determined, and then nothing may be dialled.
    fn addresses(&self) -> Option<Vec<IpAddr>>;
}

/// The addresses of getifaddrs(3), cached for [`CACHE_TTL`].
#[derive(Debug, Default)]
pub struct System {
    last: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Interfaces for System {
    fn addresses(&self) -> Option<Vec<IpAddr>> {
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((when, addresses)) = &*last
            && when.elapsed() < CACHE_TTL
        {
            return Some(addresses.clone());
        }
        let addresses = interface_addresses()?;
        *last = Some((Instant::now(), addresses.clone()));
        Some(addresses)
    }
}

fn interface_addresses() -> Option<Vec<IpAddr>> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    Some(
        all.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect(),
    )
}
