//! Requests to the kernel over netlink (rtnetlink(7)): addresses that are local to a network namespace.

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The number of `lo`: the first interface of every network namespace.
pub(crate) const LOOPBACK: i32 = 1;

/// Bytes of `struct nlmsghdr`, which begins every message.
const HEADER: usize = 16;
/// The type of an answer (`NLMSG_ERROR`); an acknowledgement is the error 0.
const ANSWER: u16 = 2;

/// Makes every address of a prefix local, and gives `lo` this one of them.
pub(crate) fn make_local(address: IpAddr, prefix: u8) -> io::Result<()> {
    match address {
        // To the loopback interface, the kernel makes all of an address's prefix local.
        IpAddr::V4(address) => add_address(libc::AF_INET, &address.octets(), prefix),
        IpAddr::V6(address) => {
            add_address(libc::AF_INET6, &address.octets(), 128)?;
            add_route(libc::AF_INET6, &address.octets(), prefix)
        }
    }
}

fn add_address(family: i32, address: &[u8], prefix: u8) -> io::Result<()> {
    // struct ifaddrmsg: family, prefix, flags, scope, interface.
    let mut body = vec![octet(family), prefix, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        body.extend(attribute(kind, address));
    }
    request(libc::RTM_NEWADDR, &body)
}

fn add_route(family: i32, destination: &[u8], prefix: u8) -> io::Result<()> {
    // struct rtmsg: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    let mut body = vec![octet(family), prefix, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_STATIC, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    body.extend(attribute(libc::RTA_DST, &network(destination, prefix)));
    body.extend(attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes()));
    request(libc::RTM_NEWROUTE, &body)
}

/// The address with the bits behind the prefix cleared.
fn network(address: &[u8], prefix: u8) -> Vec<u8> {
    let bits = |place: usize| u32::from(prefix).saturating_sub(u32::try_from(place).unwrap_or(u32::MAX).saturating_mul(8)).min(8);
    address.iter().enumerate().map(|(place, octet)| octet & (0xff_u16 << (8 - bits(place))).to_le_bytes()[0]).collect()
}

/// `struct rtattr`, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends a request to create something new, and waits for its acknowledgement.
fn request(kind: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    // A number and a port of our own choice: there is one request, and one answer.
    message.extend([0; 8]);
    message.extend(body);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 512];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match error_in(&answer[..length]) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel's answer cannot be read")),
    }
}

/// The error in an answer.
fn error_in(answer: &[u8]) -> Option<i32> {
    let (header, body) = answer.split_at_checked(HEADER)?;
    let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
    (kind == ANSWER).then_some(i32::from_ne_bytes(body.get(..4)?.try_into().ok()?))
}

fn octet(number: i32) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_bit_behind_its_prefix() {
        assert_eq!(network(&[198, 19, 255, 1], 16), [198, 19, 0, 0]);
        assert_eq!(network(&[255; 4], 13), [255, 248, 0, 0]);
        assert_eq!(network(&[255; 4], 0), [0; 4]);
        assert_eq!(network(&[255; 4], 32), [255; 4]);
    }

    #[test]
    fn an_attribute_is_padded_and_its_length_is_not() {
        let bytes = attribute(7, &[1, 2, 3]);
        assert_eq!(bytes, [&7_u16.to_ne_bytes()[..], &7_u16.to_ne_bytes(), &[1, 2, 3, 0]].concat());
    }

    #[test]
    fn an_answer_that_is_cut_short_or_another_message_is_none() {
        let answer = |kind: u16, error: i32| [&[0; 4], &kind.to_ne_bytes()[..], &[0; 10], &error.to_ne_bytes()].concat();
        assert_eq!(error_in(&answer(ANSWER, -17)), Some(-17));
        assert_eq!(error_in(&answer(20, 0)), None);
        assert_eq!(error_in(&answer(ANSWER, 0)[..19]), None);
        assert_eq!(error_in(&[]), None);
    }
}
