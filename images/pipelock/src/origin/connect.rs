//! The connector beneath the pool: resolve, judge, dial, then TLS, each with its deadline.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bottle_contract::Reason;
use bottle_contract::host::Host;
use bottle_wire::Refused;
use bottle_wire::client::connect::connect_through;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Door;
use super::tls;
use bottle_policy::table::Table;

/// The parent, in messages.
const PARENT: &str = "the parent proxy";

/// What is known of a connection. It rides in the extensions of a response that hyper-util's pool brings.
#[derive(Clone, Debug)]
pub struct Dialled(Arc<(Box<str>, AtomicBool)>);

impl Dialled {
    fn new(address: SocketAddr) -> Self {
        Self(Arc::new((address.to_string().into(), AtomicBool::new(false))))
    }

    /// The address at its other end.
    pub fn address(&self) -> &str {
        &self.0.0
    }

    /// From now on it has brought an answer.
    pub fn answered(&self) {
        self.0.1.store(true, Ordering::Relaxed);
    }

    /// Whether it has brought an answer before.
    pub fn has_answered(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// Opens connections for one table.
#[derive(Clone)]
pub struct Connector {
    pub(super) table: Arc<Table>,
    pub(super) door: Door,
    pub(super) tls: Arc<ClientConfig>,
}

/// Opens a plain connection, through the parent if there is one.
pub async fn plain(table: &Table, door: &Door, host: &Host, port: u16) -> Result<(TcpStream, SocketAddr), Refused> {
    let mut dialled = door.open(table, host, port).await?;
    if dialled.by_parent {
        let handshake = Duration::from_millis(table.limits.handshake_ms);
        let connect = connect_through(&mut dialled.stream, host, port, PARENT, Reason::UpstreamUnreachable);
        timeout(handshake, connect).await.map_err(|_| slow(PARENT))??;
    }
    Ok((dialled.stream, dialled.address))
}

fn slow(who: &str) -> Refused {
    Refused::new(Reason::TooSlow, format!("{who} did not finish its handshake in time")).place("upstream")
}

impl Connector {
    /// Opens a connection.
    pub async fn open(&self, https: bool, host: &Host, port: u16) -> Result<Link, Refused> {
        let (stream, address) = plain(&self.table, &self.door, host, port).await?;
        let stream = match https {
            false => Stream::Plain(stream),
            true => Stream::Tls(Box::new(self.handshake(stream, host).await?)),
        };
        Ok(Link { stream, dialled: Dialled::new(address) })
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Link>, Refused> {
        let wrong = || Refused::new(Reason::AmbiguousTarget, "the target has no host");
        let host = Host::parse(uri.host().ok_or_else(wrong)?).map_err(|_| wrong())?;
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        self.open(https, &host, port).await.map(TokioIo::new)
    }

    async fn handshake(&self, stream: TcpStream, host: &Host) -> Result<TlsStream<TcpStream>, Refused> {
        let refused = |why: String| Refused::new(Reason::UpstreamTls, format!("{host} was refused: {why}")).place("upstream");
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| refused("no certificate can name it".into()))?,
            Host::Ip(address) => ServerName::IpAddress((*address).into()),
        };
        let handshake = Duration::from_millis(self.table.limits.handshake_ms);
        let done = timeout(handshake, TlsConnector::from(self.tls.clone()).connect(name, stream)).await;
        done.map_err(|_| slow("the origin"))?.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            refused(cause.map_or_else(|| format!("the TLS handshake broke off: {error}"), tls::in_words))
        })
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// One connection to an origin.
pub struct Link {
    stream: Stream,
    pub(super) dialled: Dialled,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.dialled.clone());
        match &self.stream {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

/// Forwards a poll to whichever stream there is.
macro_rules! either {
    ($link:expr, $poll:ident($($argument:expr),*)) => {
        match &mut $link.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).$poll($($argument),*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$poll($($argument),*),
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
