//! An answer without its content coding, so that a credential in it can be found. It was not asked for, but some origins store files
//! compressed and send them as they are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::content_coding::{Decoder, Undecodable};
use bottle_wire::headers::remove_where;
use bottle_wire::{Body, BodyError, Refused};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;

/// What is decoded at once: small, as it may grow to two hundred times its size.
const STEP_BYTES: usize = 4 << 10;

/// Fields that describe the coded bytes (RFC 9110, sections 8.4 and 8.6; RFC 9530).
const OF_CODED_BYTES: [HeaderName; 7] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Makes the fields of a coded answer those of the answer without its coding.
pub(crate) fn describe_plain(fields: &mut HeaderMap) {
    remove_where(fields, |name| OF_CODED_BYTES.contains(name));
    // The bytes are others, what they mean is the same (RFC 9110, section 8.8.1).
    let weak = fields.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).map(|etag| [b"W/", etag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        fields.insert(header::ETAG, weak);
    }
}

/// A body on its way through a decoder.
pub(crate) struct DecodedBody {
    body: Body,
    decoder: Option<Decoder>,
    /// Not decoded yet.
    coded: Bytes,
    plain: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What the decoder's window may take.
    _memory: Option<OwnedSemaphorePermit>,
}

impl DecodedBody {
    pub(crate) fn new(body: Body, decoder: Decoder, memory: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, decoder: Some(decoder), coded: Bytes::new(), plain: Vec::new(), trailers: None, _memory: memory }
    }

    fn decode(&mut self) -> Result<(), Undecodable> {
        let step = self.coded.split_to(self.coded.len().min(STEP_BYTES));
        let plain = &mut self.plain;
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        decoder.push(&step, &mut |output| {
            plain.extend_from_slice(output);
            Ok(())
        })
    }
}

fn refused(Undecodable(why): Undecodable) -> BodyError {
    Refused::new(Reason::UpstreamProtocol, format!("the origin sent a compressed body that cannot be read: {why}"))
        .place(Place::Upstream)
        .into()
}

impl http_body::Body for DecodedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if !this.plain.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.plain).into()))));
            }
            if !this.coded.is_empty() {
                if let Err(why) = this.decode() {
                    this.coded.clear();
                    return Poll::Ready(Some(Err(refused(why))));
                }
                continue;
            }
            if this.decoder.is_none() {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => this.coded = data,
                end => {
                    this.trailers = end.and_then(Result::err).and_then(|frame| frame.into_trailers().ok());
                    let ended = this.decoder.take().map_or(Ok(()), Decoder::finish);
                    if let Err(why) = ended {
                        return Poll::Ready(Some(Err(refused(why))));
                    }
                }
            }
        }
    }
}
