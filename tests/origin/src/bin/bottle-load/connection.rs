//! A connection to the origin: directly, or through a proxy.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::http::{HeaderName, HeaderValue, uri};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::payload::Sent;

/// A proxy's answer to `CONNECT` is smaller.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How the origin is reached.
pub(crate) struct Route {
    target: Uri,
    host: HeaderValue,
    address: SocketAddr,
    /// `host:port` for the proxy's `CONNECT`.
    connect: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Route {
    /// Looks up no name: without a proxy and an address, the URL's host must be one.
    pub(crate) fn new(url: Uri, proxy: Option<SocketAddr>, address: Option<SocketAddr>, ca: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let secure = url.scheme() == Some(&uri::Scheme::HTTPS);
        let host = url.host().ok_or("the URL has no host")?.to_owned();
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let address = match proxy.or(address) {
            Some(address) => address,
            None => format!("{host}:{port}").parse().map_err(|_| "a host that is a name needs --connect or --proxy")?,
        };
        let tls = match (secure, ca) {
            (false, _) => None,
            (true, None) => return Err("https needs --ca".into()),
            (true, Some(ca)) => Some((connector(ca)?, ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?)),
        };
        let authority = url.authority().ok_or("the URL has no host")?.as_str();
        Ok(Self {
            host: authority.parse()?,
            // An ordinary proxy takes http requests in absolute-form (RFC 9112, section 3.2.2).
            target: if proxy.is_some() && !secure {
                url.clone()
            } else {
                url.path_and_query().map_or("/", |path| path.as_str()).parse()?
            },
            connect: (proxy.is_some() && secure).then(|| format!("{host}:{port}")),
            address,
            tls,
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let mut stream = TcpStream::connect(self.address).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
        if let Some(target) = &self.connect {
            open_tunnel(&mut stream, target).await?;
        }
        match &self.tls {
            None => Connection::over(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|error| format!("TLS: {error}"))?;
                Connection::over(stream).await
            }
        }
    }

    pub(crate) fn request(&self, method: &Method, headers: &[(HeaderName, HeaderValue)], body: Sent) -> Result<Request<Sent>, String> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.target.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().extend(headers.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
        Ok(request)
    }
}

fn connector(ca: &Path) -> Result<TlsConnector, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each handshake is a whole one, so that new connections cost what they cost a stranger.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn open_tunnel(stream: &mut TcpStream, target: &str) -> Result<(), String> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("CONNECT: {error}"))?;
    let mut head = Vec::new();
    // The proxy says nothing after its head until the tunnel is used, so a read cannot take too much.
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        if stream.read_buf(&mut head).await.map_err(|error| format!("CONNECT: {error}"))? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("CONNECT: {line}")),
    }
}

/// An open HTTP/1.1 connection.
pub(crate) struct Connection {
    sender: SendRequest<Sent>,
}

impl Connection {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, String> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("HTTP: {error}"))?;
        // What goes wrong on it is told to the request.
        tokio::spawn(async move { connection.await.is_ok() });
        Ok(Self { sender })
    }

    /// Sends and reads the answer to its end: its length, if the origin was content.
    pub(crate) async fn send(&mut self, request: Request<Sent>) -> Result<u64, String> {
        self.sender.ready().await.map_err(|error| format!("HTTP: {error}"))?;
        let response = self.sender.send_request(request).await.map_err(|error| format!("HTTP: {error}"))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.map_err(|error| format!("body: {error}"))?.data_ref().map_or(0, |data| data.len() as u64);
        }
        if status.is_success() { Ok(received) } else { Err(format!("status {}", status.as_u16())) }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}
