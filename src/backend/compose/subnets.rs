//! Which addresses a bottle's networks have: chosen by us, sixteen for each, because an engine's own pools end after thirty networks.
//! Pure.

use std::net::Ipv4Addr;

use crate::render::compose::Subnet;

/// 10.208.0.0/12, from which networks are taken: away from the engine's own pools (172.17.0.0/12, 192.168.0.0/16) and from the low
/// numbers that people and clouds like. 65,536 networks.
const BASE: u32 = Ipv4Addr::new(10, 208, 0, 0).to_bits();
/// Networks in it.
const COUNT: u32 = 1 << (Subnet::PREFIX - 12);
/// Addresses of each.
const SIZE: u32 = 1 << (32 - Subnet::PREFIX);

/// A range of addresses that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u32,
    last: u32,
}

impl Range {
    /// Reads `10.0.0.0/8`; anything else is no range of ours to avoid.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.trim().split_once('/')?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let address: Ipv4Addr = address.parse().ok()?;
        let size = u32::MAX.checked_shr(prefix).unwrap_or(0);
        Some(Self { first: address.to_bits() & !size, last: address.to_bits() | size })
    }

    /// The rows of `/proc/net/route`, but for the default.
    pub fn routes(table: &str) -> Vec<Self> {
        let rows = table.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::swap_bytes);
            let (destination, mask) = (number(1)?, number(7)?);
            (mask != 0).then_some(Self { first: destination & mask, last: destination | !mask })
        });
        rows.collect()
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Two networks that nobody has. Where the search begins depends on the project, so that two users of an engine seldom meet.
pub fn choose(project: &str, taken: &[Range]) -> Option<[Subnet; 2]> {
    // FNV-1a.
    let start = project.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let candidates = (0..COUNT).map(|n| BASE + (start.wrapping_add(n) % COUNT) * SIZE);
    let is_free = |first: &u32| {
        let own = Range { first: *first, last: first + SIZE - 1 };
        !taken.iter().any(|other| own.overlaps(*other))
    };
    let mut free = candidates.filter(is_free).map(|first| Subnet(Ipv4Addr::from_bits(first)));
    Some([free.next()?, free.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: C10
    #[test]
    fn a_network_overlaps_with_none_that_is_taken() {
        let mut taken = vec![Range::parse("10.208.0.0/13").unwrap()];
        for _ in 0..100 {
            let chosen = choose("bottle-a", &taken).unwrap();
            for subnet in chosen {
                let own = Range::parse(&subnet.to_string()).unwrap();
                assert!(!taken.iter().any(|other| other.overlaps(own)), "{subnet}");
                taken.push(own);
            }
        }
        assert_eq!(choose("bottle-a", &[Range::parse("0.0.0.0/0").unwrap()]), None);
        assert_eq!(choose("bottle-a", &taken), choose("bottle-a", &taken));
    }

    #[test]
    fn the_hosts_routes_are_read_as_the_kernel_writes_them() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n\
                     eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";
        assert_eq!(Range::routes(table), [Range::parse("192.168.1.0/24").unwrap()]);
    }
}
