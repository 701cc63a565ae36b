//! The guard judges addresses: the address that is dialled itself, never its text.

mod embedded;
pub mod interfaces;
pub mod metadata;
mod ranges;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bottle_contract::Reason;
use ipnet::IpNet;

use ranges::{GLOBAL_UNICAST, NOT_PUBLIC_V4, NOT_PUBLIC_V6, holds_v4, holds_v6};

/// The guard's exceptions and the machine's addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard<'a> {
    /// Non-public addresses that may be dialled. Metadata services have no exceptions.
    pub exempt: &'a [IpNet],
    /// The machine's own addresses.
    pub local: &'a [IpAddr],
}

/// True for an address that the public internet routes to one host.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !NOT_PUBLIC_V4.iter().any(|prefix| holds_v4(*prefix, a)),
        IpAddr::V6(a) => holds_v6(GLOBAL_UNICAST, a) && !NOT_PUBLIC_V6.iter().any(|prefix| holds_v6(*prefix, a)),
    }
}

/// The address and every IPv4 address embedded in it.
fn readings(address: IpAddr) -> Vec<IpAddr> {
    let inner = match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(a) => embedded::inner(a),
    };
    std::iter::once(address).chain(inner.into_iter().map(IpAddr::V4)).collect()
}

/// Refuses metadata services, embedded addresses included.
fn refuse_metadata(address: IpAddr) -> Result<(), Reason> {
    if readings(address).into_iter().any(metadata::is_address) { Err(Reason::MetadataAddress) } else { Ok(()) }
}

/// Judges an address that the operator chose. Only metadata services are refused, and link-local addresses, where clouds
/// put new ones.
pub fn refuse_chosen(address: IpAddr) -> Result<(), Reason> {
    let is_link_local = |address: IpAddr| match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    if readings(address).into_iter().any(is_link_local) { Err(Reason::MetadataAddress) } else { refuse_metadata(address) }
}

impl Guard<'_> {
    /// Judges one address: it and every embedded address must be public or exempt.
    pub fn judge(&self, address: IpAddr) -> Result<(), Reason> {
        refuse_metadata(address)?;
        let fits = |a: &IpAddr| self.exempt.iter().any(|net| net.contains(a)) || (is_public(*a) && !self.local.contains(a));
        if readings(address).iter().all(fits) { Ok(()) } else { Err(Reason::AddressNotPublic) }
    }

    /// Judges all addresses of a name. One bad address refuses them all: a name with a private and a public address is an
    /// attempted rebinding.
    pub fn judge_all(&self, addresses: &[IpAddr]) -> Result<(), Reason> {
        let verdicts: Vec<_> = addresses.iter().map(|a| self.judge(*a)).collect();
        if verdicts.contains(&Err(Reason::MetadataAddress)) {
            return Err(Reason::MetadataAddress);
        }
        verdicts.into_iter().collect()
    }
}
