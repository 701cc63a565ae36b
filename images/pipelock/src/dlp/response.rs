//! An answer on its way to the agent, read along for text that tries to instruct it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_scan::{AnswerReader, Suspicion};
use bottle_wire::content_coding::{Decoder, Undecodable};
use bottle_wire::{Body, BodyError};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};

/// Types that are text, by a word in them.
const TEXT: [&str; 9] = ["text/", "json", "xml", "javascript", "html", "markdown", "yaml", "form-urlencoded", "event-stream"];

/// Asks for an answer that can be read with little memory, if the agent would take a compressed one.
pub fn ask_for_readable(headers: &mut HeaderMap) {
    if headers.contains_key(header::ACCEPT_ENCODING) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// What reads an answer with these fields, if it is text at all.
pub fn reader(headers: &HeaderMap) -> Option<Along> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    if !TEXT.iter().any(|word| kind.contains(word)) {
        return None;
    }
    let decoder = Decoder::new(headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes)).ok()?;
    // Large windows are not worth a remark in the records.
    decoder.as_ref().is_none_or(|decoder| decoder.windows() == 0).then(|| Along { reader: AnswerReader::default(), decoder })
}

/// Reads along.
#[derive(Debug)]
pub struct Along {
    reader: AnswerReader,
    decoder: Option<Decoder>,
}

/// Enough was read, or it cannot be decoded any further.
struct Enough;

impl From<Undecodable> for Enough {
    fn from(_: Undecodable) -> Self {
        Self
    }
}

impl Along {
    /// False when enough was read.
    fn push(&mut self, chunk: &[u8]) -> bool {
        let Self { reader, decoder } = self;
        match decoder {
            None => reader.push(chunk),
            Some(decoder) => decoder.push(chunk, &mut |output| if reader.push(output) { Ok(()) } else { Err(Enough) }).is_ok(),
        }
    }
}

/// Told of what was noticed, at most once.
type Record = Box<dyn FnOnce(Suspicion) + Send + Sync>;

/// A body that passes unchanged and is read along.
pub struct Watched {
    answer: Body,
    along: Option<(Along, Record)>,
}

impl Watched {
    /// `record` hears of what is noticed.
    pub fn new(answer: Body, along: Along, record: impl FnOnce(Suspicion) + Send + Sync + 'static) -> Self {
        Self { answer, along: Some((along, Box::new(record))) }
    }

    fn conclude(&mut self) {
        if let Some((along, record)) = self.along.take()
            && let Some(found) = along.reader.finish()
        {
            record(found);
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.answer).poll_frame(cx));
        let goes_on = match (&frame, &mut self.along) {
            (Some(Ok(frame)), Some((along, _))) => frame.data_ref().is_none_or(|data| along.push(data)),
            _ => false,
        };
        if !goes_on {
            self.conclude();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

impl Drop for Watched {
    /// A body whose length was told is not polled for its end.
    fn drop(&mut self) {
        self.conclude();
    }
}
