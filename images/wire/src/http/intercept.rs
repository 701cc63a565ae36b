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

/// A connection inside intercepted TLS.
pub(crate) struct Inside {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) http_2: bool,
    pub(crate) peer: Peer,
    pub(crate) unanswered: Option<Record>,
}

/// Serves HTTP inside intercepted TLS: a connection like any other, and so handed in.
pub(crate) type ServeInside<H> = fn(Inside, Arc<Shared<H>>, Slot) -> Serve;

/// What stands behind a `CONNECT` that was answered.
struct Tunnel {
    host: Host,
    port: u16,
    id: String,
    /// Why it leads nowhere, and the record that says so, should nobody ask inside.
    refused: Option<(Refused, Record)>,
}

/// The port of HTTPS. A client there shows the answer to a request, and hides that to a `CONNECT`.
const HTTPS: u16 = 443;

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
    let target = target::connect_target(&parts);
    record.origin("CONNECT", target.as_ref().map_or("-".into(), |(host, port)| target::origin(true, host, *port)));
    let admitted = match &target {
        Err(refused) => Err(refused.clone()),
        Ok((host, port)) => admit(&context, host, *port).await,
    };
    // A sibling reads the answer to `CONNECT`; most programs of an agent only say that it failed.
    // Of a host that was written in another way than a certificate names it, a client trusts no certificate.
    let written = parts.uri.authority().map(|authority| authority.host().to_ascii_lowercase());
    let is_named = matches!(&target, Ok((host, _)) if written == Some(host.to_string()));
    let answers_inside = context.peer.is_agent() && serving.authority.is_some() && is_named;
    match (admitted, target) {
        (Err(refused), Ok((host, port @ HTTPS))) if answers_inside => {
            record.broke(&refused);
            record.status(refused.status());
            let tunnel = Tunnel { host, port, id, refused: Some((refused, record.waiting())) };
            tokio::spawn(context.slot.clone().run_until_evicted(intercept::<S, H>(agent, context.clone(), tunnel, serve_inside)));
        }
        (Err(refused), _) | (_, Err(refused)) => {
            record.broke(&refused);
            record.status(refused.status());
            let mut response = refusal_response(&refused, serving.component, &id);
            if h1 {
                // What follows may already be the tunnel's bytes.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return response.map(|body| ResponseBody::new(body, log, idle, Some(record)));
        }
        (Ok(Admission::Intercept), Ok((host, port))) => {
            // Requests inside are recorded one by one.
            record.forget();
            let tunnel = Tunnel { host, port, id, refused: None };
            tokio::spawn(context.slot.clone().run_until_evicted(intercept::<S, H>(agent, context.clone(), tunnel, serve_inside)));
        }
        (Ok(Admission::Tunnel(stream)), Ok(_)) => {
            record.slug("tunnel");
            record.status(StatusCode::OK);
            tokio::spawn(tunnel::carry_on(agent, stream, log.clone(), idle, record, context.slot.clone()));
        }
    }
    Response::new(ResponseBody::new(body::empty(), log, idle, None))
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

/// Detects what the agent speaks inside the tunnel, and serves it only if it is TLS for the host of the `CONNECT`.
async fn intercept<S, H>(agent: OnUpgrade, context: Arc<Context<H>>, tunnel: Tunnel, serve_inside: ServeInside<H>)
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
            terminate(stream, context, tunnel, serve_inside).await;
        }
        Err(upgraded) => terminate(TokioIo::<Upgraded>::new(upgraded), context, tunnel, serve_inside).await,
    }
}

async fn terminate<S, H>(stream: S, context: Arc<Context<H>>, tunnel: Tunnel, serve_inside: ServeInside<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let serving = &context.shared.serving;
    let Some(authority) = serving.authority.clone() else { return };
    let Tunnel { host, port, id, refused } = tunnel;
    let origin = target::origin(true, &host, port);
    let is_refused = refused.is_some();
    // Of a refused target there is one event already, which is written when its record is dropped.
    let refuse = |refused: &Refused| {
        if !is_refused {
            log_refusal(&serving.events, &id, Some("CONNECT"), Some(origin.clone()), refused);
        }
    };
    let fail = |why: &str| {
        if !is_refused {
            let mut event = Events::event(Level::Warn, "error");
            event.request_id = Some(id.clone());
            event.origin = Some(origin.clone());
            event.message = Some(Untrusted::new(why).to_string());
            serving.events.write(&event);
        }
    };
    let verdict = refused.as_ref().map(|(refused, _)| refused.clone());
    let accepted = async {
        let (protocol, mut stream) =
            sniff::detect_protocol(stream).await.map_err(|error| fail(&format!("the tunnel broke: {error}"))).ok()?;
        match protocol {
            Protocol::Nothing => return None,
            Protocol::Tls => {}
            Protocol::Http1 | Protocol::Http2 => {
                let opaque = Refused::new(Reason::OpaqueTunnel, "what came through CONNECT is not TLS");
                refuse(&opaque);
                let answer = refusal_bytes(verdict.as_ref().unwrap_or(&opaque), serving.component, &id);
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                return None;
            }
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(|error| fail(&format!("the agent's TLS handshake failed: {error}")))
            .ok()?;
        let mismatch = server_name_mismatch(start.client_hello().server_name(), &host);
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
    let http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let record_mismatch = |mismatch: Refused| {
        let mut record = Record::new(serving.events.clone(), &id, AccessLog::default(), None);
        record.origin("CONNECT", origin.clone());
        record.broke(&mismatch);
        record.status(mismatch.status());
        (mismatch, record)
    };
    let (refused, unanswered) = refused.or_else(|| mismatch.map(record_mismatch)).unzip();
    let inside = Inside { stream: Box::new(stream), http_2, peer: Peer::Intercepted { host, port, refused }, unanswered };
    let (shared, slot) = (context.shared.clone(), context.slot.clone());
    drop(context);
    // A task of its own: this one is as large as the handshake needed.
    tokio::spawn(slot.clone().run_until_evicted(serve_inside(inside, shared, slot)));
}

/// The server name must be the admitted host. Addresses are not sent as names (RFC 6066, section 3), so it may be
/// missing only for them. The refusal is sent inside TLS, with the leaf of the `CONNECT`'s host: no leaf is made for a name
/// that only the handshake brings.
fn server_name_mismatch(server_name: Option<&str>, host: &Host) -> Option<Refused> {
    let refused = |message: String| Some(Refused::new(Reason::OriginMismatch, message).place(Place::Tls));
    match (server_name.map(Host::parse), host) {
        (Some(Ok(name)), host) if name == *host => None,
        (None, Host::Ip(_)) => None,
        (None, Host::Name(_)) => refused("the TLS handshake names no server".into()),
        (Some(_), _) => refused(format!("CONNECT names {host}, TLS names {}", Untrusted::new(server_name.unwrap_or_default()))),
    }
}
