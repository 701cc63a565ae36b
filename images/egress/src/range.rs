//! Ranges on a route with a credential. Parts of an echo could be fetched one by one, and none of them would be known for what it is; so
//! the origin is asked for all of it, and the range is cut out behind the blanking (RFC 9110, section 14).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_wire::{AccessLog, Body, BodyError, body};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// One range of bytes that the agent asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    bytes: Part,
    /// The condition under which it wants a range and not all.
    if_range: Option<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    From(u64),
    Within(u64, u64),
    Last(u64),
}

/// What a request asks for, if it is one range: a server may ignore any other.
pub(crate) fn asked(method: &Method, fields: &HeaderMap) -> Option<Asked> {
    let mut ranges = fields.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    let text = range.to_str().ok().filter(|_| *method == Method::GET)?;
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let number = |text: &str| Some(text.trim()).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
    let bytes = match (first.trim(), last.trim()) {
        ("", last) => Part::Last(number(last)?),
        (first, "") => Part::From(number(first)?),
        (first, last) => Part::Within(number(first)?, number(last).filter(|last| number(first).is_some_and(|first| first <= *last))?),
    };
    Some(Asked { bytes, if_range: fields.get(header::IF_RANGE).cloned() })
}

impl Part {
    /// The first byte and how many, of so many.
    fn of(self, total: u64) -> Option<(u64, u64)> {
        let (first, last) = match self {
            Self::From(first) => (first, total.checked_sub(1)?),
            Self::Within(first, last) => (first, last.min(total.checked_sub(1)?)),
            Self::Last(count) => (total.saturating_sub(count), total.checked_sub(1).filter(|_| count > 0)?),
        };
        (first <= last).then(|| (first, last - first + 1))
    }
}

/// Cuts the range out of a whole answer.
pub(crate) fn cut(mut response: Response<Body>, asked: &Asked, log: &AccessLog) -> Response<Body> {
    let Some(total) = response.body().size_hint().exact().filter(|_| response.status() == StatusCode::OK) else { return response };
    let fields = response.headers_mut();
    let holds = |condition: &HeaderValue| match condition.as_bytes().starts_with(b"\"") {
        true => fields.get(header::ETAG) == Some(condition),
        false => fields.get(header::LAST_MODIFIED) == Some(condition),
    };
    if !asked.if_range.as_ref().is_none_or(holds) {
        return response;
    }
    let (status, range, skip, left) = match asked.bytes.of(total) {
        Some((first, count)) => (StatusCode::PARTIAL_CONTENT, format!("bytes {first}-{}/{total}", first + count - 1), first, count),
        None => (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{total}"), 0, 0),
    };
    if let Ok(range) = HeaderValue::try_from(range) {
        fields.insert(header::CONTENT_RANGE, range);
    }
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
    *response.status_mut() = status;
    log.update(|entry| {
        entry.message.get_or_insert_with(|| "the range was cut out of the whole answer, as the route has a credential".to_owned());
    });
    response.map(|body| if left == 0 { body::empty() } else { Cut { body, skip, left }.boxed() })
}

/// Some bytes from the middle of a body.
struct Cut {
    body: Body,
    skip: u64,
    left: u64,
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.left > 0 {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? else { return Poll::Ready(None) };
            let Ok(mut data) = frame.into_data() else { continue };
            let skipped = data.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            let data = data.split_off(skipped);
            let data = data.slice(..data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
            self.left -= data.len() as u64;
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, total: u64) -> Option<Option<(u64, u64)>> {
        let fields = [(header::RANGE, HeaderValue::try_from(range).unwrap())].into_iter().collect();
        asked(&Method::GET, &fields).map(|asked| asked.bytes.of(total))
    }

    // covers: V17
    #[test]
    fn a_range_is_read_as_the_rfc_has_it() {
        for (range, part) in [
            ("bytes=50-", Some(Some((50, 50)))),
            ("bytes=0-0", Some(Some((0, 1)))),
            ("Bytes=90-200", Some(Some((90, 10)))),
            ("bytes=-10", Some(Some((90, 10)))),
            ("bytes=-1000", Some(Some((0, 100)))),
            ("bytes=100-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("lines=1-2", None),
            ("bytes=+1-2", None),
            ("bytes", None),
        ] {
            assert_eq!(of(range, 100), part, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Some(None));
    }
}
