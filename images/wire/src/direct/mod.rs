//! What programs that know no proxy need: a resolver that gives every name an address of the agent's own network, and sockets on which a
//! connection to such an address arrives. The address says which name was meant; the rest is as after `CONNECT` (`http::arrival`).
//!
//! Nothing is looked up and nothing leaves until a policy has admitted the name that the client itself sends.

pub mod name_table;

mod dns_message;
mod name_server;
mod once_a_minute;
mod refused_ports;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bottle_contract::names::listener;
use tokio::net::{TcpListener, UdpSocket};

use crate::direct::dns_message::Resolver;
use crate::direct::name_server::{Answers, NameServer};
use crate::direct::name_table::Names;
use crate::direct::refused_ports::RefusedPorts;
use crate::http::serve::Entrances;
use crate::process::events::Events;
use crate::process::run::Sidecar;

/// The agent's resolver, and the watch over what its network refuses.
pub struct Lookups {
    server: NameServer,
    refused: Option<RefusedPorts>,
}

/// Takes out a sidecar's sockets for programs that know no proxy: all of them, or none where the backend cannot have them. `own` is the
/// agent's host name.
pub fn take(sidecar: &mut Sidecar, own: &str, events: &Events) -> anyhow::Result<Option<(Entrances, Lookups)>> {
    let all = [listener::HTTP, listener::HTTPS, listener::RESOLVER_UDP, listener::RESOLVER_TCP, listener::REFUSALS];
    let sockets: Vec<OwnedFd> = all.iter().filter_map(|name| sidecar.listener(name)).collect();
    if sockets.is_empty() {
        return Ok(None);
    }
    ensure!(sockets.len() == all.len(), "some of the sockets {} were not handed over", all.join(", "));
    let [http, https, udp, tcp, refusals] =
        <[OwnedFd; 5]>::try_from(sockets).ok().context("the sockets for programs without a proxy are not whole")?;
    for socket in [&udp, &tcp] {
        rustix::io::ioctl_fionbio(socket, true)?;
    }
    let has_ipv6 = rustix::net::sockopt::socket_domain(&http)? == rustix::net::AddressFamily::INET6;
    let names = Arc::new(Names::default());
    let answers = Answers::new(Resolver { own: own.to_owned(), has_ipv6 }, names.clone(), events.clone());
    let server = NameServer {
        udp: UdpSocket::from_std(udp.into()).context("the resolver's UDP socket cannot be served")?,
        tcp: TcpListener::from_std(tcp.into()).context("the resolver's TCP socket cannot be served")?,
        answers: Arc::new(answers),
    };
    let refused = RefusedPorts::new(refusals, names.clone(), events.clone()).context("the watch for refused connections")?;
    Ok(Some((Entrances { sockets: vec![http, https], names }, Lookups { server, refused })))
}

/// Serves requests to their end, and answers lookups meanwhile. A resolver that breaks ends it all: the sidecar fails closed.
pub async fn serve_beside(lookups: Option<Lookups>, requests: impl Future<Output = std::io::Result<()>>) -> std::io::Result<()> {
    let Some(Lookups { server, refused }) = lookups else { return requests.await };
    let refused = async {
        match refused {
            Some(refused) => refused.serve().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! { served = requests => served, () = server.serve() => Ok(()), broken = refused => broken }
}
