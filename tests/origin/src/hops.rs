//! Two proxies that do nothing but pass requests on: what two interceptions cost at the least, by the libraries that bottle is made of.
//!
//! No rules, no scanning, no records, no isolation. The difference between these and bottle is what bottle does.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::Authority;

type Failure = Box<dyn Error + Send + Sync>;
/// Connections to the next hop that nobody uses.
type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// A `CONNECT` of the load generator's comes in one piece, well below this.
const MAX_CONNECT_BYTES: usize = 4096;

/// The first hop: intercepts what comes through CONNECT at `port` and passes it on to the second, at `socket`. Writes the authority to
/// be trusted to `ca` before it listens.
pub async fn first(port: u16, ca: &Path, socket: &Path) -> Result<(), Failure> {
    let authority = Arc::new(Authority::new()?);
    std::fs::write(ca, authority.certificate())?;
    let mut config = authority.server_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, idle, socket) = (acceptor.clone(), idle.clone(), socket.to_owned());
        tokio::task::spawn_local(async move {
            let intercepted = intercept(stream, acceptor).await?;
            serve(intercepted, idle, async || Ok(UnixStream::connect(&socket).await?)).await
        });
    }
}

async fn intercept(mut stream: TcpStream, acceptor: TlsAcceptor) -> Result<impl AsyncRead + AsyncWrite + Unpin + 'static, Failure> {
    let mut connect = vec![0; MAX_CONNECT_BYTES];
    let count = stream.read(&mut connect).await?;
    if !connect[..count].starts_with(b"CONNECT ") || !connect[..count].ends_with(b"\r\n\r\n") {
        return Err("not one CONNECT".into());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    Ok(acceptor.accept(stream).await?)
}

/// The second hop: passes on what comes to `socket` to the origin of this name at `address`, whose authority is in `ca`.
pub async fn second(socket: &Path, name: &str, address: SocketAddr, ca: &Path) -> Result<(), Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned())?;
    let listener = UnixListener::bind(socket)?;
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let (connector, name, idle) = (connector.clone(), name.clone(), idle.clone());
        let dial = async move || {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(connector.connect(name.clone(), stream).await?)
        };
        tokio::task::spawn_local(async move { serve(stream, idle, dial).await });
    }
}

/// Serves one connection, each request over a connection to the next hop that is free, else over a new one.
async fn serve<S, N>(stream: S, idle: Idle, dial: impl AsyncFn() -> Result<N, Failure>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    N: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pass = async |request: Request<Incoming>| {
        let kept = idle.borrow_mut().pop();
        let mut next = match kept {
            Some(next) => next,
            None => {
                let (next, connection) = handshake(TokioIo::new(dial().await?)).await?;
                // What goes wrong on it is told to the request.
                tokio::task::spawn_local(async move { connection.await.is_ok() });
                next
            }
        };
        next.ready().await?;
        let answer = next.send_request(request).await?;
        idle.borrow_mut().push(next);
        Ok::<_, Failure>(answer)
    };
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(pass)).await?)
}
