//! `CONNECT`, and the TLS inside it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::event::Level;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::own;
use bottle_policy::target::{self, Peer};
use bottle_policy::{Place, Refused};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;

use crate::framing::FramingGuard;
use crate::http::access_log::AccessLog;
use crate::http::body;
use crate::http::context::{Context, Shared};
use crate::http::handler::{Admission, Handler};
use crate::http::record::{Record, log_refusal};
use crate::http::refusal::{refusal_bytes, refusal_response};
use crate::http::response_body::ResponseBody;
use crate::http::slots::Slot;
use crate::http::sniff::{self, Prefixed, Protocol};
use crate::http::tunnel::{self, Duplex};
use crate::process::events::Events;

/// Boxed and built without `async fn`, whose arguments would stay in the future twice: most connections idle most of
/// the time, and this is what they weigh.
pub(crate) type Serve = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves HTTP inside intercepted TLS: a connection like any other, and so handed in.
pub(crate) type ServeInside<H> = fn(Box<dyn Duplex>, bool, Arc<Shared<H>>, Peer, Slot) -> Serve;

/// Answers `CONNECT`, and serves what follows.
pub(crate) async fn connect<S, H>(
    context: Arc<Context<H>>,
    mut request: Request<Incoming>,
    serve_inside: ServeInside<H>,
) -> Response<ResponseBody>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let serving = &context.shared.serving;
    let log = AccessLog::default();
    let idle = Duration::from_millis(serving.limits.idle_ms);
    let id = context.shared.ids.of(&context.peer, request.headers());
    let agent = hyper::upgrade::on(&mut request);
    let h1 = request.version() < http::Version::HTTP_2;
    let (parts, _) = request.into_parts();
    let mut record = Record::new(serving.events.clone(), &id, log.clone(), Some(context.slot.begin()));
    let admitted = match target::connect_target(&parts) {
        Err(refused) => {
            record.origin("CONNECT", "-".into());
            Err(refused)
        }
        Ok((host, port)) => {
            record.origin("CONNECT", target::origin(true, &host, port));
            admit(&context, &host, port).await.map(|admission| (host, port, admission))
        }
    };
    let mut response = match admitted {
        Err(refused) => {
            record.broke(&refused);
            record.status(refused.status());
            let mut response = refusal_response(&refused, serving.component, &id);
            if h1 {
                // What follows may already be the tunnel's bytes.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return response.map(|body| ResponseBody::new(body, log, idle, Some(record)));
        }
        Ok((host, port, Admission::Intercept)) => {
            // Requests inside are recorded one by one.
            record.forget();
            tokio::spawn(context.slot.clone().run_until_evicted(intercept::<S, H>(agent, context.clone(), host, port, id, serve_inside)));
            Response::new(body::empty())
        }
        Ok((_, _, Admission::Tunnel(stream))) => {
            record.slug("tunnel");
            record.status(StatusCode::OK);
            tokio::spawn(tunnel::carry_on(agent, stream, log.clone(), idle, record, context.slot.clone()));
            Response::new(body::empty())
        }
    };
    *response.status_mut() = StatusCode::OK;
    response.map(|body| ResponseBody::new(body, log, idle, None))
}

async fn admit<H: Handler>(context: &Context<H>, host: &Host, port: u16) -> Result<Admission, Refused> {
    if own::is_own(host, port) && matches!(context.peer, Peer::Agent) {
        return Err(own::refuse(&host.to_string()));
    }
    match context.shared.handler.admit(&context.peer, host, port).await? {
        Admission::Intercept if context.shared.serving.authority.is_none() => {
            Err(Refused::new(Reason::OpaqueTunnel, "no tunnel to this target passes here"))
        }
        admission => Ok(admission),
    }
}

