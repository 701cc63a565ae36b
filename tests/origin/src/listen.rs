//! The three ports: TLS, plain, and the relay that leads every name to these two.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use bottle_test_support::origin::Connection;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::{LazyConfigAcceptor, rustls};

use crate::exchange::{self, Channel};
use crate::origin::World;
use crate::tee::Tee;

/// A `CONNECT` request is smaller.
const MAX_CONNECT_BYTES: usize = 16 << 10;

pub(crate) async fn http(listener: TcpListener, world: Arc<World>) {
    accept(listener, |stream| plain(stream, world.clone())).await;
}

async fn plain(stream: TcpStream, world: Arc<World>) {
    let n = world.journal.number_connection();
    note(&world, Connection { n, listener: "http".into(), name: None, failure: None });
    let stream = tee(&world, n, stream);
    serve(stream, world, Channel { connection: n, scheme: "http", server_name: None }, Protocol::Sniffed).await;
}

pub(crate) async fn https(listener: TcpListener, world: Arc<World>, config: Arc<ServerConfig>) {
    accept(listener, |stream| secure(stream, world.clone(), config.clone())).await;
}

async fn secure(stream: TcpStream, world: Arc<World>, config: Arc<ServerConfig>) {
    let n = world.journal.number_connection();
    let mut name = None;
    let stream = match handshake(stream, config, &mut name).await {
        Ok(stream) => stream,
        Err(error) => {
            note(&world, Connection { n, listener: "https".into(), name, failure: Some(error.to_string()) });
            return;
        }
    };
    note(&world, Connection { n, listener: "https".into(), name: name.clone(), failure: None });
    let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
    let stream = tee(&world, n, stream);
    serve(stream, world, Channel { connection: n, scheme: "https", server_name: name }, protocol).await;
}

pub(crate) async fn relay(listener: TcpListener, world: Arc<World>, https: SocketAddr, http: SocketAddr) {
    accept(listener, |stream| tunnel(stream, world.clone(), https, http)).await;
}

async fn tunnel(mut stream: TcpStream, world: Arc<World>, https: SocketAddr, http: SocketAddr) {
    let n = world.journal.number_connection();
    let Some(target) = read_connect(&mut stream).await else {
        note(&world, Connection { n, listener: "relay".into(), name: None, failure: Some("not a CONNECT".into()) });
        let _ = stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nallow: CONNECT\r\ncontent-length: 0\r\n\r\n").await;
        return;
    };
    let address = if target.ends_with(":80") { http } else { https };
    note(&world, Connection { n, listener: "relay".into(), name: Some(target), failure: None });
    let Ok(mut upstream) = TcpStream::connect(address).await else { return };
    let _ = upstream.set_nodelay(true);
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

/// Serves each connection as a task of its own; all end with the returned future.
async fn accept<F: Future<Output = ()> + Send + 'static>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream));
            }
            // Out of descriptors: those in use will be given back.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    name: &mut Option<String>,
) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    *name = start.client_hello().server_name().map(str::to_owned);
    start.into_stream(config).await
}

/// The target of a `CONNECT`, with its headers read away.
async fn read_connect(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // One by one: what follows the head belongs to the tunnel.
        head.push(stream.read_u8().await.ok()?);
        if head.len() > MAX_CONNECT_BYTES {
            return None;
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.lines().next()?.split(' ');
    (words.next() == Some("CONNECT")).then(|| words.next().map(str::to_owned)).flatten()
}

enum Protocol {
    Http1,
    Http2,
    Sniffed,
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, world: Arc<World>, channel: Channel, protocol: Protocol) {
    let channel = Arc::new(channel);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (world, channel) = (world.clone(), channel.clone());
        async move { Ok::<_, Infallible>(exchange::answer(world, &channel, request).await) }
    });
    let stream = TokioIo::new(stream);
    // A connection's end, however it comes, is no news: what arrived is in the journal.
    let _ = match protocol {
        Protocol::Http1 => http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, service).with_upgrades().await.is_ok(),
        Protocol::Http2 => {
            http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(stream, service).await.is_ok()
        }
        Protocol::Sniffed => auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(stream, service).await.is_ok(),
    };
}

fn tee<S>(world: &World, n: u64, stream: S) -> Tee<S> {
    let copy = world.options.raw.then(|| File::create(world.directory.join("raw").join(n.to_string())).ok()).flatten();
    Tee::new(stream, copy)
}

fn note(world: &World, connection: Connection) {
    if !world.options.bench {
        world.journal.record_connection(connection).expect("the journal can be written");
    }
}
