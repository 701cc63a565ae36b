//! The guard at every edge of every range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bottle_contract::Reason;
use bottle_contract::host::Host;
use proptest::prelude::*;

use super::ranges::{NOT_PUBLIC_V4, NOT_PUBLIC_V6};
use super::*;

fn judge(address: &str) -> Result<(), Reason> {
    Guard::default().judge(address.parse().unwrap())
}

/// A second, independent statement of what is public in IPv4: by first and last address of each gap between ranges.
const PUBLIC_V4: &[(&str, &str)] = &[
    ("1.0.0.0", "9.255.255.255"),
    ("11.0.0.0", "100.63.255.255"),
    ("100.128.0.0", "126.255.255.255"),
    ("128.0.0.0", "169.253.255.255"),
    ("169.255.0.0", "172.15.255.255"),
    ("172.32.0.0", "191.255.255.255"),
    ("192.0.1.0", "192.0.1.255"),
    ("192.0.3.0", "192.31.195.255"),
    ("192.31.197.0", "192.52.192.255"),
    ("192.52.194.0", "192.88.98.255"),
    ("192.88.100.0", "192.167.255.255"),
    ("192.169.0.0", "192.175.47.255"),
    ("192.175.49.0", "198.17.255.255"),
    ("198.20.0.0", "198.51.99.255"),
    ("198.51.101.0", "203.0.112.255"),
    ("203.0.114.0", "223.255.255.255"),
];

fn listed_public(address: Ipv4Addr) -> bool {
    PUBLIC_V4.iter().any(|(first, last)| (first.parse::<Ipv4Addr>().unwrap()..=last.parse().unwrap()).contains(&address))
}

// covers: N08
#[test]
fn the_last_address_of_a_range_is_refused_and_the_next_one_is_not() {
    for (first, last) in PUBLIC_V4 {
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().unwrap(), last.parse().unwrap());
        let verdict = |bits: u32| Guard::default().judge(IpAddr::V4(Ipv4Addr::from_bits(bits)));
        assert_eq!(
            [verdict(first.to_bits() - 1), verdict(first.to_bits()), verdict(last.to_bits()), verdict(last.to_bits() + 1)],
            [Err(Reason::AddressNotPublic), Ok(()), Ok(()), Err(Reason::AddressNotPublic)],
            "{first} to {last}"
        );
    }
    for (before, first, last, after) in [
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
        ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
        ("2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"),
        ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
    ] {
        let before_is_public = if before.starts_with("1fff") { Err(Reason::AddressNotPublic) } else { Ok(()) };
        assert_eq!(
            [judge(before), judge(first), judge(last), judge(after)],
            [before_is_public, Err(Reason::AddressNotPublic), Err(Reason::AddressNotPublic), Ok(())],
            "{first} to {last}"
        );
    }
    // The ends of what is given out at all.
    assert_eq!(judge("2000::"), Ok(()));
    assert_eq!(judge("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Ok(()));
    assert_eq!(judge("4000::"), Err(Reason::AddressNotPublic));
}

#[test]
fn both_ends_of_every_row_of_the_table_are_refused() {
    for (network, length) in NOT_PUBLIC_V4 {
        let last = network.to_bits() | u32::MAX.checked_shr(*length).unwrap_or(0);
        for address in [*network, Ipv4Addr::from_bits(last)] {
            assert!(!is_public(IpAddr::V4(address)), "{address}");
        }
    }
    for (network, length) in NOT_PUBLIC_V6 {
        let last = network.to_bits() | u128::MAX.checked_shr(*length).unwrap_or(0);
        for address in [*network, Ipv6Addr::from_bits(last)] {
            assert!(!is_public(IpAddr::V6(address)), "{address}");
        }
    }
}

// covers: N08
#[test]
fn what_hides_an_address_is_judged_by_what_it_hides() {
    for address in [
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:7f00:0:100::",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001::80ff:fffe",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:10.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "ff02::1",
        "100::1",
        "5f00::1",
    ] {
        assert_eq!(judge(address), Err(Reason::AddressNotPublic), "{address}");
    }
    for address in ["8.8.8.8", "2606:4700::1111", "2606:4700::5efe:8.8.8.8"] {
        assert_eq!(judge(address), Ok(()), "{address}");
    }
}

// covers: N06
#[test]
fn a_metadata_service_is_refused_in_every_disguise_and_whatever_is_exempt() {
    let exempt: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let guard = Guard { exempt: &exempt, local: &[] };
    for address in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::",
        "2001::5601:5601",
        "2606:4700::5efe:a9fe:a9fe",
    ] {
        assert_eq!(guard.judge(address.parse().unwrap()), Err(Reason::MetadataAddress), "{address}");
    }
    for name in [
        "metadata.google.internal",
        "METADATA.GOOGLE.INTERNAL.",
        "x.metadata.goog",
        "instance-data",
        "instance-data.eu-west-1.compute.internal",
    ] {
        assert!(metadata::is_name(&Host::parse(name).unwrap()), "{name}");
    }
    for name in ["mymetadata.goog", "metadata.example", "goog"] {
        assert!(!metadata::is_name(&Host::parse(name).unwrap()), "{name}");
    }
}

