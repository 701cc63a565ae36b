//! Origins: one pool of connections for each table, so that a new table never uses a connection that an old one judged.

pub mod connect;
pub mod dial;
pub mod note;
mod parent;
pub mod resolve;
pub mod tls;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Reason;
use bottle_wire::again::{Again, lost};
use bottle_wire::body::refusal_in;
use bottle_wire::{Notes, Refused};
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::dlp::body::Upload;
use bottle_policy::table::Table;
use connect::{Connector, Dialled};
use dial::Door;
use tls::Trust;

/// How long an unused connection is kept. Common origins close theirs after 60 s and more.
const IDLE: Duration = Duration::from_secs(55);
/// Unused connections to one origin: an agent that runs that many tools at once is busy.
const IDLE_PER_ORIGIN: usize = 256;
/// Credit for one HTTP/2 stream and one connection: enough for 80 MB/s at 50 ms, little enough to hold in memory.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What HTTP/2 may hold back of an upload that an origin is slow to take.
const SEND_BUFFER: usize = 256 << 10;
/// How often one request is sent again: an origin that starts anew ends all the connections that were kept.
const AGAIN: usize = 3;
/// How soon a silent HTTP/2 connection is noticed to be dead.
const PING: Duration = Duration::from_secs(20);

/// The way to all origins under one table.
#[derive(Clone)]
pub struct Origins {
    any: Client<Connector, Upload>,
    http1: Client<Connector, Upload>,
}

impl Origins {
    /// Makes the pools; nothing is dialled.
    pub fn new(table: &Arc<Table>, door: &Door) -> Result<Self, String> {
        let trust = Trust::new(table)?;
        let client = |tls| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_ORIGIN)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_send_buf_size(SEND_BUFFER)
                .http2_keep_alive_interval(PING)
                .http2_keep_alive_timeout(PING)
                .build(Connector { table: table.clone(), door: door.clone(), tls })
        };
        Ok(Self { any: client(trust.any), http1: client(trust.http1) })
    }

    /// Sends one request; redirects are answers like any other. An agent that asks over HTTP/1.1, which may become
    /// something else than HTTP, is asked for in the same way; one that asks over HTTP/2 gets what the origin prefers.
    ///
    /// What a kept connection loses is sent again if it may be, and `notes` tells so.
    pub async fn send(&self, mut request: Request<Upload>, http_2: bool, notes: &Notes) -> Result<Response<Incoming>, Refused> {
        let client = if http_2 { &self.any } else { &self.http1 };
        let mut left = AGAIN;
        loop {
            let again = Again::of(&request).filter(|_| left > 0);
            match client.request(request).await {
                Ok(response) => {
                    response.extensions().get::<Dialled>().inspect(|dialled| dialled.answered());
                    return Ok(response);
                }
                Err(error) => {
                    let Some(again) = again.filter(|_| lost_by_kept(&error)) else { return Err(refused(error)) };
                    notes
                        .note(|noted| noted.message = Some("sent again: the origin closed a kept connection without an answer".to_owned()));
                    request = again.request(Upload::empty());
                    left -= 1;
                }
            }
        }
    }
}

/// Whether a connection that had worked before ended before it brought an answer.
fn lost_by_kept(error: &hyper_util::client::legacy::Error) -> bool {
    let mut extras = Extensions::new();
    error.connect_info().inspect(|connected| connected.get_extras(&mut extras));
    extras.get().is_some_and(Dialled::has_answered) && refusal_in(error).is_none() && lost(error)
}

/// Finds our own verdict in the error, or says what the origin did wrong.
fn refused(error: hyper_util::client::legacy::Error) -> Refused {
    if let Some(verdict) = refusal_in(&error) {
        return verdict.clone();
    }
    let mut why = error.to_string();
    let mut protocol = false;
    let mut next = error.source();
    while let Some(cause) = next {
        why = format!("{why}: {cause}");
        protocol |= cause.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_parse() || e.is_parse_too_large());
        next = cause.source();
    }
    let reason = if protocol { Reason::UpstreamProtocol } else { Reason::UpstreamUnreachable };
    Refused::new(reason, format!("the origin's answer broke off: {why}")).place("upstream")
}
