//! One connection: HTTP/1 or HTTP/2, directly or inside intercepted TLS.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::event::Level;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::target::{self, Peer};
use bottle_policy::{Place, Refused};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::framing::{FramingGuard, HeadLimits};
use crate::http::context::{Context, Serving, Shared};
use crate::http::exchange;
use crate::http::h2_budget::FrameBudget;
use crate::http::h2_resets::{self, ResetAnswers};
use crate::http::handler::Handler;
use crate::http::intercept::{self, Inside, Serve};
use crate::http::record::log_refusal;
use crate::http::refusal::refusal_bytes;
use crate::http::response_body::ResponseBody;
use crate::http::slots::Slot;
use crate::http::sniff::{self, Prefixed, Protocol};

/// Streams of one HTTP/2 connection at one time. RFC 9113, section 6.5.2 advises no less.
const MAX_STREAMS: u32 = 100;
/// What one stream, and all streams of a connection, may send ahead of being read. Enough for 300 MB/s on a loopback,
/// where a round trip is well below a millisecond, and small enough for many streams at a peak of 32 MB.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is buffered of one stream for a slow reader.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the peer has reset and that still cost memory; beyond, the connection ends (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 32;
/// What hyper reads ahead on one HTTP/1 connection.
const READ_AHEAD: usize = 64 << 10;
/// Header fields that hyper reads without memory of its own.
const FIELDS_ON_STACK: usize = 100;
/// Header fields that a sibling adds to a request: a credential, its name, the request's own, the agent's protocol, and what trailers need.
const SIBLING_FIELDS: usize = 8;
/// Bytes of these fields, and of a target in absolute form.
const SIBLING_BYTES: usize = 80 << 10;
/// What HTTP/2 counts for each field beyond its bytes (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// How long a peer may take to close its end of a connection that is shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn head_limits(serving: &Serving) -> HeadLimits {
    let Limits { head_bytes, headers, .. } = serving.limits;
    match serving.peer.is_sibling() {
        true => HeadLimits { bytes: head_bytes + SIBLING_BYTES, fields: headers + SIBLING_FIELDS },
        false => HeadLimits { bytes: head_bytes, fields: headers },
    }
}

/// Serves a connection as it was accepted.
pub(crate) async fn serve<S, H>(stream: S, shared: Arc<Shared<H>>, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let head_timeout = Duration::from_millis(shared.serving.limits.head_ms);
    let stop = shared.serving.stop.clone();
    let detected = tokio::select! {
        detected = tokio::time::timeout(head_timeout, sniff::detect_protocol(stream)) => detected,
        () = stop.cancelled() => return,
    };
    // Neither silence nor a reset is worth an event: there was no request.
    let Ok(Ok((protocol, stream))) = detected else { return };
    let context = Arc::new(Context { peer: shared.serving.peer.clone(), shared, slot, unanswered: Mutex::default() });
    match protocol {
        Protocol::Nothing => {}
        Protocol::Http2 => http2(stream, context, outer::<S, H>).await,
        // The proxy itself does not speak TLS; its first bytes are no request line, and are refused as one.
        Protocol::Http1 | Protocol::Tls => http1(stream, context, outer::<S, H>).await,
    }
}

/// Serves what is inside intercepted TLS.
pub(crate) fn serve_intercepted<H: Handler>(inside: Inside, shared: Arc<Shared<H>>, slot: Slot) -> Serve {
    let Inside { stream, http_2, peer, unanswered } = inside;
    let context = Arc::new(Context { shared, peer, slot, unanswered: Mutex::new(unanswered) });
    serve_requests(Prefixed::new(Default::default(), stream), http_2, context)
}

/// Serves requests on a connection to one origin.
pub(crate) fn serve_requests<S, H>(stream: Prefixed<S>, http_2: bool, context: Arc<Context<H>>) -> Serve
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    if http_2 { http2(stream, context, inner) } else { http1(stream, context, inner) }
}

type Answer = Response<ResponseBody>;

/// A request on the connection itself: `CONNECT` opens a tunnel.
async fn outer<S, H>(context: Arc<Context<H>>, request: Request<Incoming>) -> Result<Answer, Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    Ok(match *request.method() {
        Method::CONNECT => intercept::connect::<S, H>(context, request, serve_intercepted).await,
        _ => exchange::answer(context, request).await,
    })
}

/// A request on a connection to one origin, where `CONNECT` is just another refused method.
async fn inner<H: Handler>(context: Arc<Context<H>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(exchange::answer(context, request).await)
}

