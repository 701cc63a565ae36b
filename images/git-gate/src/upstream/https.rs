//! Smart HTTP (gitprotocol-http(5)) over TLS that ends here, so that no credential is seen on the way.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::Auth;
use bottle_wire::{Body, Refused, body};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::tunnel::Link;
use super::{broke_here, protocol, unreachable};
use crate::advert::{AGENT, Service};
use crate::pkt::{Packet, Packets, trimmed};
use crate::secret;

/// Which protocol a client asks for.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// An upstream over TLS.
pub struct Https {
    link: Arc<Link>,
    tls: TlsConnector,
    host: Host,
    port: u16,
    path: String,
    credential: Option<(HeaderName, HeaderValue)>,
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

/// TLS towards upstreams: the system's roots and the bottle's further ones.
pub fn tls(trust: &[String]) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for file in trust {
        let certificates = CertificateDer::pem_file_iter(file).map_err(|_| format!("cannot read the roots in {file:?}"))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|_| format!("{file:?} is not PEM"))?;
            roots.add(certificate).map_err(|_| format!("{file:?} holds no usable root"))?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(bottle_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Https {
    pub(super) fn new(
        link: Arc<Link>,
        tls: TlsConnector,
        host: Host,
        port: u16,
        path: &str,
        auth: Option<&Auth>,
        secrets: &Path,
    ) -> Result<Self, String> {
        let (credential, hidden) = match auth {
            None => (None, Vec::new()),
            Some(auth) => {
                let secret = secret::read(secrets, &auth.slot)?;
                let (name, value, hidden) = credential(auth, &secret)?;
                (Some((name, value)), hidden)
            }
        };
        Ok(Self { link, tls, host, port, path: path.trim_end_matches('/').to_owned(), credential, secrets: hidden })
    }

    pub(super) fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        self.secrets.clone()
    }

    pub(super) async fn advertisement(&self, service: Service, version: u8) -> Result<Packets, Refused> {
        let query = format!("/info/refs?service={}", service.name());
        let response = self.send(Method::GET, &query, service, version, None).await?;
        let mut packets = self.packets(response, service, "advertisement")?;
        // What only HTTP puts in front (gitprotocol-http(5)), which protocol v2 may leave out.
        let announced = format!("# service={}", service.name());
        let mut first = packets.peek().await.map_err(broke_here)?;
        if matches!(&first, Some(Packet::Data(line)) if trimmed(line) == announced.as_bytes()) {
            let _ = packets.next().await.map_err(broke_here)?;
            if packets.next().await.map_err(broke_here)? != Some(Packet::Flush) {
                return Err(protocol("no end of its announcement"));
            }
            first = packets.peek().await.map_err(broke_here)?;
        }
        if first.is_none() {
            return Err(protocol("an empty advertisement"));
        }
        Ok(packets)
    }

    pub(super) async fn answer(&self, service: Service, version: u8, request: Body) -> Result<Packets, Refused> {
        let response = self.send(Method::POST, &format!("/{}", service.name()), service, version, Some(request)).await?;
        self.packets(response, service, "result")
    }

    /// The packets of an answer, if it is the one that was asked for.
    fn packets(&self, response: Response<Incoming>, service: Service, kind: &str) -> Result<Packets, Refused> {
        let status = response.status();
        if status != StatusCode::OK {
            let why = match status.as_u16() {
                401 | 403 => "upstream does not accept the credential, or does not allow this with it",
                404 => "upstream has no such repository, or does not show it to this credential",
                300..=399 => "upstream redirects; name the repository's real URL in the bottle",
                _ => "upstream failed",
            };
            return Err(Refused::new(Reason::UpstreamRefused, format!("{why} (status {})", status.as_u16())).place("upstream"));
        }
        let expected = format!("application/x-{}-{kind}", service.name());
        if response.headers().get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return Err(protocol("its answer is of another type"));
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
        let Self { link, host, port, .. } = self;
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
        if let Some((name, value)) = &self.credential {
            outgoing = outgoing.header(name, value);
        }
        let outgoing =
            outgoing.body(request.unwrap_or_else(body::empty)).map_err(|_| unreachable("its URL cannot be written in a request"))?;
        let connect = async {
            let stream = link.tunnel(host, *port).await?;
            let name = match host {
                Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| unreachable("its name is no TLS server name"))?,
                Host::Ip(address) => ServerName::from(*address),
            };
            let refused = |error| Refused::new(Reason::UpstreamTls, format!("TLS with upstream failed: {error}")).place("upstream");
            let stream = self.tls.connect(name, stream).await.map_err(refused)?;
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)
        };
        let connected = tokio::time::timeout(link.patience.connect, connect).await;
        let (mut sender, connection) = connected.map_err(|_| unreachable("no connection in time"))??;
        tokio::spawn(async move {
            // Its error reaches whoever waits for the answer.
            let _ = connection.await;
        });
        sender.send_request(outgoing).await.map_err(|error| match body::refusal_in(&error) {
            Some(refused) => refused.clone(),
            None => unreachable(error),
        })
    }
}

/// The header of a credential, and what of it must not be repeated to the agent.
type Credential = (HeaderName, HeaderValue, Vec<Zeroizing<Vec<u8>>>);

fn credential(auth: &Auth, secret: &[u8]) -> Result<Credential, String> {
    let name = HeaderName::try_from(auth.header.as_str()).map_err(|_| format!("{:?} is not a header's name", auth.header))?;
    let basic = auth.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let sent = match basic {
        true => Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(secret).into_bytes()),
        false => Zeroizing::new(secret.to_vec()),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(sent.len() + 64));
    if let Some(scheme) = &auth.scheme {
        text.extend_from_slice(scheme.as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(&sent);
    let mut value = HeaderValue::from_bytes(&text).map_err(|_| format!("the secret in slot {:?} cannot be a header's value", auth.slot))?;
    value.set_sensitive(true);
    let mut hidden = vec![Zeroizing::new(secret.to_vec()), sent];
    if let Some(at) = secret.iter().position(|b| *b == b':').filter(|_| basic) {
        hidden.push(Zeroizing::new(secret[at + 1..].to_vec()));
    }
    // A shorter one would occur by chance.
    hidden.retain(|secret| secret.len() >= 8);
    Ok((name, value, hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basic_credential_is_encoded_and_all_its_forms_are_hidden() {
        let auth = Auth { header: "authorization".into(), scheme: Some("Basic".into()), slot: "GIT_SECRET_0".into() };
        let (name, value, hidden) = credential(&auth, b"x-access-token:s3cr3t-s3cr3t").unwrap();
        assert_eq!(name, "authorization");
        assert_eq!(value, "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXMzY3IzdA==");
        assert!(value.is_sensitive());
        let hidden: Vec<_> = hidden.iter().map(|secret| String::from_utf8_lossy(secret).into_owned()).collect();
        assert_eq!(hidden, ["x-access-token:s3cr3t-s3cr3t", "eC1hY2Nlc3MtdG9rZW46czNjcjN0LXMzY3IzdA==", "s3cr3t-s3cr3t"]);
    }
}
