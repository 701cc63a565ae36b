//! A served socket and what an agent needs to talk to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bottle_contract::event::Event;
use bottle_wire::{
    Admission, Body, Events, Handled, Handler, Host, LeafAuthority, Limits, Peer, Reason, Refused, RequestContext, Serving, body,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A request as it was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) line: String,
    pub(crate) fields: Vec<String>,
    pub(crate) body: Bytes,
}

type Script =
    dyn Fn(RequestContext, Request<Body>) -> std::pin::Pin<Box<dyn Future<Output = Result<Handled, Refused>> + Send>> + Send + Sync;

/// Records each request; answers by a script, else with the request line.
#[derive(Clone)]
pub(crate) struct Recorder {
    forwarded: Arc<Mutex<Vec<Forwarded>>>,
    script: Option<Arc<Script>>,
}

impl Handler for Recorder {
    async fn admit(&self, _: &Peer, host: &Host, port: u16) -> Result<Admission, Refused> {
        match host {
            Host::Name(name) if name == "tunnel.test" && port == 22 => {
                let (ours, mut theirs) = tokio::io::duplex(1024);
                tokio::spawn(async move {
                    let mut said = [0; 5];
                    theirs.read_exact(&mut said).await.unwrap();
                    theirs.write_all(&said).await.unwrap();
                });
                Ok(Admission::Tunnel(Box::new(ours)))
            }
            Host::Name(name) if name == "tunnel.test" => Err(Refused::new(Reason::OpaqueTunnel, "not this port")),
            Host::Name(name) if name.starts_with("denied.") => Err(Refused::new(Reason::HostNotListed, format!("no route names {name}"))),
            _ => Ok(Admission::Intercept),
        }
    }

    async fn handle(&self, context: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        if let Host::Name(name) = &context.host
            && name.starts_with("denied.")
        {
            return Err(Refused::new(Reason::HostNotListed, format!("no route names {name}")));
        }
        if let Some(script) = &self.script {
            return script(context, request).await;
        }
        let (parts, incoming) = request.into_parts();
        let line = format!("{} {}", parts.method, parts.uri);
        let mut fields: Vec<_> = parts.headers.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v.as_bytes()))).collect();
        fields.sort();
        // A real next hop sees nothing of a request whose body breaks off before its end.
        let collected = match incoming.collect().await {
            Ok(collected) => collected,
            Err(error) => {
                return Err(body::refusal_in(&error).cloned().unwrap_or_else(|| Refused::new(Reason::MalformedRequest, "broken body")));
            }
        };
        self.forwarded.lock().unwrap().push(Forwarded { line: line.clone(), fields, body: collected.to_bytes() });
        Ok(Response::new(body::full(line)).into())
    }
}

pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Arc<LeafAuthority>,
    pub(crate) ca: String,
    recorder: Recorder,
    events: Mutex<mpsc::Receiver<Event>>,
    _stop: DropGuard,
}

pub(crate) struct Setup {
    pub(crate) peer: Peer,
    pub(crate) limits: Limits,
    pub(crate) script: Option<Arc<Script>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { peer: Peer::Agent, limits: Limits { head_bytes: 16 * 1024, ..Limits::default() }, script: None }
    }
}

pub(crate) fn script<R, T>(f: impl Fn(RequestContext, Request<Body>) -> R + Send + Sync + 'static) -> Option<Arc<Script>>
where
    R: Future<Output = Result<T, Refused>> + Send + 'static,
    T: Into<Handled>,
{
    Some(Arc::new(move |context, request| {
        let answer = f(context, request);
        Box::pin(async { answer.await.map(Into::into) })
    }))
}

impl Lab {
    pub(crate) fn start(setup: Setup) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ca, key) = authority();
        let authority = Arc::new(LeafAuthority::from_pem(&ca, &key).unwrap());
        let (events, received) = Events::captured();
        let stop = CancellationToken::new();
        let Setup { peer, limits, script } = setup;
        let serving = Serving { component: "egress", peer, authority: Some(authority.clone()), limits, events, stop: stop.clone() };
        let recorder = Recorder { forwarded: Arc::default(), script };
        tokio::spawn(bottle_wire::serve(listener.into(), serving, recorder.clone()));
        Self { address, authority, ca, recorder, events: Mutex::new(received), _stop: stop.drop_guard() }
    }

    pub(crate) fn forwarded(&self) -> Vec<Forwarded> {
        self.recorder.forwarded.lock().unwrap().clone()
    }

    /// Waits for an event.
    pub(crate) fn event(&self, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let events = self.events.lock().unwrap();
        tokio::task::block_in_place(|| {
            loop {
                let event = events.recv_timeout(DEADLINE).expect("no such event");
                if wanted(&event) {
                    return event;
                }
            }
        })
    }

    pub(crate) async fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes, reads to the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.dial().await;
        stream.write_all(bytes).await.unwrap();
        to_end(&mut stream).await
    }

    /// Opens a tunnel; the answer's head if it is refused.
    pub(crate) async fn connect(&self, target: &str) -> Result<TcpStream, Answer> {
        let mut stream = self.dial().await;
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        if answer.status == 200 { Ok(stream) } else { Err(answer) }
    }

    /// Opens a tunnel and TLS in it.
    pub(crate) async fn tls(&self, target: &str, name: Option<&str>, alpn: &[&str]) -> Result<TlsStream<TcpStream>, String> {
        let stream = self.connect(target).await.map_err(|answer| answer.status.to_string())?;
        let name_sent = ServerName::try_from(name.unwrap_or("none.test").to_owned()).unwrap();
        tls_client(name.is_some(), alpn).connect(name_sent, stream).await.map_err(|error| error.to_string())
    }
}

/// A client that checks no certificate: what a careless agent is.
pub(crate) fn tls_client(sni: bool, alpn: &[&str]) -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(bottle_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless))
        .with_no_client_auth();
    config.enable_sni = sni;
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The slug of a refusal.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("x-bottle-reason: "))
    }
}

/// Reads one answer whose length is known.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    tokio::time::timeout(DEADLINE, async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; if status == 200 && head.len() < 60 && length == 0 { 0 } else { length }];
        stream.read_exact(&mut body).await.unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    })
    .await
    .expect("no answer in time")
}

pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> Answer {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read_answer(stream).await
}

pub(crate) async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset after the answer ends it too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut all)).await.expect("no end in time");
    String::from_utf8_lossy(&all).into_owned()
}

/// A certificate authority as the supervisor makes it.
pub(crate) fn authority() -> (String, String) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData};
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bottle test");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(7);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
    params.key_identifier_method = KeyIdMethod::PreSpecified(digest.as_ref().to_vec());
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
