//! `CONNECT`, and the TLS inside it; and TLS without `CONNECT`, from a program that knows no proxy.

use std::net::IpAddr;
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
use crate::http::record::{DIRECT, Record, log_refusal};
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

/// What is known of a connection before its TLS begins.
pub(crate) struct Tunnel {
    pub(crate) named: Named,
    pub(crate) port: u16,
    pub(crate) id: String,
}

/// Who says which host a connection is for.
pub(crate) enum Named {
    /// A `CONNECT` that was answered. If it leads nowhere: why, and the record that says so, should nobody ask inside.
    ByConnect(Host, Option<(Refused, Record)>),
    /// The address that was dialled, if a name has it: the handshake's own name counts, and must agree.
    ByAddress(IpAddr, Option<Host>),
}

impl Named {
    /// The host, as far as it is known before the handshake.
    fn host(&self) -> Host {
        match self {
            Self::ByConnect(host, _) | Self::ByAddress(_, Some(host)) => host.clone(),
            Self::ByAddress(address, None) => Host::Ip(*address),
        }
    }

    /// What an event has for a method.
    fn method(&self) -> &'static str {
        match self {
            Self::ByConnect(..) => "CONNECT",
            Self::ByAddress(..) => DIRECT,
        }
    }
}

/// The port of HTTPS. A client there shows the answer to a request, and hides that to a `CONNECT`.
pub(crate) const HTTPS: u16 = 443;

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
            let tunnel = Tunnel { named: Named::ByConnect(host, Some((refused, record.waiting()))), port, id };
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
            let tunnel = Tunnel { named: Named::ByConnect(host, None), port, id };
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

