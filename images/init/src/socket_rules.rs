//! Which sockets may be made, as rules of the system call filter. The table is all there is: each further family and protocol is kernel code
//! that can be attacked, and some reach out of every namespace, as `AF_VSOCK` does to the host of a virtual machine.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::spec::UnixSockets;

/// A family, its types, and the protocols of each.
type Family = (i32, &'static [(i32, &'static [i32])]);

const UNIX: &[i32] = &[0, libc::PF_UNIX];
const TCP: &[i32] = &[0, libc::IPPROTO_TCP];
const UDP: &[i32] = &[0, libc::IPPROTO_UDP];
/// What tells a program its interfaces; every other netlink protocol is refused.
const ROUTE: &[i32] = &[libc::NETLINK_ROUTE];

const INTERNET: [Family; 3] = [
    (libc::AF_INET, &[(libc::SOCK_STREAM, TCP), (libc::SOCK_DGRAM, UDP)]),
    (libc::AF_INET6, &[(libc::SOCK_STREAM, TCP), (libc::SOCK_DGRAM, UDP)]),
    (libc::AF_NETLINK, &[(libc::SOCK_RAW, ROUTE), (libc::SOCK_DGRAM, ROUTE)]),
];
const CONNECTED: Family = (libc::AF_UNIX, &[(libc::SOCK_STREAM, UNIX), (libc::SOCK_SEQPACKET, UNIX)]);
/// The kernel takes a raw one for a datagram socket.
const ALL: Family =
    (libc::AF_UNIX, &[(libc::SOCK_STREAM, UNIX), (libc::SOCK_SEQPACKET, UNIX), (libc::SOCK_DGRAM, UNIX), (libc::SOCK_RAW, UNIX)]);

/// The bits of a socket's type; those above are flags.
const TYPE: u8 = 0xf;

/// What `socket` is refused.
pub(crate) fn of_socket(unix: UnixSockets) -> Result<Vec<SeccompRule>, BackendError> {
    let own = match unix {
        UnixSockets::All => Some(ALL),
        UnixSockets::Judged => Some(CONNECTED),
        UnixSockets::Pairs => None,
    };
    all_but(&INTERNET.into_iter().chain(own).collect::<Vec<_>>())
}

/// What `socketpair` is refused. A pair for datagrams can also send to an address.
pub(crate) fn of_pair(unix: UnixSockets) -> Result<Vec<SeccompRule>, BackendError> {
    all_but(&[if unix == UnixSockets::All { ALL } else { CONNECTED }])
}

/// Rules that match every socket but these. All three arguments are 32 bits to the kernel.
fn all_but(families: &[Family]) -> Result<Vec<SeccompRule>, BackendError> {
    let is_not = |argument: u8, number: i32| condition(argument, SeccompCmpOp::Ne, number);
    let mut rules = vec![SeccompRule::new(families.iter().map(|(family, _)| is_not(0, *family)).collect::<Result<_, _>>()?)?];
    for (family, types) in families {
        for kind in 0..=i32::from(TYPE) {
            let mut matched = vec![condition(0, SeccompCmpOp::Eq, *family)?, condition(1, SeccompCmpOp::MaskedEq(u64::from(TYPE)), kind)?];
            let protocols = types.iter().filter(|(allowed, _)| *allowed == kind).flat_map(|(_, protocols)| *protocols);
            for protocol in protocols {
                matched.push(is_not(2, *protocol)?);
            }
            rules.push(SeccompRule::new(matched)?);
        }
    }
    Ok(rules)
}

fn condition(argument: u8, is: SeccompCmpOp, number: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, u64::from(number.unsigned_abs()))
}
