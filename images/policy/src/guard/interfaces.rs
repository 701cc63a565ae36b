//! The machine's own addresses, which may well be public, and behind which its own services listen.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a list of the machine's addresses is believed. A host that roams gets a new address a few times a day.
const CACHE_TTL: Duration = Duration::from_secs(2);

/// Where the machine's addresses come from.
pub trait Interfaces: Send + Sync + 'static {
    /// The addresses of all interfaces, or nothing when they cannot be told: then nothing may be dialled.
    fn addresses(&self) -> Option<Vec<IpAddr>>;
}

/// What getifaddrs(3) says, read again when it is older than a moment.
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
        let addresses = read()?;
        *last = Some((Instant::now(), addresses.clone()));
        Some(addresses)
    }
}

fn read() -> Option<Vec<IpAddr>> {
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
