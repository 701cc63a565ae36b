//! Retries: a request that a kept connection lost is sent once more.
//!
//! The other end may close an unused connection in the very moment in which the next request is written on it. There was no response and
//! nobody is to blame, so the agent should not notice. A proxy may retry what is idempotent, and nothing else (RFC 9110, section 9.2.2; RFC
//! 9112, section 9.3.1); a body is gone once it was sent.

use std::error::Error;
use std::io;

use http::Request;
use http_body::Body;

use crate::http::access_log::AccessLog;

/// A copy of a request that may be sent a second time.
#[derive(Debug)]
pub struct ReplayableRequest(Request<()>);

impl ReplayableRequest {
    /// None for a request that must not be sent twice.
    pub fn of<B: Body>(request: &Request<B>) -> Option<Self> {
        if !request.method().is_idempotent() || !request.body().is_end_stream() {
            return None;
        }
        let mut copy = Request::new(());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(Self(copy))
    }

    /// The request; `body` is an empty one.
    pub fn request<B: Body>(self, body: B) -> Request<B> {
        self.0.map(|()| body)
    }
}

/// Notes a retry for the event of the request.
pub fn note_retry(log: &AccessLog) {
    log.update(|entry| entry.message = Some("sent again: a kept connection was closed without an answer".to_owned()));
}

/// True if the connection ended before a response: not if there was one that could not be read.
pub fn connection_was_lost(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<io::Error>() || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use http_body_util::{Empty, Full};

    use super::*;

    fn asked(method: Method) -> Request<Empty<Bytes>> {
        let request = Request::builder().method(method).uri("https://a.test/x?y").version(http::Version::HTTP_11).header("k", "v");
        request.extension(7_u8).body(Empty::new()).unwrap()
    }

    #[test]
    fn what_is_sent_again_is_what_was_sent() {
        let request = ReplayableRequest::of(&asked(Method::HEAD)).unwrap().request(Empty::<Bytes>::new());
        let (parts, _) = request.into_parts();
        let said = (parts.method, parts.uri.to_string(), parts.version, parts.extensions.get::<u8>().copied());
        assert_eq!(said, (Method::HEAD, "https://a.test/x?y".to_owned(), http::Version::HTTP_11, Some(7)));
        assert_eq!(parts.headers.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect::<Vec<_>>(), [("k", "v")]);
    }

    #[test]
    fn what_would_be_done_twice_is_not_sent_again() {
        assert!(ReplayableRequest::of(&asked(Method::POST)).is_none());
        assert!(ReplayableRequest::of(&asked(Method::PATCH)).is_none());
        assert!(ReplayableRequest::of(&Request::put("/").body(Full::new(Bytes::from("body"))).unwrap()).is_none());
    }
}
