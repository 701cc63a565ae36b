//! Answers that are written while they are read.

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

/// Pieces that wait to be read.
const MAX_QUEUED_CHUNKS: usize = 8;

/// The end that is written to.
#[derive(Clone, Debug)]
pub struct Outlet(mpsc::Sender<Bytes>);

impl Outlet {
    /// Sends bytes; false when nobody reads any more.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        let bytes = bytes.into();
        bytes.is_empty() || self.0.send(bytes).await.is_ok()
    }

    /// Sends words to a person, on band 2.
    pub async fn say(&self, words: &str) -> bool {
        let mut out = Vec::new();
        words.as_bytes().chunks(pkt::MAX_PACKET_BYTES - 5).for_each(|piece| band(&mut out, 2, piece));
        self.send(out).await
    }

    /// Ends the answer with an error on band 3.
    pub async fn fail(&self, refused: &Refused) {
        let mut out = Vec::new();
        band(&mut out, 3, format!("{}\n", words(refused)).as_bytes());
        pkt::flush(&mut out);
        self.send(out).await;
    }

    /// Ends the answer with an error that every git client shows.
    pub async fn error(&self, refused: &Refused) {
        let mut out = Vec::new();
        pkt::line(&mut out, format!("ERR {}", words(refused)).as_bytes());
        self.send(out).await;
    }
}

/// A refusal in one line, with its hint.
pub fn words(refused: &Refused) -> String {
    format!("git-gate: {refused} ({})", refused.reason.hint())
}

struct Inlet(mpsc::Receiver<Bytes>);

impl http_body::Body for Inlet {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// An answer of this type, and where to write it.
pub fn answer(content_type: &str) -> (Outlet, Response<Body>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_CHUNKS);
    (Outlet(sender), typed(content_type, Inlet(receiver).boxed()))
}

/// An answer that is there already.
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

/// A refusal as git shows it: the text of a page that is plain text, line by line.
pub fn refusal(refused: &Refused) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", body::full(format!("{}\n", words(refused))));
    *response.status_mut() = match refused.reason {
        Reason::RepoNotListed => StatusCode::NOT_FOUND,
        _ => refused.status(),
    };
    response.headers_mut().insert(HEADER, HeaderValue::from_static(refused.reason.slug()));
    response
}
