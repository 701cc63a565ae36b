//! Origins asked in whichever version of HTTP they prefer, for agents that ask over HTTP/2: streams share connections.

use std::time::Duration;

use bottle_wire::again::{self, Again, lost};
use bottle_wire::body::refusal_in;
use bottle_wire::{Notes, Refused};
use http::{Extensions, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect::{Connector, Dialled};
use super::note::NotesAddress;
use super::{FRESH, broke_off};
use crate::dlp::body::Upload;

/// Unused connections to one origin.
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

/// Connections of either version.
#[derive(Clone)]
pub(super) struct Any(Client<Connector, Upload>);

impl Any {
    pub(super) fn new(connector: Connector) -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(FRESH)
                .pool_max_idle_per_host(IDLE_PER_ORIGIN)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_send_buf_size(SEND_BUFFER)
                .http2_keep_alive_interval(PING)
                .http2_keep_alive_timeout(PING)
                .build(connector),
        )
    }

    /// What a kept connection loses is sent again if it may be, and `notes` tells so.
    pub(super) async fn send(&self, mut request: Request<Upload>, notes: &Notes) -> Result<Response<Incoming>, Refused> {
        // The pool writes `Host` or `:authority` from the target, so the two cannot disagree.
        request.headers_mut().remove(header::HOST);
        let _notes = NotesAddress::of(&mut request, notes);
        let mut left = AGAIN;
        loop {
            let again = Again::of(&request).filter(|_| left > 0);
            match self.0.request(request).await {
                Ok(response) => {
                    response.extensions().get::<Dialled>().inspect(|dialled| dialled.answered());
                    return Ok(response);
                }
                Err(error) => {
                    let Some(again) = again.filter(|_| lost_by_kept(&error)) else { return Err(broke_off(&error)) };
                    again::told(notes);
                    request = again.request(Upload::default());
                    left -= 1;
                }
            }
        }
    }
}

/// Whether a connection that had worked before ended before it brought an answer.
fn lost_by_kept(error: &Error) -> bool {
    let mut extras = Extensions::new();
    error.connect_info().inspect(|connected| connected.get_extras(&mut extras));
    extras.get().is_some_and(Dialled::has_answered) && refusal_in(error).is_none() && lost(error)
}
