//! The next hop as an ordinary proxy: `CONNECT`, then TLS to the origin through it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::client::connect::connect_through;
use bottle_wire::client::pool::{Failure, Pool};
use bottle_wire::client::sender::{NewConnection, Protocol};
use bottle_wire::tunnel::Duplex;
use bottle_wire::{Body, Refused, RequestContext, tls};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::failure::{IDLE_TIMEOUT, refused};

/// The parent proxy.
pub(crate) struct ParentProxy {
    address: String,
    tls: TlsConnector,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    pool: Arc<Pool<Target, Body>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Target {
    https: bool,
    host: Host,
    port: u16,
}

impl ParentProxy {
    pub(crate) fn new(address: &str, ca: Option<&str>, limits: &Limits) -> anyhow::Result<Self> {
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address: address.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            connect_timeout: Duration::from_millis(limits.connect_ms),
            handshake_timeout: Duration::from_millis(limits.handshake_ms),
            pool: Pool::new(IDLE_TIMEOUT),
        })
    }

    pub(crate) async fn send(&self, context: &RequestContext, request: Request<Body>) -> Result<Response<Body>, Refused> {
        let target = Target { https: context.https, host: context.host.clone(), port: context.port };
        let sent = self.pool.send(target.clone(), request, &context.log, async || self.dial(&target).await).await;
        sent.map_err(|failure| refused(failure, Reason::UpstreamUnreachable, "the origin ended the connection without an answer"))
    }

    async fn dial(&self, target: &Target) -> Result<NewConnection<Box<dyn Duplex>>, Failure> {
        let fail = |reason, message: String| Failure::Refused(Refused::new(reason, message).place(Place::Upstream));
        let unreachable = |why: &str| fail(Reason::UpstreamUnreachable, format!("the parent proxy cannot be reached: {why}"));
        let mut stream = match tokio::time::timeout(self.connect_timeout, TcpStream::connect(&self.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(&error.kind().to_string())),
            Err(_) => return Err(unreachable("no answer in time")),
        };
        // It fails only on a socket that is closed already.
        let _ = stream.set_nodelay(true);
        if !target.https {
            return Ok(NewConnection { stream: Box::new(stream), address: None, protocol: Protocol::Http1Proxy });
        }
        let name = match &target.host {
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| fail(Reason::UpstreamTls, "the host is no TLS server name".into()))?
            }
            Host::Ip(address) => ServerName::from(*address),
        };
        let secured = async {
            let (host, port) = (&target.host, target.port);
            connect_through(&mut stream, host, port, "the parent proxy", Reason::UpstreamUnreachable).await.map_err(Failure::Refused)?;
            let secured = self.tls.connect(name, stream).await;
            secured
                .map_err(|error| fail(Reason::UpstreamTls, format!("TLS with the origin failed: {}", Untrusted::new(&error.to_string()))))
        };
        match tokio::time::timeout(self.connect_timeout + self.handshake_timeout, secured).await {
            // Inside the tunnel stands the origin, not a proxy.
            Ok(secured) => Ok(NewConnection { stream: Box::new(secured?), address: None, protocol: Protocol::Http1 }),
            Err(_) => Err(unreachable("no tunnel in time")),
        }
    }
}

fn roots(ca: Option<&str>) -> anyhow::Result<RootCertStore> {
    let Some(file) = ca else { return Ok(tls::system_roots()) };
    let mut roots = RootCertStore::empty();
    tls::add_roots(&mut roots, file).context("the parent's authority cannot be used")?;
    Ok(roots)
}
