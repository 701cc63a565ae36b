//! What goes on from here: a request's canonical target and end-to-end fields, and an answer's.

use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use bottle_policy::target::{self, Target};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};

use crate::http::body::Body;
use crate::http::headers;
use crate::http::request::Asked;

/// The request as it goes on: canonical target, end-to-end fields, counted body.
pub(crate) fn end_to_end(mut parts: Parts, asked: &Asked, sibling: bool, body: Body) -> Result<Request<Body>, Refused> {
    let authority = target::authority(asked.https, &asked.host, asked.port);
    let sendable = |_| Refused::new(Reason::AmbiguousTarget, "the target cannot be written as a URI").place("path");
    parts.uri = absolute(parts.uri, asked, &authority).map_err(sendable)?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    headers::clean_request(&mut parts.headers, sibling);
    if parts.headers.get(header::HOST).is_none_or(|said| *said != authority) {
        let host = HeaderValue::try_from(authority)
            .map_err(|_| Refused::new(Reason::AmbiguousTarget, "the host cannot be written").place("head"))?;
        parts.headers.insert(header::HOST, host);
    }
    join_cookies(&mut parts.headers);
    if asked.websocket {
        ask_for_websocket(&mut parts.headers);
    }
    Ok(Request::from_parts(parts, body))
}

/// The target in absolute form. What came in its canonical form is not read again.
fn absolute(said: Uri, asked: &Target, authority: &str) -> Result<Uri, http::Error> {
    let mut parts = said.into_parts();
    parts.scheme = Some(if asked.https { Scheme::HTTPS } else { Scheme::HTTP });
    if parts.authority.as_ref().is_none_or(|said| said.as_str() != authority) {
        parts.authority = Some(Authority::try_from(authority)?);
    }
    if parts.path_and_query.as_ref().is_none_or(|said| !asked.is_path_and_query(said.as_str())) {
        parts.path_and_query = Some(PathAndQuery::try_from(asked.path_and_query())?);
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
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

pub(crate) fn clean(response: &mut Response<Body>, from_sibling: bool) {
    headers::clean_response(response.headers_mut(), from_sibling);
    // An origin's reason phrase would ride along.
    response.extensions_mut().clear();
    *response.version_mut() = Version::HTTP_11;
}
