//! Connections to ports of protocols that cannot cross the wall: the agent's kernel refuses them, and what was tried is an event.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bottle_contract::event::Level;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use rustix::net::AddressFamily;
use tokio::net::UnixDatagram;

use crate::direct::name_table::Names;
use crate::direct::once_a_minute::{OnceAMinute, Write};
use crate::http::conceal::conceal;
use crate::http::record::{DIRECT, RequestIds};
use crate::process::events::Events;

/// Different pairs of a name and a port that are recorded in one minute.
const MAX_PAIRS: usize = 1024;
/// Bytes of a refusal: both headers, without options.
const MAX_PACKET: usize = 64;

/// Writes the events.
pub(super) struct RefusedPorts {
    /// A packet socket: datagrams of every family are received in the same way.
    socket: UnixDatagram,
    names: Arc<Names>,
    events: Events,
    ids: RequestIds,
}

impl RefusedPorts {
    /// Takes over a packet socket whose filter passes only refusals. `None`, and an event, where the kernel gave none.
    pub(super) fn new(socket: OwnedFd, names: Arc<Names>, events: Events) -> io::Result<Option<Self>> {
        if rustix::net::sockopt::socket_domain(&socket)? != AddressFamily::PACKET {
            events.say(
                Level::Warn,
                "error",
                "this kernel gives no packet socket, so connections to other ports are refused without an event",
            );
            return Ok(None);
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Some(Self { socket: UnixDatagram::from_std(socket.into())?, names, events, ids: RequestIds::new()? }))
    }

    /// Reads refusals until the socket breaks.
    pub(super) async fn serve(self) -> io::Result<()> {
        let mut minute = OnceAMinute::new(MAX_PAIRS);
        let mut packet = [0; MAX_PACKET];
        loop {
            match self.socket.recv(&mut packet).await {
                Ok(length) => {
                    if let Some(pair) = refused_by(&packet[..length]) {
                        self.record(pair, minute.admit(pair, Instant::now()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn record(&self, (address, port): (IpAddr, u16), write: Write) {
        let mut event = Events::event(Level::Warn, "refused");
        event.request_id = Some(self.ids.next());
        event.reason = Some(Reason::OpaqueTunnel);
        match write {
            Write::No => return,
            Write::Surplus => event.message = Some("more refused connections in this minute are not recorded".to_owned()),
            Write::Yes => {
                let host = self.names.name(address).unwrap_or(Host::Ip(address));
                event.method = Some(DIRECT.to_owned());
                event.origin = Some(conceal(&format!("tcp://{host}:{port}")));
                event.message = Some(format!("no program can reach port {port}: only HTTP and TLS on ports 80 and 443 cross the wall"));
            }
        }
        self.events.write(&event);
    }
}

/// Which address and port refused, from a packet that the filter let pass.
fn refused_by(packet: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, tcp): (IpAddr, _) = match packet.first()? >> 4 {
        4 => (Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?).into(), packet.get(20..22)?),
        6 => (Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?).into(), packet.get(40..42)?),
        _ => return None,
    };
    Some((address, u16::from_be_bytes(tcp.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_and_port_that_refused_are_read_from_both_versions() {
        let v4 = [&[0x45; 12][..], &[198, 19, 1, 7, 127, 0, 0, 1], &5432_u16.to_be_bytes()].concat();
        let v6 = [&[0x60; 8][..], &[0xfd; 16], &[0; 16], &22_u16.to_be_bytes()].concat();
        assert_eq!(refused_by(&v4), Some(([198, 19, 1, 7].into(), 5432)));
        assert_eq!(refused_by(&v6), Some((Ipv6Addr::from([0xfd; 16]).into(), 22)));
        for packet in [&v4[..21], &v6[..41], &[0x55; 40], &[]] {
            assert_eq!(refused_by(packet), None);
        }
    }

    #[tokio::test]
    async fn each_pair_is_one_event_and_a_socket_of_another_kind_is_said_once() {
        let (events, written) = Events::captured();
        let names = Arc::new(Names::default());
        names.assign("db.test").unwrap();
        let other = rustix::net::socket(AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
        assert!(RefusedPorts::new(other, names.clone(), events.clone()).unwrap().is_none());
        assert_eq!(written.try_recv().unwrap().event, "error");

        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let refused = RefusedPorts { socket: theirs, names, events, ids: RequestIds::new().unwrap() };
        let served = tokio::spawn(refused.serve());
        let packet = |last: u8, port: u16| [&[0x45; 12][..], &[198, 19, 1, last, 127, 0, 0, 1], &port.to_be_bytes()].concat();
        for (last, port) in [(1, 5432), (1, 5432), (1, 22), (9, 22)] {
            ours.send(&packet(last, port)).await.unwrap();
        }
        let mut origins = Vec::new();
        while origins.len() < 3 {
            tokio::task::yield_now().await;
            origins.extend(written.try_recv().ok().map(|event| (event.origin.unwrap(), event.reason)));
        }
        let reason = Some(Reason::OpaqueTunnel);
        assert_eq!(
            origins,
            [("tcp://db.test:5432", reason), ("tcp://db.test:22", reason), ("tcp://198.19.1.9:22", reason)]
                .map(|(origin, reason)| (origin.to_owned(), reason))
        );
        assert!(written.try_recv().is_err());
        served.abort();
    }
}
