//! The only network that a bottle has: `lo`, and the sockets on it that sidecars serve.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use crate::spec::Failure;
use crate::sys;

/// Brings `lo` up and opens a listening socket for each port. The supervisor hands them to the sidecars, which live
/// in other namespaces: so the agent can dial them though nothing can be routed.
pub(crate) fn listen(ports: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    sys::interface_up("lo").map_err(|e| Failure::new("bring the loopback interface up", e))?;
    ports
        .iter()
        .map(|&port| {
            TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
                .map(OwnedFd::from)
                .map_err(|e| Failure::new(format!("listen on port {port} inside the bottle"), e))
        })
        .collect()
}