#[test]
fn an_exception_covers_exactly_what_it_names() {
    let exempt: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "64:ff9b::/96".parse().unwrap()];
    let guard = Guard { exempt: &exempt, local: &[] };
    let judge = |address: &str| guard.judge(address.parse().unwrap());
    assert_eq!(judge("10.1.2.3"), Ok(()));
    assert_eq!(judge("10.2.2.3"), Err(Reason::AddressNotPublic));
    assert_eq!(judge("64:ff9b::8.8.8.8"), Ok(()), "a network that reaches IPv4 through NAT64");
    assert_eq!(judge("64:ff9b::10.2.2.3"), Err(Reason::AddressNotPublic));
    assert_eq!(judge("::ffff:10.1.2.3"), Err(Reason::AddressNotPublic), "the outer form is not exempt");
}

#[test]
fn the_machines_own_addresses_are_refused_though_they_are_public() {
    let local: Vec<IpAddr> = vec!["8.8.4.4".parse().unwrap(), "2606:4700::7".parse().unwrap()];
    let guard = Guard { exempt: &[], local: &local };
    assert_eq!(guard.judge(local[0]), Err(Reason::AddressNotPublic));
    assert_eq!(guard.judge(local[1]), Err(Reason::AddressNotPublic));
    assert_eq!(guard.judge("8.8.8.8".parse().unwrap()), Ok(()));
}

// covers: N09
#[test]
fn one_bad_address_spoils_an_answer_of_a_hundred() {
    let mut answer: Vec<IpAddr> = (0..100).map(|i| IpAddr::V4(Ipv4Addr::new(8, 8, 8, i))).collect();
    assert_eq!(Guard::default().judge_all(&answer), Ok(()));
    answer[57] = "10.0.0.1".parse().unwrap();
    assert_eq!(Guard::default().judge_all(&answer), Err(Reason::AddressNotPublic));
    answer[99] = "169.254.169.254".parse().unwrap();
    assert_eq!(Guard::default().judge_all(&answer), Err(Reason::MetadataAddress));
}

#[test]
fn the_machine_tells_its_own_addresses() {
    use super::interfaces::{Interfaces, System};
    assert!(System::default().addresses().unwrap().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
}

proptest! {
    #[test]
    fn the_table_and_the_gaps_between_its_rows_agree(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        prop_assert_eq!(is_public(IpAddr::V4(address)), listed_public(address));
    }

    #[test]
    fn an_embedded_address_is_never_better_than_itself(bits: u32, prefix in 0usize..6, high: u64) {
        let v4 = Ipv4Addr::from_bits(bits);
        let o = u128::from(bits);
        let address = Ipv6Addr::from_bits(match prefix {
            0 => 0xffff_0000_0000 | o,
            1 => o,
            2 => 0x0064_ff9b_u128 << 96 | o,
            3 => 0x2002_u128 << 112 | o << 80 | u128::from(high),
            4 => 0x2001_u128 << 112 | o << 64 | u128::from(high),
            _ => (0x2600_u128 << 112) | (u128::from(high) & 0xffff_ffff) << 64 | 0x5efe_u128 << 32 | o,
        });
        let verdict = Guard::default().judge(IpAddr::V6(address));
        if let Err(reason) = Guard::default().judge(IpAddr::V4(v4)) {
            prop_assert!(verdict.is_err());
            if reason == Reason::MetadataAddress { prop_assert_eq!(verdict, Err(Reason::MetadataAddress)); }
        }
    }

    #[test]
    fn nothing_outside_global_unicast_is_public(bits: u128) {
        if bits >> 125 != 1 { prop_assert!(!is_public(IpAddr::V6(Ipv6Addr::from_bits(bits)))); }
    }
}