/// Detects what the agent speaks inside the tunnel, and serves it only if it is TLS for the admitted host.
async fn intercept<S, H>(agent: OnUpgrade, context: Arc<Context<H>>, host: Host, port: u16, id: String, serve_inside: ServeInside<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Ok(upgraded) = agent.await else { return };
    // On HTTP/1 the tunnel is the connection itself; without hyper's layers in between it is smaller and faster.
    match upgraded.downcast::<TokioIo<FramingGuard<Prefixed<S>>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (stream, held) = io.into_inner().into_parts();
            let first = if held.is_empty() { read_buf } else { Bytes::from([&read_buf[..], &held[..]].concat()) };
            let stream = Prefixed::new(first, stream);
            terminate(stream, context, host, port, id, serve_inside).await;
        }
        Err(upgraded) => terminate(TokioIo::<Upgraded>::new(upgraded), context, host, port, id, serve_inside).await,
    }
}

async fn terminate<S, H>(stream: S, context: Arc<Context<H>>, host: Host, port: u16, id: String, serve_inside: ServeInside<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let serving = &context.shared.serving;
    let Some(authority) = serving.authority.clone() else { return };
    let origin = target::origin(true, &host, port);
    let refuse = |refused: &Refused| log_refusal(&serving.events, &id, Some("CONNECT"), Some(origin.clone()), refused);
    let fail = |why: &str| {
        let mut event = Events::event(Level::Warn, "error");
        event.request_id = Some(id.clone());
        event.origin = Some(origin.clone());
        event.message = Some(Untrusted::new(why).to_string());
        serving.events.write(&event);
    };
    let accepted = async {
        let (protocol, mut stream) =
            sniff::detect_protocol(stream).await.map_err(|error| fail(&format!("the tunnel broke: {error}"))).ok()?;
        match protocol {
            Protocol::Nothing => return None,
            Protocol::Tls => {}
            Protocol::Http1 | Protocol::Http2 => {
                let refused = Refused::new(Reason::OpaqueTunnel, "what came through CONNECT is not TLS");
                refuse(&refused);
                let _ = stream.write_all(&refusal_bytes(&refused, serving.component, &id)).await;
                let _ = stream.shutdown().await;
                return None;
            }
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(|error| fail(&format!("the agent's TLS handshake failed: {error}")))
            .ok()?;
        let mismatch = server_name_mismatch(start.client_hello().server_name(), &host);
        mismatch.iter().for_each(&refuse);
        let config = authority.config(&host).map_err(|error| fail(&format!("no leaf certificate could be made: {error}"))).ok()?;
        let stream = start.into_stream(config).await.map_err(|error| fail(&format!("the agent's TLS handshake failed: {error}"))).ok()?;
        Some((stream, mismatch))
    };
    let handshake_timeout = Duration::from_millis(serving.limits.handshake_ms);
    let (stream, mismatch) = match tokio::time::timeout(handshake_timeout, accepted).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return,
        Err(_) => return refuse(&Refused::new(Reason::TooSlow, format!("no TLS handshake within {} ms", handshake_timeout.as_millis()))),
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Peer::Intercepted { host, port, mismatch };
    let (shared, slot) = (context.shared.clone(), context.slot.clone());
    drop(context);
    // A task of its own: this one is as large as the handshake needed.
    tokio::spawn(slot.clone().run_until_evicted(serve_inside(Box::new(stream), h2, shared, peer, slot)));
}

/// The server name must be the admitted host. Addresses are not sent as names (RFC 6066, section 3), so it may be
/// missing only for them. The refusal is sent inside TLS, with the admitted host's leaf: no leaf is made for a name
/// that was not admitted.
fn server_name_mismatch(server_name: Option<&str>, host: &Host) -> Option<Refused> {
    let refused = |message: String| Some(Refused::new(Reason::OriginMismatch, message).place(Place::Tls));
    match (server_name.map(Host::parse), host) {
        (Some(Ok(name)), host) if name == *host => None,
        (None, Host::Ip(_)) => None,
        (None, Host::Name(_)) => refused("the TLS handshake names no server".into()),
        (Some(_), _) => refused(format!("CONNECT names {host}, TLS names {}", Untrusted::new(server_name.unwrap_or_default()))),
    }
}
