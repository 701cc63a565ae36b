//! An origin on the loopback: TLS with a certificate of its own authority, then whatever the test makes it do.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What an origin answers with.
pub(crate) type Answer = Response<BoxBody<Bytes, std::io::Error>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A text as an answer's body.
pub(crate) fn text(body: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// What kind of certificate an origin shows.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The names in it.
    pub(crate) names: Vec<String>,
    /// Its first and last year.
    pub(crate) years: (i32, i32),
    /// Signed by itself, not by the authority.
    pub(crate) self_signed: bool,
    /// Allowed for servers.
    pub(crate) for_servers: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            names: ["*.lab.test", "a.test", "p.test", "late.test"].map(Into::into).into(),
            years: (2020, 2090),
            self_signed: false,
            for_servers: true,
        }
    }
}

/// A running origin.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The PEM file of its authority.
    pub(crate) authority: PathBuf,
    /// Connections that it accepted.
    pub(crate) accepted: Arc<AtomicUsize>,
    /// Heads of the requests that it got.
    pub(crate) requests: Arc<Mutex<Vec<http::request::Parts>>>,
    _directory: TempDir,
}

/// A server configuration with this certificate, and its authority as PEM.
pub(crate) fn certificate(shown: &Shown, alpn: &[&[u8]]) -> (Arc<ServerConfig>, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(shown.names.clone()).unwrap();
    leaf.not_before = rcgen::date_time_ymd(shown.years.0, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(shown.years.1, 1, 1);
    leaf.extended_key_usages = vec![match shown.for_servers {
        true => rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        false => rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let leaf = match shown.self_signed {
        true => leaf.self_signed(&key).unwrap(),
        false => leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap(),
    };
    let mut config = ServerConfig::builder_with_provider(bottle_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (Arc::new(config), authority_certificate.pem())
}

impl Origin {
    /// An origin that answers each request by `answer`, over TLS, with HTTP/2 if `h2`.
    pub(crate) async fn start<F, A>(h2: bool, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let alpn: &[&[u8]] = if h2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        Self::showing(&Shown::default(), alpn, answer).await
    }

    /// An origin with this certificate.
    pub(crate) async fn showing<F, A>(shown: &Shown, alpn: &[&[u8]], answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let (tls, authority) = certificate(shown, alpn);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let answer: Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync> = Arc::new(move |request| {
            let (parts, body) = request.into_parts();
            log.lock().unwrap().push(parts.clone());
            Box::pin(answer(Request::from_parts(parts, body)))
        });
        let serve = move |stream: TcpStream| {
            let (tls, answer) = (TlsAcceptor::from(tls.clone()), answer.clone());
            async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(stream);
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                // A client that leaves is the test's affair.
                let _ = match h2 {
                    true => hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                    false => {
                        hyper::server::conn::http1::Builder::new().max_headers(1000).serve_connection(io, service).with_upgrades().await
                    }
                };
            }
        };
        Self::accepting(authority, requests, serve).await
    }

    /// An origin that does with each TCP connection what `serve` says.
    pub(crate) async fn raw<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (_, authority) = certificate(&Shown::default(), &[]);
        Self::accepting(authority, Arc::default(), serve).await
    }

    async fn accepting<F, S>(authority: String, requests: Arc<Mutex<Vec<http::request::Parts>>>, serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.pem");
        std::fs::write(&path, authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, authority: path, accepted, requests, _directory: directory }
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}
