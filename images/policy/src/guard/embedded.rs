//! IPv4 addresses embedded in IPv6 addresses: a gateway or the kernel sends the packet to the inner address.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ranges::{V6, holds_v6};

const MAPPED_AND_COMPATIBLE: [V6; 2] = [(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), (Ipv6Addr::UNSPECIFIED, 96)];
const TRANSLATED: V6 = (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96); // RFC 2765, SIIT
const NAT64: V6 = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const LOCAL_NAT64: V6 = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
const SIX_TO_FOUR: V6 = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const TEREDO: V6 = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);

/// Every IPv4 address that `address` may embed.
pub(super) fn inner(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |index: [usize; 4]| Ipv4Addr::from(index.map(|i| octets[i]));
    let mut found = Vec::new();
    let last = at([12, 13, 14, 15]);
    if MAPPED_AND_COMPATIBLE.iter().chain([&TRANSLATED, &NAT64]).any(|prefix| holds_v6(*prefix, address)) {
        found.push(last);
    }
    if holds_v6(LOCAL_NAT64, address) {
        // Where the address lies depends on the prefix length that the network chose; octet 8 is skipped (RFC 6052,
        // section 2.2).
        found.extend([at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last]);
    }
    if holds_v6(SIX_TO_FOUR, address) {
        found.push(at([2, 3, 4, 5]));
    }
    if holds_v6(TEREDO, address) {
        // The server, and the client's address with all bits inverted (RFC 4380, section 4).
        found.extend([at([4, 5, 6, 7]), Ipv4Addr::from_bits(!last.to_bits())]);
    }
    // ISATAP may live under any prefix (RFC 5214, section 6.1): the interface identifier tells.
    if matches!(octets[8..12], [0 | 2, 0, 0x5e, 0xfe]) {
        found.push(last);
    }
    found
}
