//! What is forwarded: a request's canonical target and end-to-end fields, and a response's.

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use bottle_policy::target::{self, Target};
use bottle_policy::{Place, Refused};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};

use crate::http::body::Body;
use crate::http::headers::{self, AnsweredBy};
use crate::http::request::RequestContext;
use crate::http::trailers;

/// The request as it is forwarded: canonical target, end-to-end fields, counted body.
pub(crate) fn end_to_end(mut parts: Parts, context: &RequestContext, body: Body) -> Result<Request<Body>, Refused> {
    let authority = target::authority(context.https, &context.host, context.port);
    let sendable = |_| Refused::new(Reason::AmbiguousTarget, "the target cannot be written as a URI").place(Place::Path);
    parts.uri = absolute(parts.uri, context, &authority).map_err(sendable)?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if context.peer.is_sibling() {
        trailers::forget(&mut parts.headers);
    }
    let taken = headers::clean_request(&mut parts.headers, &context.peer);
    if !taken.is_empty() {
        let names: Vec<_> = taken.iter().map(http::HeaderName::as_str).collect();
        let note = format!("taken out, for they would replace the host: {}", Untrusted::new(&names.join(", ")));
        context.log.update(|entry| entry.message = Some(note));
    }
    if parts.headers.get(header::HOST).is_none_or(|received| *received != authority) {
        let host = HeaderValue::try_from(authority)
            .map_err(|_| Refused::new(Reason::AmbiguousTarget, "the host cannot be written").place(Place::Head))?;
        parts.headers.insert(header::HOST, host);
    }
    join_cookies(&mut parts.headers);
    if context.websocket {
        ask_for_websocket(&mut parts.headers);
    }
    Ok(Request::from_parts(parts, body))
}

/// The target in absolute form. What came in its canonical form is not read again.
fn absolute(received: Uri, target: &Target, authority: &str) -> Result<Uri, http::Error> {
    let mut parts = received.into_parts();
    parts.scheme = Some(if target.https { Scheme::HTTPS } else { Scheme::HTTP });
    if parts.authority.as_ref().is_none_or(|received| received.as_str() != authority) {
        parts.authority = Some(Authority::try_from(authority)?);
    }
    if parts.path_and_query.as_ref().is_none_or(|received| !target.is_path_and_query(received.as_str())) {
        parts.path_and_query = Some(PathAndQuery::try_from(target.path_and_query())?);
    }
    Ok(Uri::from_parts(parts)?)
}

/// HTTP/2 may split cookies over fields; HTTP/1.1 has one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

pub(crate) fn ask_for_websocket(headers: &mut HeaderMap) {
    headers::remove_where(headers, |name| *name == header::TE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Makes a response end to end. An origin's reason phrase would ride along in the extensions.
pub(crate) fn clean<B>(response: &mut Response<B>, by: AnsweredBy) {
    headers::clean_response(response.headers_mut(), by);
    response.extensions_mut().clear();
    *response.version_mut() = Version::HTTP_11;
}