/// Accepts TLS and serves what is inside.
pub(crate) async fn terminate<S, H>(stream: S, context: Arc<Context<H>>, tunnel: Tunnel, serve_inside: ServeInside<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let serving = &context.shared.serving;
    let Some(authority) = serving.authority.clone() else { return };
    let Tunnel { named, port, id } = tunnel;
    let method = named.method();
    let origin = target::origin(true, &named.host(), port);
    let is_refused = matches!(named, Named::ByConnect(_, Some(_)));
    // Of a refused target there is one event already, which is written when its record is dropped.
    let refuse = |refused: &Refused| {
        if !is_refused {
            log_refusal(&serving.events, &id, Some(method), Some(origin.clone()), refused);
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
    let verdict = match &named {
        Named::ByConnect(_, refused) => refused.as_ref().map(|(refused, _)| refused.clone()),
        Named::ByAddress(..) => None,
    };
    let accepted = async {
        let (protocol, mut stream) =
            sniff::detect_protocol(stream).await.map_err(|error| fail(&format!("the tunnel broke: {error}"))).ok()?;
        match protocol {
            Protocol::Nothing => return None,
            Protocol::Tls => {}
            Protocol::Http1 | Protocol::Http2 => {
                let opaque = Refused::new(Reason::OpaqueTunnel, not_tls(&named, port));
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
        let server_name = start.client_hello().server_name().map(str::to_owned);
        let (host, refused) = judge(&context, &named, port, server_name.as_deref()).await;
        let config = authority.config(&host).map_err(|error| fail(&format!("no leaf certificate could be made: {error}"))).ok()?;
        let stream = start.into_stream(config).await.map_err(|error| fail(&format!("the agent's TLS handshake failed: {error}"))).ok()?;
        Some((stream, host, refused))
    };
    let handshake_timeout = Duration::from_millis(serving.limits.handshake_ms);
    let (stream, host, judged) = match tokio::time::timeout(handshake_timeout, accepted).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return,
        Err(_) => return refuse(&Refused::new(Reason::TooSlow, format!("no TLS handshake within {} ms", handshake_timeout.as_millis()))),
    };
    let http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let origin = target::origin(true, &host, port);
    let record = |refused: Refused| {
        let mut record = Record::new(serving.events.clone(), &id, AccessLog::default(), None);
        record.origin(method, origin.clone());
        record.broke(&refused);
        record.status(refused.status());
        (refused, record)
    };
    let before = match named {
        Named::ByConnect(_, refused) => refused,
        Named::ByAddress(..) => None,
    };
    let (refused, unanswered) = before.or_else(|| judged.map(record)).unzip();
    let inside = Inside { stream: Box::new(stream), http_2, peer: Peer::Intercepted { https: true, host, port, refused }, unanswered };
    let (shared, slot) = (context.shared.clone(), context.slot.clone());
    drop(context);
    // A task of its own: this one is as large as the handshake needed.
    tokio::spawn(slot.clone().run_until_evicted(serve_inside(inside, shared, slot)));
}

fn not_tls(named: &Named, port: u16) -> String {
    match named {
        Named::ByConnect(..) => "what came through CONNECT is not TLS".to_owned(),
        Named::ByAddress(..) => format!("what came to port {port} is not TLS"),
    }
}

/// The host that a connection is for and whose certificate it gets, and why it is refused once the handshake is over.
async fn judge<H: Handler>(context: &Context<H>, named: &Named, port: u16, server_name: Option<&str>) -> (Host, Option<Refused>) {
    let (address, name) = match named {
        Named::ByConnect(host, _) => return (host.clone(), server_name_mismatch(server_name, host)),
        Named::ByAddress(address, name) => (*address, name),
    };
    let (host, disagrees) = by_address(address, name.as_ref(), server_name);
    let refused = match disagrees {
        Some(disagrees) => Some(disagrees),
        // Only `CONNECT` can ask for a tunnel.
        None => admit(context, &host, port).await.err(),
    };
    (host, refused)
}

/// The host that the handshake names, which must be the one whose address was dialled; without a name, the latter.
fn by_address(address: IpAddr, name: Option<&Host>, server_name: Option<&str>) -> (Host, Option<Refused>) {
    let refused = |message: String| Some(Refused::new(Reason::OriginMismatch, message).place(Place::Tls));
    let dialled = name.cloned().unwrap_or(Host::Ip(address));
    match (server_name.map(Host::parse), name) {
        (None, Some(_)) => (dialled, None),
        (None, None) => (dialled, refused(no_name(address))),
        (Some(Ok(host)), Some(name)) if host == *name => (host, None),
        (Some(Ok(host)), name) => {
            let message = match name {
                Some(name) => format!("the address that was dialled is that of {name}, TLS names {}", Untrusted::new(&host.to_string())),
                None => no_name(address),
            };
            (host, refused(message))
        }
        (Some(Err(_)), _) => (dialled, refused("the TLS handshake names no host".into())),
    }
}

/// Why nothing can be asked of an address of the range that no name has.
pub(crate) fn no_name(address: IpAddr) -> String {
    format!("{address} is the address of no name that was looked up; look it up again")
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

#[cfg(test)]
mod tests {
    use super::*;

    // covers: N09 H01
    #[test]
    fn the_name_in_the_handshake_counts_and_must_be_the_one_whose_address_was_dialled() {
        let address: IpAddr = "198.19.1.1".parse().unwrap();
        let host = |name: &str| Host::parse(name).unwrap();
        let judged = |dialled: Option<&str>, server_name: Option<&str>| {
            let (host, refused) = by_address(address, dialled.map(host).as_ref(), server_name);
            (host.to_string(), refused.map(|refused| refused.reason))
        };
        let mismatch = Some(Reason::OriginMismatch);
        assert_eq!(judged(Some("a.test"), Some("a.test")), ("a.test".into(), None));
        assert_eq!(judged(Some("a.test"), Some("A.Test")), ("a.test".into(), None));
        assert_eq!(judged(Some("a.test"), None), ("a.test".into(), None));
        // The client checks the certificate against the name that it sent.
        assert_eq!(judged(Some("a.test"), Some("b.test")), ("b.test".into(), mismatch));
        assert_eq!(judged(Some("a.test"), Some("x.a.test")), ("x.a.test".into(), mismatch));
        assert_eq!(judged(Some("a.test"), Some("198.19.1.1")), ("198.19.1.1".into(), mismatch));
        assert_eq!(judged(Some("a.test"), Some("b..test")), ("a.test".into(), mismatch));
        assert_eq!(judged(None, Some("a.test")), ("a.test".into(), mismatch));
        assert_eq!(judged(None, None), ("198.19.1.1".into(), mismatch));
    }
}
