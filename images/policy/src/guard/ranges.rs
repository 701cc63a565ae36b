//! The table of addresses that are not public, from IANA's special-purpose registries and the RFCs beside each row.
//!
//! Rows that IANA calls "globally reachable" are here as well where only infrastructure, never an origin, lives there.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A prefix of IPv4: network and length.
pub(super) type V4 = (Ipv4Addr, u32);
/// A prefix of IPv6: network and length.
pub(super) type V6 = (Ipv6Addr, u32);

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u32) -> V4 {
    (Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, length: u32) -> V6 {
    (Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// What no origin on the public network has.
pub(super) const NOT_PUBLIC_V4: &[V4] = &[
    v4(0, 0, 0, 0, 8),       // "this network", RFC 791; Linux dials 0.0.0.0 as loopback
    v4(10, 0, 0, 0, 8),      // private, RFC 1918
    v4(100, 64, 0, 0, 10),   // shared between provider and customer, RFC 6598
    v4(127, 0, 0, 0, 8),     // loopback, RFC 1122
    v4(169, 254, 0, 0, 16),  // link-local, RFC 3927
    v4(172, 16, 0, 0, 12),   // private, RFC 1918
    v4(192, 0, 0, 0, 24),    // protocol assignments, RFC 6890
    v4(192, 0, 2, 0, 24),    // documentation, RFC 5737
    v4(192, 31, 196, 0, 24), // AS112, RFC 7535
    v4(192, 52, 193, 0, 24), // multicast tunnelling, RFC 7450
    v4(192, 88, 99, 0, 24),  // 6to4 relays, RFC 7526
    v4(192, 168, 0, 0, 16),  // private, RFC 1918
    v4(192, 175, 48, 0, 24), // AS112, RFC 7534
    v4(198, 18, 0, 0, 15),   // benchmarks, RFC 2544
    v4(198, 51, 100, 0, 24), // documentation, RFC 5737
    v4(203, 0, 113, 0, 24),  // documentation, RFC 5737
    v4(224, 0, 0, 0, 4),     // multicast, RFC 5771
    v4(240, 0, 0, 0, 4),     // reserved, RFC 1112; holds the limited broadcast 255.255.255.255, RFC 919
];

/// The only part of IPv6 from which global unicast addresses are given out (RFC 4291, section 2.4).
pub(super) const GLOBAL_UNICAST: V6 = v6(0x2000, 0, 0, 0, 3);

/// What no origin on the public network has. The rows outside [`GLOBAL_UNICAST`] are redundant on purpose: the table is
/// what a reader compares with the registries.
pub(super) const NOT_PUBLIC_V6: &[V6] = &[
    (Ipv6Addr::UNSPECIFIED, 128),                        // RFC 4291
    (Ipv6Addr::LOCALHOST, 128),                          // RFC 4291
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),    // IPv4-mapped, RFC 4291
    (Ipv6Addr::UNSPECIFIED, 96),                         // IPv4-compatible, RFC 4291
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), // NAT64, RFC 6052
    v6(0x64, 0xff9b, 1, 0, 48),                          // local NAT64, RFC 8215
    v6(0x100, 0, 0, 0, 64),                              // discard, RFC 6666
    v6(0x2001, 0, 0, 0, 23),                             // protocol assignments with Teredo, ORCHID, benchmarks, RFC 2928
    v6(0x2001, 0xdb8, 0, 0, 32),                         // documentation, RFC 3849
    v6(0x2002, 0, 0, 0, 16),                             // 6to4, RFC 3056
    v6(0x2620, 0x4f, 0x8000, 0, 48),                     // AS112, RFC 7534
    v6(0x3fff, 0, 0, 0, 20),                             // documentation, RFC 9637
    v6(0x5f00, 0, 0, 0, 16),                             // segment routing, RFC 9602
    v6(0xfc00, 0, 0, 0, 7),                              // unique local, RFC 4193
    v6(0xfe80, 0, 0, 0, 10),                             // link-local, RFC 4291
    v6(0xfec0, 0, 0, 0, 10),                             // site-local, RFC 3879
    v6(0xff00, 0, 0, 0, 8),                              // multicast, RFC 4291
];

/// True when `address` starts with `prefix`.
pub(super) fn holds_v4(prefix: V4, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - prefix.1).unwrap_or(0);
    (address.to_bits() ^ prefix.0.to_bits()) & mask == 0
}

/// True when `address` starts with `prefix`.
pub(super) fn holds_v6(prefix: V6, address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - prefix.1).unwrap_or(0);
    (address.to_bits() ^ prefix.0.to_bits()) & mask == 0
}
