//! The addresses that names have in an agent's network: each is local to it, so a program that knows no proxy connects to a sidecar.
//!
//! 198.19.0.0/16 is the upper half of the range for benchmarks (RFC 2544, appendix C.2.2), which no network on the way uses, and pipelock
//! never dials. The IPv6 prefix is a unique local one (RFC 4193, section 3.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Where the agent's resolver listens, over UDP and TCP.
pub const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 53), 53);
/// Names that may have an address at one time.
pub const MAX_NAMES: u16 = 16_384;

/// The address of the loopback interface itself in the range: programs that ask for addresses of configured families only
/// (`AI_ADDRCONFIG`) would get none without it.
pub const V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The length of the range's prefix.
pub const V4_PREFIX: u8 = 16;
/// The same for IPv6.
pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd62, 0x6f74, 0x746c, 0x6500, 0, 0, 0, 1);
/// The length of the IPv6 prefix.
pub const V6_PREFIX: u8 = 64;

/// Ports of protocols that cannot cross the wall, and that programs expect to reach: SSH, SMTP, SQL Server, MySQL, PostgreSQL, AMQP,
/// Redis, git, memcached and MongoDB. A refused connection to one is recorded.
pub const RECORDED_PORTS: [u16; 10] = [22, 25, 1433, 3306, 5432, 5672, 6379, 9418, 11211, 27017];

/// Last octets in use: some software takes .0 and .255 for networks and broadcasts.
const OCTETS: u16 = 254;

/// The IPv4 address of a name, by its number below [`MAX_NAMES`].
pub fn v4(number: u16) -> Ipv4Addr {
    let [third, fourth] = [1 + number / OCTETS, 1 + number % OCTETS];
    Ipv4Addr::from_bits(range(V4) | u32::from(third) << 8 | u32::from(fourth))
}

/// The IPv6 address of a name.
pub fn v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits((V6.to_bits() & !u128::from(u64::MAX)) | u128::from(u32::from(number) + 2))
}

/// The number of the name that an address can belong to.
pub fn number(address: IpAddr) -> Option<u16> {
    let number = match address.to_canonical() {
        IpAddr::V4(address) => {
            let [_, _, third, fourth] = address.octets().map(u16::from);
            third.checked_sub(1)?.checked_mul(OCTETS)?.checked_add(fourth.checked_sub(1)?)?
        }
        IpAddr::V6(address) => u16::try_from(address.to_bits() & u128::from(u64::MAX)).ok()?.checked_sub(2)?,
    };
    let belongs = number < MAX_NAMES && [IpAddr::V4(v4(number)), IpAddr::V6(v6(number))].contains(&address.to_canonical());
    belongs.then_some(number)
}

/// Whether an address is in the range, with a name or without.
pub fn contains(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => range(address) == range(V4),
        IpAddr::V6(address) => address.to_bits() >> (128 - V6_PREFIX) == V6.to_bits() >> (128 - V6_PREFIX),
    }
}

fn range(address: Ipv4Addr) -> u32 {
    address.to_bits() & (u32::MAX << (32 - V4_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_addresses_of_its_own_and_they_lead_back_to_it() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..MAX_NAMES {
            for address in [IpAddr::V4(v4(n)), IpAddr::V6(v6(n))] {
                assert_eq!((number(address), contains(address)), (Some(n), true), "{address}");
                assert!(seen.insert(address), "{address}");
            }
            assert_eq!(number(IpAddr::V6(v4(n).to_ipv6_mapped())), Some(n));
        }
        assert_eq!((v4(0), v4(253), v4(254)), ([198, 19, 1, 1].into(), [198, 19, 1, 254].into(), [198, 19, 2, 1].into()));
        assert_eq!(v6(0).to_string(), "fd62:6f74:746c:6500::2");
    }

    #[test]
    fn an_address_that_no_name_can_have_has_no_number() {
        for (address, is_in_range) in [
            ("198.19.0.1", true),
            ("198.19.0.0", true),
            ("198.19.1.0", true),
            ("198.19.1.255", true),
            ("198.19.255.255", true),
            ("fd62:6f74:746c:6500::1", true),
            ("fd62:6f74:746c:6500::4002", true),
            ("fd62:6f74:746c:6500:1::2", true),
            ("fd62:6f74:746c:6501::2", false),
            ("198.18.1.1", false),
            ("198.20.1.1", false),
            ("127.0.0.1", false),
            ("127.19.1.1", false),
            ("::1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!((number(address), contains(address)), (None, is_in_range), "{address}");
        }
        assert_eq!(number(IpAddr::V4(v4(MAX_NAMES))), None);
    }
}