fn http1<S, H, A, R>(stream: Prefixed<S>, context: Arc<Context<H>>, answer: A) -> Serve
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
    A: Fn(Arc<Context<H>>, Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let limits = &context.shared.serving.limits;
    let head_timeout = Duration::from_millis(limits.head_ms);
    let bounds = head_limits(&context.shared.serving);
    let guard = FramingGuard::new(stream, bounds);
    let shared = context.clone();
    let mut builder = hyper::server::conn::http1::Builder::new();
    // For as many fields as it reads by default, hyper needs no memory of its own for each message.
    if bounds.fields > FIELDS_ON_STACK {
        builder.max_headers(bounds.fields);
    }
    let mut connection = builder
        // The slot bounds the time, the guard the size; hyper's own bounds only have to be wider.
        .header_read_timeout(None)
        .max_buf_size(bounds.bytes.max(READ_AHEAD) + 8192)
        .half_close(false)
        // hyper keeps room for the service's future as long as the connection lives: a box, not all of it.
        .serve_connection(TokioIo::new(guard), service_fn(move |request| Box::pin(answer(shared.clone(), request))))
        .with_upgrades();
    Box::pin(async move {
        let mut idle = pin!(context.slot.idle_for(head_timeout));
        let mut stopped = pin!(context.shared.serving.stop.cancelled());
        let mut stopping = false;
        let end = loop {
            tokio::select! {
                biased;
                end = &mut connection => break end,
                () = &mut idle => {
                    let guard = connection.into_parts().map(|parts| parts.io.into_inner());
                    return Box::pin(ran_late(guard, &context)).await;
                }
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = end {
            broke(&context, &error);
        }
    })
}

/// Ends a connection on which no head was completed in time.
async fn ran_late<S, H>(guard: Option<FramingGuard<Prefixed<S>>>, context: &Context<H>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let Some(mut guard) = guard else { return };
    let serving = &context.shared.serving;
    let shutdown = async {
        if guard.in_head() {
            let refused = Refused::new(Reason::TooSlow, format!("the request's head took longer than {} ms", serving.limits.head_ms))
                .place(Place::Head);
            let id = context.shared.ids.next();
            log_refusal(&serving.events, &id, None, None, &refused);
            guard.write_all(&refusal_bytes(&refused, serving.component, &id)).await?;
        }
        guard.shutdown().await
    };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, shutdown).await;
}

fn http2<S, H, A, R>(stream: Prefixed<S>, context: Arc<Context<H>>, answer: A) -> Serve
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
    A: Fn(Arc<Context<H>>, Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let limits = &context.shared.serving.limits;
    let head_timeout = Duration::from_millis(limits.head_ms);
    let shared = context.clone();
    let noticed = context.clone();
    let stream = ResetAnswers::new(FrameBudget::new(stream), move || {
        // Which request it was is not known: nothing of it was read.
        noticed.answer_connect();
        let refused = Refused::new(Reason::MalformedRequest, h2_resets::MESSAGE).place(Place::Head);
        let (serving, origin) = (&noticed.shared.serving, apparent_origin(&noticed.peer));
        log_refusal(&serving.events, &noticed.shared.ids.next(), None, origin, &refused);
    });
    let mut connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        // The bound on a head is counted afterwards, the same for both versions, so that its refusal can be read.
        .max_header_list_size(u32::try_from(limits.head_bytes * 2 + limits.headers * FIELD_OVERHEAD).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(shared.clone(), request)));
    Box::pin(async move {
        let ends = async {
            tokio::select! { () = context.slot.idle_for(head_timeout) => {}, () = context.shared.serving.stop.cancelled() => {} }
        };
        let end = tokio::select! {
            biased;
            end = &mut connection => end,
            () = ends => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                // A peer that does not close its end must not hold the connection open.
                let shutdown = async {
                    tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
                    context.slot.idle_for(SHUTDOWN_TIMEOUT).await;
                };
                tokio::select! { biased; end = &mut connection => end, () = shutdown => return }
            }
        };
        if let Err(error) = end {
            broke(&context, &error);
        }
    })
}

/// The origin that every request of an intercepted connection names.
fn apparent_origin(peer: &Peer) -> Option<String> {
    match peer {
        Peer::Intercepted { https, host, port, .. } => Some(target::origin(*https, host, *port)),
        Peer::Agent | Peer::Sibling => None,
    }
}

/// Logs the end of a connection that hyper could not go on with. A peer that just leaves is not worth an event.
fn broke<H: Handler>(context: &Context<H>, error: &hyper::Error) {
    let protocol = error.is_parse() || std::error::Error::source(error).is_some_and(|cause| cause.to_string().contains("protocol"));
    if protocol {
        let text = std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let refused = Refused::new(Reason::MalformedRequest, Untrusted::new(&text).to_string());
        let serving = &context.shared.serving;
        log_refusal(&serving.events, &context.shared.ids.next(), None, None, &refused);
    } else if !(error.is_incomplete_message() || error.is_closed() || error.is_canceled()) {
        context.shared.serving.events.say(Level::Debug, "error", Untrusted::new(&error.to_string()).to_string());
    }
}
