//! The next hop as our own `pipelock`: HTTP/1.1 with absolute-form targets over a unix socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::client::pool::{Failure, Pool};
use bottle_wire::client::sender::{NewConnection, Protocol};
use bottle_wire::headers::{GENERATION, HTTP_2, INJECTED, REQUEST_ID, TAKES_TRAILERS};
use bottle_wire::{Body, Refused, RequestContext, trailers};
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body::Body as _;
use tokio::net::UnixStream;

use super::failure::{IDLE_TIMEOUT, refused};

/// Sends requests to pipelock.
pub(crate) struct PipelockClient {
    socket: PathBuf,
    connect_timeout: Duration,
    pool: Arc<Pool<(), Body>>,
}

impl PipelockClient {
    pub(crate) fn new(socket: PathBuf, limits: &Limits) -> Self {
        Self { socket, connect_timeout: Duration::from_millis(limits.connect_ms), pool: Pool::new(IDLE_TIMEOUT) }
    }

    pub(crate) async fn send(
        &self,
        context: &RequestContext,
        mut request: Request<Body>,
        injected: Option<&HeaderName>,
        generation: u64,
    ) -> Result<Response<Body>, Refused> {
        let has_trailers = request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        if let Ok(id) = HeaderValue::try_from(&context.request_id) {
            headers.insert(&REQUEST_ID, id);
        }
        headers.insert(&GENERATION, HeaderValue::from(generation));
        if context.http_2 {
            headers.insert(&HTTP_2, HeaderValue::from_static("1"));
        }
        if let Some(name) = injected {
            headers.insert(&INJECTED, HeaderValue::try_from(name.as_str()).unwrap_or(HeaderValue::from_static("authorization")));
        }
        if !context.websocket {
            if headers.insert(header::TE, HeaderValue::from_static("trailers")).is_some() {
                headers.insert(&TAKES_TRAILERS, HeaderValue::from_static("1"));
            }
            if has_trailers {
                trailers::announce(headers);
                request = request.map(trailers::packed);
            }
        }
        let sent = self.pool.send((), request, &context.log, async || self.dial().await).await;
        let mut response = sent.map_err(|failure| refused(failure, Reason::SidecarGone, "pipelock does not answer"))?;
        trailers::forget(response.headers_mut());
        Ok(response.map(trailers::unpacked))
    }

    async fn dial(&self) -> Result<NewConnection<UnixStream>, Failure> {
        let gone = |why: &str| {
            Failure::Refused(Refused::new(Reason::SidecarGone, format!("pipelock cannot be reached: {why}")).place(Place::Upstream))
        };
        match tokio::time::timeout(self.connect_timeout, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(NewConnection { stream, address: None, protocol: Protocol::Http1Proxy }),
            Ok(Err(error)) => Err(gone(&error.kind().to_string())),
            Err(_) => Err(gone("no answer in time")),
        }
    }
}
