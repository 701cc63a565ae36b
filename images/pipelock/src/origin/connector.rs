//! A connection to an origin: resolve, judge, dial, then TLS, each with its deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Reason;
use bottle_contract::host::Host;
use bottle_policy::Place;
use bottle_policy::pipelock_policy::PipelockPolicy;
use bottle_wire::Refused;
use bottle_wire::client::connect::connect_through;
use bottle_wire::client::sender::{NewConnection, Protocol};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::dial::Dialer;
use super::roots::{Trust, in_words};

/// The parent, in messages.
const PARENT: &str = "the parent proxy";

/// Whom a connection may be used for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// HTTP/2 may be spoken.
    pub(super) http_2: bool,
}

/// Opens connections for one policy.
#[derive(Clone)]
pub struct Connector {
    pub(super) policy: Arc<PipelockPolicy>,
    pub(super) dialer: Dialer,
    pub(super) trust: Trust,
}

/// Opens a plain connection, through the parent if there is one.
pub async fn plain(policy: &PipelockPolicy, dialer: &Dialer, host: &Host, port: u16) -> Result<(TcpStream, SocketAddr), Refused> {
    let mut dialled = dialer.open(policy, host, port).await?;
    if dialled.by_parent {
        let handshake = Duration::from_millis(policy.limits.handshake_ms);
        let connect = connect_through(&mut dialled.stream, host, port, PARENT, Reason::UpstreamUnreachable);
        timeout(handshake, connect).await.map_err(|_| slow(PARENT))??;
    }
    Ok((dialled.stream, dialled.address))
}

fn slow(who: &str) -> Refused {
    Refused::new(Reason::TooSlow, format!("{who} did not finish its handshake in time")).place(Place::Upstream)
}

impl Connector {
    /// Opens a connection to an origin. What is spoken on it is the origin's choice if it may be HTTP/2.
    pub(super) async fn open(&self, origin: &Origin) -> Result<NewConnection<Either<TcpStream, TlsStream<TcpStream>>>, Refused> {
        let (stream, address) = plain(&self.policy, &self.dialer, &origin.host, origin.port).await?;
        let address = Some(address.to_string().into());
        if !origin.https {
            return Ok(NewConnection { stream: Either::Left(stream), address, protocol: Protocol::Http1 });
        }
        let config = if origin.http_2 { &self.trust.any } else { &self.trust.http1 };
        let stream = self.handshake(config.clone(), stream, &origin.host).await?;
        let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
        Ok(NewConnection { stream: Either::Right(stream), address, protocol })
    }

    async fn handshake(&self, config: Arc<ClientConfig>, stream: TcpStream, host: &Host) -> Result<TlsStream<TcpStream>, Refused> {
        let refused = |why: String| Refused::new(Reason::UpstreamTls, format!("{host} was refused: {why}")).place(Place::Upstream);
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| refused("no certificate can name it".into()))?,
            Host::Ip(address) => ServerName::IpAddress((*address).into()),
        };
        let handshake = Duration::from_millis(self.policy.limits.handshake_ms);
        let done = timeout(handshake, TlsConnector::from(config).connect(name, stream)).await;
        done.map_err(|_| slow("the origin"))?.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            refused(cause.map_or_else(|| format!("the TLS handshake broke off: {error}"), in_words))
        })
    }
}
