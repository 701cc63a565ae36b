//! Cloud metadata services, which hand out an instance's credentials to any program on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bottle_contract::host::Host;

/// From the vendors' documentation.
const V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Google Cloud, Azure, OpenStack, Oracle, DigitalOcean, Hetzner, IBM and more
    Ipv4Addr::new(169, 254, 169, 253), // AWS, the VPC's resolver
    Ipv4Addr::new(169, 254, 169, 123), // AWS, the clock
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS, task credentials
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS, pod identity
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent Cloud
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's wire server, an address that is otherwise public
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud Classic
];

const V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),      // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),      // AWS, the VPC's resolver
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),      // AWS, the clock
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),       // AWS EKS, pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),       // Google Cloud
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // Oracle Cloud
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),        // Scaleway
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),    // OpenStack
];

/// Names of these services; each includes its subdomains.
const NAMES: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "metadata.internal",
    "metadata.tencentyun.com",
    "metadata.oraclevcn.com",
    "api.metadata.cloud.ibm.com",
    "metadata.platformequinix.com",
    "metadata.packet.net",
    "rancher-metadata",
    "instance-data",
    "instance-data.ec2.internal",
];

/// True for an address of a metadata service.
pub fn is_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => V4.contains(&a),
        IpAddr::V6(a) => V6.contains(&a),
    }
}

/// True for a name of a metadata service.
pub fn is_name(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    let below = |parent: &&str| name.strip_suffix(*parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    NAMES.iter().any(below) || name.starts_with("instance-data.")
}
