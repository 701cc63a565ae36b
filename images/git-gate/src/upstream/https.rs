//! Smart HTTP (gitprotocol-http(5)) over TLS that terminates here, so that nothing in between sees a credential.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::Auth;
use bottle_policy::Place;
use bottle_wire::secret::{self, Credential, Redactor};
use bottle_wire::{Body, Refused, body, tls};
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::tunnel::TunnelDialer;
use super::{protocol, stream_failure, unreachable};
use crate::advert::{AGENT, Service};
use crate::pkt::{Packet, Packets, trimmed};

/// The header that requests a protocol version.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// An upstream over TLS.
pub struct Https {
    dialer: Arc<TunnelDialer>,
    tls: TlsConnector,
    host: Host,
    port: u16,
    path: String,
    credential: Option<Credential>,
}

/// The TLS client: it trusts the system's roots and the bottle's own.
pub fn tls(trust: &[String]) -> anyhow::Result<TlsConnector> {
    let mut roots = tls::system_roots();
    for file in trust {
        tls::add_roots(&mut roots, file)?;
    }
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Https {
    pub(super) fn new(
        dialer: Arc<TunnelDialer>,
        tls: TlsConnector,
        host: Host,
        port: u16,
        path: &str,
        auth: Option<&Auth>,
        secrets: &Path,
    ) -> anyhow::Result<Self> {
        let credential = match auth {
            None => None,
            Some(auth) => Some(secret::credential(auth, &secret::read(secrets, &auth.slot)?)?),
        };
        Ok(Self { dialer, tls, host, port, path: path.trim_end_matches('/').to_owned(), credential })
    }

    pub(super) fn redactor(&self) -> Arc<Redactor> {
        self.credential.as_ref().map(|credential| credential.redactor.clone()).unwrap_or_default()
    }

    pub(super) async fn advertisement(&self, service: Service, version: u8) -> Result<Packets, Refused> {
        let query = format!("/info/refs?service={}", service.name());
        let response = self.send(Method::GET, &query, service, version, None).await?;
        let mut packets = self.packets(response, service, "advertisement")?;
        // A header that only HTTP has (gitprotocol-http(5)), and that protocol v2 may omit.
        let announced = format!("# service={}", service.name());
        let mut first = packets.peek().await.map_err(stream_failure)?;
        if matches!(&first, Some(Packet::Data(line)) if trimmed(line) == announced.as_bytes()) {
            let _ = packets.next().await.map_err(stream_failure)?;
            if packets.next().await.map_err(stream_failure)? != Some(Packet::Flush) {
                return Err(protocol("its announcement has no end"));
            }
            first = packets.peek().await.map_err(stream_failure)?;
        }
        if first.is_none() {
            return Err(protocol("an empty advertisement"));
        }
        Ok(packets)
    }

    pub(super) async fn run(&self, service: Service, version: u8, request: Body) -> Result<Packets, Refused> {
        let response = self.send(Method::POST, &format!("/{}", service.name()), service, version, Some(request)).await?;
        self.packets(response, service, "result")
    }

    /// The packets of a response, if its status and type are right.
    fn packets(&self, response: Response<Incoming>, service: Service, kind: &str) -> Result<Packets, Refused> {
        let status = response.status();
        if status != StatusCode::OK {
            let why = match status.as_u16() {
                401 | 403 => "upstream rejects the credential, or does not allow this with it",
                404 => "upstream has no such repository, or does not show it to this credential",
                300..=399 => "upstream redirects; name the repository's real URL in the bottle",
                _ => "upstream failed",
            };
            return Err(Refused::new(Reason::UpstreamRefused, format!("{why} (status {})", status.as_u16())).place(Place::Upstream));
        }
        let expected = format!("application/x-{}-{kind}", service.name());
        if response.headers().get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return Err(protocol("its response has the wrong content type"));
        }
        Ok(Packets::new(body::incoming(response.into_body())))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        service: Service,
        version: u8,
        request: Option<Body>,
    ) -> Result<Response<Incoming>, Refused> {
        let Self { dialer, host, port, .. } = self;
        let authority = if *port == 443 { host.to_string() } else { format!("{host}:{port}") };
        let mut outgoing = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(header::HOST, authority)
            .header(header::USER_AGENT, AGENT.replace("agent=", "git/2.0 "))
            .header(header::ACCEPT_ENCODING, "identity");
        if version > 0 {
            outgoing = outgoing.header(GIT_PROTOCOL, format!("version={version}"));
        }
        if request.is_some() {
            outgoing = outgoing
                .header(header::CONTENT_TYPE, format!("application/x-{}-request", service.name()))
                .header(header::ACCEPT, format!("application/x-{}-result", service.name()));
        }
        if let Some(Credential { header, value, .. }) = &self.credential {
            outgoing = outgoing.header(header, value);
        }
        let outgoing =
            outgoing.body(request.unwrap_or_else(body::empty)).map_err(|_| unreachable("its URL cannot be written in a request"))?;
        let connect = async {
            let stream = dialer.tunnel(host, *port).await?;
            let name = match host {
                Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| unreachable("its name is not a TLS server name"))?,
                Host::Ip(address) => ServerName::from(*address),
            };
            let refused = |error| Refused::new(Reason::UpstreamTls, format!("TLS with upstream failed: {error}")).place(Place::Upstream);
            let stream = self.tls.connect(name, stream).await.map_err(refused)?;
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)
        };
        let connected = tokio::time::timeout(dialer.timeouts.connect, connect).await;
        let (mut sender, connection) = connected.map_err(|_| unreachable("no connection in time"))??;
        tokio::spawn(async move {
            // Its error also fails `send_request`.
            let _ = connection.await;
        });
        sender.send_request(outgoing).await.map_err(|error| match body::refusal_in(&error) {
            Some(refused) => refused.clone(),
            None => unreachable(error),
        })
    }
}
