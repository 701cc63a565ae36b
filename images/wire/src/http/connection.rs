//! One connection: HTTP/1 or HTTP/2, directly or inside intercepted TLS.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::event::Level;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use bottle_policy::target::Channel;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::framing::{Guard, HeadLimits};
use crate::http::context::{Context, Facing, Serving, Shared};
use crate::http::exchange;
use crate::http::h2_budget::Budgeted;
use crate::http::handler::Forward;
use crate::http::intercept::{self, Serve};
use crate::http::record::log_refusal;
use crate::http::refusal::refusal_bytes;
use crate::http::response_body::Downlink;
use crate::http::slots::Slot;
use crate::http::sniff::{self, Rewound, Speaks};
use crate::http::tunnel::Duplex;

/// Streams of one HTTP/2 connection at one time. RFC 9113, section 6.5.2 advises no less.
const STREAMS: u32 = 100;
/// What one stream, and all streams of a connection, may send ahead of being read. Enough for 300 MB/s on a loopback,
/// where a round trip is well below a millisecond, and small enough for many streams at a peak of 32 MB.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What one stream may have in store for a slow reader.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the peer has reset and that still cost memory; beyond, the connection ends (CVE-2023-44487).
const RESETS: usize = 32;
/// What hyper reads ahead on one HTTP/1 connection.
const READ_AHEAD: usize = 64 << 10;
/// Header fields for which hyper has room on its stack.
const READ_ANYWAY: usize = 100;
/// Header fields that a sibling adds to a request: a credential, its name, the request's own, and the agent's protocol.
const ADDED: usize = 4;

/// How long a peer may take to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

fn head_limits(serving: &Serving) -> HeadLimits {
    let Limits { head_bytes, headers, .. } = serving.limits;
    HeadLimits { bytes: head_bytes, fields: headers + if serving.facing == Facing::Sibling { ADDED } else { 0 } }
}

/// Serves a connection as it was accepted.
pub(crate) async fn serve<S, F>(stream: S, shared: Arc<Shared<F>>, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
{
    let patience = Duration::from_millis(shared.serving.limits.head_ms);
    let stop = shared.serving.stop.clone();
    let listened = tokio::select! {
        listened = tokio::time::timeout(patience, sniff::listen(stream)) => listened,
        () = stop.cancelled() => return,
    };
    // Neither silence nor a reset is worth an event: nothing was asked.
    let Ok(Ok((speaks, stream))) = listened else { return };
    let channel = match shared.serving.facing {
        Facing::Agent => Channel::Agent,
        Facing::Sibling => Channel::Sibling,
    };
    let context = Arc::new(Context { shared, channel, slot });
    match speaks {
        Speaks::Nothing => {}
        Speaks::Http2 => http2(stream, context, outer::<S, F>).await,
        // TLS to the proxy itself is not spoken; its first bytes are no request line.
        Speaks::Http1 | Speaks::Tls => http1(stream, context, outer::<S, F>).await,
    }
}

/// Serves what is inside intercepted TLS.
fn serve_intercepted<F: Forward>(stream: Box<dyn Duplex>, h2: bool, shared: Arc<Shared<F>>, channel: Channel, slot: Slot) -> Serve {
    let context = Arc::new(Context { shared, channel, slot });
    let stream = Rewound::new(Default::default(), stream);
    if h2 { http2(stream, context, inner) } else { http1(stream, context, inner) }
}

type Answer = Response<Downlink>;

/// A request on the connection itself: `CONNECT` opens a tunnel.
async fn outer<S, F>(context: Arc<Context<F>>, request: Request<Incoming>) -> Result<Answer, Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
{
    Ok(match *request.method() {
        Method::CONNECT => intercept::connect::<S, F>(context, request, serve_intercepted).await,
        _ => exchange::answer(context, request).await,
    })
}

/// A request inside intercepted TLS, where `CONNECT` is just another refused method.
async fn inner<F: Forward>(context: Arc<Context<F>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(exchange::answer(context, request).await)
}

fn http1<S, F, A, R>(stream: Rewound<S>, context: Arc<Context<F>>, answer: A) -> Serve
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
    A: Fn(Arc<Context<F>>, Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let limits = &context.shared.serving.limits;
    let patience = Duration::from_millis(limits.head_ms);
    let bounds = head_limits(&context.shared.serving);
    let guard = Guard::new(stream, bounds);
    let asked = context.clone();
    let mut builder = hyper::server::conn::http1::Builder::new();
    // For as many fields as it reads by default, hyper needs no memory of its own for each message.
    if bounds.fields > READ_ANYWAY {
        builder.max_headers(bounds.fields);
    }
    let mut connection = builder
        // The seat bounds the time, the guard the size; hyper's own bounds only have to be wider.
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.max(READ_AHEAD) + 8192)
        .half_close(false)
        // hyper keeps room for the service's future as long as the connection lives: a box, not all of it.
        .serve_connection(TokioIo::new(guard), service_fn(move |request| Box::pin(answer(asked.clone(), request))))
        .with_upgrades();
    Box::pin(async move {
        let mut ceases = pin!(context.slot.ceases(patience));
        let mut stopped = pin!(context.shared.serving.stop.cancelled());
        let mut stopping = false;
        let end = loop {
            tokio::select! {
                biased;
                end = &mut connection => break end,
                () = &mut ceases => {
                    let guard = connection.into_parts().map(|parts| parts.io.into_inner());
                    return Box::pin(ran_late(guard, &context)).await;
                }
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = end {
            broke(&context, &error);
        }
    })
}

/// Ends a connection on which no head was completed in time.
async fn ran_late<S, F>(guard: Option<Guard<Rewound<S>>>, context: &Context<F>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Forward,
{
    let Some(mut guard) = guard else { return };
    let serving = &context.shared.serving;
    let farewell = async {
        if guard.in_head() {
            let refused =
                Refused::new(Reason::TooSlow, format!("the request's head took longer than {} ms", serving.limits.head_ms)).place("head");
            let id = context.shared.ids.next();
            log_refusal(&serving.events, &id, None, None, &refused);
            guard.write_all(&refusal_bytes(&refused, serving.piece, &id)).await?;
        }
        guard.shutdown().await
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

fn http2<S, F, A, R>(stream: Rewound<S>, context: Arc<Context<F>>, answer: A) -> Serve
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
    A: Fn(Arc<Context<F>>, Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let limits = &context.shared.serving.limits;
    let patience = Duration::from_millis(limits.head_ms);
    let asked = context.clone();
    let mut connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .serve_connection(TokioIo::new(Budgeted::new(stream)), service_fn(move |request| answer(asked.clone(), request)));
    Box::pin(async move {
        let ends = async {
            tokio::select! { () = context.slot.ceases(patience) => {}, () = context.shared.serving.stop.cancelled() => {} }
        };
        let end = tokio::select! {
            biased;
            end = &mut connection => end,
            () = ends => {
                Pin::new(&mut connection).graceful_shutdown();
                // A peer that does not answer the farewell must not hold the connection open.
                let farewell = async {
                    tokio::time::sleep(FAREWELL).await;
                    context.slot.ceases(FAREWELL).await;
                };
                tokio::select! { biased; end = &mut connection => end, () = farewell => return }
            }
        };
        if let Err(error) = end {
            broke(&context, &error);
        }
    })
}

/// Logs the end of a connection that hyper could not go on with. A peer that just leaves is not worth an event.
fn broke<F: Forward>(context: &Context<F>, error: &hyper::Error) {
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
