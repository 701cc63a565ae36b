//! Trailers between two sidecars: hyper sends over HTTP/1.1 only those that the head has named, and an answer of HTTP/2 names none. So
//! both heads name one field of our own, which holds all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use crate::http::body::Body;
use crate::http::headers;

/// The field that carries them.
static CARRIER: HeaderName = HeaderName::from_static("x-bottle-trailers");

/// Announces trailers in the head of a message to a sibling, whose body has no known length.
pub fn announce(fields: &mut HeaderMap) {
    fields.append(header::TRAILER, HeaderValue::from(CARRIER.clone()));
}

/// Takes out what [`announce`] put in.
pub fn forget(fields: &mut HeaderMap) {
    let values: Vec<_> =
        fields.get_all(header::TRAILER).iter().filter(|value| value.as_bytes() != CARRIER.as_str().as_bytes()).cloned().collect();
    headers::remove_where(fields, |name| *name == header::TRAILER);
    for value in values {
        fields.append(header::TRAILER, value);
    }
}

/// All fields as one.
pub fn pack(trailers: &HeaderMap) -> HeaderMap {
    let mut packed = Vec::new();
    for (name, value) in trailers {
        packed.extend_from_slice(name.as_str().as_bytes());
        packed.push(b':');
        packed.extend_from_slice(value.as_bytes());
        packed.push(b'\n');
    }
    let value = HeaderValue::try_from(STANDARD.encode(packed)).ok();
    value.map(|value| (CARRIER.clone(), value)).into_iter().collect()
}

/// The fields that were packed; none if they cannot be read.
pub fn unpack(trailers: &HeaderMap) -> HeaderMap {
    let packed = trailers.get(&CARRIER).and_then(|value| STANDARD.decode(value.as_bytes()).ok()).unwrap_or_default();
    let field = |line: &[u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    };
    packed.split(|b| *b == b'\n').filter_map(field).collect()
}

/// A body to a sibling. Only one without a known length can have trailers.
pub fn packed(body: Body) -> Body {
    changed(body, pack)
}

/// A body from a sibling.
pub fn unpacked(body: Body) -> Body {
    changed(body, unpack)
}

fn changed(body: Body, change: fn(&HeaderMap) -> HeaderMap) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let change = move |frame: Frame<Bytes>| match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(change(&trailers)),
        Err(frame) => frame,
    };
    body.map_frame(change).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_announced_once() {
        let fields: HeaderMap = [("grpc-status", "0"), ("grpc-message", "fine: \u{e9}\t"), ("x-sum", ""), ("x-sum", "2")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .into_iter()
            .collect();
        assert_eq!(unpack(&pack(&fields)), fields);
        assert_eq!(unpack(&fields), HeaderMap::new());
        let mut head: HeaderMap = [(header::TRAILER, HeaderValue::from_static("X-Sum"))].into_iter().collect();
        announce(&mut head);
        assert_eq!(head.get_all(header::TRAILER).iter().collect::<Vec<_>>(), ["X-Sum", "x-bottle-trailers"]);
        forget(&mut head);
        assert_eq!(head.get_all(header::TRAILER).iter().collect::<Vec<_>>(), ["X-Sum"]);
    }
}
