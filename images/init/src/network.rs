//! The only network that a bottle has: `lo`, addresses that are local to it, and the sockets on it that sidecars serve.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::spec::{Failure, Socket, Spec};
use crate::{netlink, refusal_filter, sys};

/// Connections that wait to be accepted: the kernel's own bound (listen(2)).
const BACKLOG: i32 = 4096;

/// Brings `lo` up and opens the sockets. The supervisor hands them to the sidecars, which live in other namespaces: so the agent can dial
/// them though nothing can be routed.
pub(crate) fn open(spec: &Spec) -> Result<Vec<OwnedFd>, Failure> {
    if spec.listen.is_empty() {
        return Ok(Vec::new());
    }
    sys::interface_up("lo").map_err(|e| Failure::new("bring the loopback interface up", e))?;
    let has_ipv6 = make_local(&spec.local)?;
    spec.listen
        .iter()
        .map(|socket| match socket {
            Socket::Tcp(address) => tcp(*address).map_err(|e| Failure::new(format!("listen on {address} inside the bottle"), e)),
            Socket::TcpEverywhere(port) => {
                let any = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
                tcp(SocketAddr::new(any, *port)).map_err(|e| Failure::new(format!("listen on port {port} inside the bottle"), e))
            }
            Socket::Udp(address) => {
                let bound = UdpSocket::bind(address).map(OwnedFd::from);
                bound.map_err(|e| Failure::new(format!("receive on {address} inside the bottle"), e))
            }
            Socket::Refusals(ports) => refusals(&spec.local, ports).map_err(|e| Failure::new("watch for refused connections", e)),
        })
        .collect()
}

/// Makes every address of these prefixes local. False if the kernel has no IPv6, or none for this namespace.
fn make_local(prefixes: &[(IpAddr, u8)]) -> Result<bool, Failure> {
    let mut has_ipv6 = false;
    for &(address, prefix) in prefixes {
        match netlink::make_local(address, prefix) {
            Ok(()) => has_ipv6 |= address.is_ipv6(),
            Err(error) if address.is_ipv6() && is_without_ipv6(&error) => {}
            Err(error) => return Err(Failure::new(format!("make {address}/{prefix} local"), error)),
        }
    }
    Ok(has_ipv6)
}

/// Without IPv6 in the kernel nobody takes the request; where it is disabled, an address is denied.
fn is_without_ipv6(error: &io::Error) -> bool {
    [libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::EACCES].map(Some).contains(&error.raw_os_error())
}

/// A listening socket; one for all of IPv6 is for IPv4, too.
fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A packet socket that receives the kernel's refusals of connections to some ports of the local addresses, and nothing else: its filter
/// cannot be changed any more. No listener, which would keep the agent's own server from the port: Linux binds to one address or to all.
/// Where this kernel, or a filter around bottle, gives no packet socket, an unbound one that receives nothing takes its place.
fn refusals(local: &[(IpAddr, u8)], ports: &[u16]) -> io::Result<OwnedFd> {
    // Without a protocol it receives nothing before it is bound, and by then it has its filter.
    match socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None) {
        Ok(socket) => {
            sys::filter_for_good(socket.as_fd(), &mut refusal_filter::program(local, ports))?;
            sys::receive_packets(socket.as_fd(), netlink::LOOPBACK)?;
            Ok(socket)
        }
        Err(_) => Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?),
    }
}
