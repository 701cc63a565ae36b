//! Responses to git clients: streamed while they are written, or whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bottle_contract::reason::{HEADER, Reason};
use bottle_wire::{Body, BodyError, Refused, body};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::pkt;
use crate::report::band;

/// Chunks that wait for the client to read.
const MAX_QUEUED_CHUNKS: usize = 8;

/// Writes the body of a streamed response.
#[derive(Clone, Debug)]
pub struct ResponseWriter(mpsc::Sender<Bytes>);

impl ResponseWriter {
    /// Sends bytes; false once the client is gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        let bytes = bytes.into();
        bytes.is_empty() || self.0.send(bytes).await.is_ok()
    }

    /// Sends a progress message, on band 2.
    pub async fn progress(&self, text: &str) -> bool {
        let mut out = Vec::new();
        text.as_bytes().chunks(pkt::MAX_PACKET_BYTES - 5).for_each(|chunk| band(&mut out, 2, chunk));
        self.send(out).await
    }

    /// Ends the response with an error on band 3.
    pub async fn fatal(&self, refused: &Refused) {
        let mut out = Vec::new();
        band(&mut out, 3, format!("{}\n", message(refused)).as_bytes());
        pkt::flush(&mut out);
        self.send(out).await;
    }

    /// Ends the response with an `ERR` packet, which every git client shows.
    pub async fn error(&self, refused: &Refused) {
        let mut out = Vec::new();
        pkt::line(&mut out, format!("ERR {}", message(refused)).as_bytes());
        self.send(out).await;
    }
}

/// A refusal and its hint in one line.
pub fn message(refused: &Refused) -> String {
    format!("git-gate: {refused} ({})", refused.reason.hint())
}

struct ChannelBody(mpsc::Receiver<Bytes>);

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A streamed response of this content type, and its writer.
pub fn streamed(content_type: &str) -> (ResponseWriter, Response<Body>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_CHUNKS);
    (ResponseWriter(sender), typed(content_type, ChannelBody(receiver).boxed()))
}

/// A response whose body is complete.
pub fn whole(content_type: &str, bytes: Vec<u8>) -> Response<Body> {
    typed(content_type, body::full(bytes))
}

fn typed(content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("text/plain")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    response
}

/// Leads to a repository that is not behind the gate: what the agent may do there is for egress to decide. `None` if that is no URL.
pub fn elsewhere(page: &str, rest: &str, query: Option<&str>) -> Option<Response<Body>> {
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let location = HeaderValue::try_from(format!("{page}{rest}{query}")).ok()?;
    let mut response = typed("text/plain; charset=utf-8", body::full("another repository, which is not behind this gate\n"));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// A refusal as plain text, which git shows line by line.
pub fn refusal(refused: &Refused) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", body::full(format!("{}\n", message(refused))));
    *response.status_mut() = match refused.reason {
        Reason::RepoNotListed => StatusCode::NOT_FOUND,
        _ => refused.status(),
    };
    response.headers_mut().insert(HEADER, HeaderValue::from_static(refused.reason.slug()));
    response
}
