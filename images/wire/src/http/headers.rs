//! Header fields that are not end to end, and those that only this side of the wall may set.

use bottle_contract::{egress, reason};
use bottle_policy::target::Peer;
use http::header::{self, HeaderMap, HeaderName};

/// [`egress::INJECTED`] as a name that need not be parsed for each request; so the others.
pub static INJECTED: HeaderName = HeaderName::from_static(egress::INJECTED);
/// [`egress::HTTP_2`].
pub static HTTP_2: HeaderName = HeaderName::from_static(egress::HTTP_2);
/// [`egress::REQUEST_ID`].
pub static REQUEST_ID: HeaderName = HeaderName::from_static(egress::REQUEST_ID);
/// [`reason::HEADER`].
pub static REASON: HeaderName = HeaderName::from_static(reason::HEADER);

/// Fields that belong to one connection (RFC 9110, section 7.6.1, and their older kin).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields by which some frameworks let a client replace the method that was judged.
const METHOD_OVERRIDES: [HeaderName; 4] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-rewrite-method"),
];

/// Fields by which some frameworks let a client replace the path or the host that was judged.
const TARGET_OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("forwarded"),
];

/// Takes out the fields of one connection and those that `Connection` nominates. What a message cannot lose without
/// changing its meaning stays even when it is nominated: an agent must not make us drop `host` or the note of a credential
/// that was put in.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name) && !is_ours(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    remove_where(headers, |name| HOP_BY_HOP.contains(name));
}

/// Makes a request's fields end to end. What a sibling notes in `x-bottle-` fields stays.
pub fn clean_request(headers: &mut HeaderMap, peer: &Peer) {
    remove_hop_by_hop(headers);
    remove_where(headers, |name| {
        METHOD_OVERRIDES.contains(name)
            || TARGET_OVERRIDES.contains(name)
            || *name == header::TRAILER
            // Answered by this proxy itself when it first reads the body.
            || *name == header::EXPECT
            || name.as_str().starts_with("proxy-")
            || (is_ours(name) && !(peer.is_sibling() && [&INJECTED, &REQUEST_ID].contains(&name)))
    });
}

/// Whether only this side of the wall may set it.
fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-bottle-")
}

/// Whose word a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// An origin, or the handler itself.
    Origin,
    /// A sibling sidecar, whose `x-bottle-` fields are kept.
    Sibling,
}

/// Makes a response's fields end to end. `alt-svc` would lead a client around the proxy (RFC 7838), and nobody but
/// our own sibling may answer in our name.
pub fn clean_response(headers: &mut HeaderMap, by: AnsweredBy) {
    remove_hop_by_hop(headers);
    remove_where(headers, |name| {
        *name == header::ALT_SVC || name.as_str().starts_with("proxy-") || (is_ours(name) && by == AnsweredBy::Origin)
    });
}

/// Fields that would act as header fields if a trailer held them (RFC 9110, section 6.5.1).
const NO_TRAILERS: [HeaderName; 18] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::SET_COOKIE,
    header::COOKIE,
    header::LOCATION,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::DATE,
    header::VARY,
    header::AGE,
    header::RETRY_AFTER,
    header::ALT_SVC,
];

/// Takes out trailer fields that would act as header fields.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_where(trailers, |name| NO_TRAILERS.contains(name) || name.as_str().starts_with("proxy-") || is_ours(name));
}

/// Takes out every field whose name is `taken`. To compare the few names of a message takes less than to look up each of
/// the many that it must not have.
pub fn remove_where(headers: &mut HeaderMap, taken: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| taken(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
    }

    // covers: H13
    #[test]
    fn a_request_keeps_only_what_is_end_to_end() {
        let mut headers = map(&[
            ("host", "a.test"),
            ("accept", "*/*"),
            ("connection", "keep-alive, x-private, host"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("x-http-method-override", "DELETE"),
            ("x-http-method", "DELETE"),
            ("x-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x-bottle-injected", "authorization"),
            ("x-bottle-request-id", "forged"),
            ("expect", "100-continue"),
        ]);
        clean_request(&mut headers, &Peer::Agent);
        assert_eq!(headers, map(&[("host", "a.test"), ("accept", "*/*")]));
    }

    #[test]
    fn a_siblings_notes_stay_even_if_connection_nominates_them() {
        let mut headers = map(&[
            ("connection", "x-bottle-injected"),
            ("x-bottle-injected", "authorization"),
            ("x-bottle-request-id", "1-1"),
            ("x-bottle-reason", "x"),
        ]);
        clean_request(&mut headers, &Peer::Sibling);
        assert_eq!(headers, map(&[("x-bottle-injected", "authorization"), ("x-bottle-request-id", "1-1")]));
    }

    // covers: H11
    #[test]
    fn a_response_loses_what_leads_around_the_proxy() {
        let fields = [("alt-svc", "h3=\":443\""), ("connection", "close"), ("x-bottle-reason", "forged"), ("server", "x")];
        let mut headers = map(&fields);
        clean_response(&mut headers, AnsweredBy::Origin);
        assert_eq!(headers, map(&[("server", "x")]));
        let mut headers = map(&fields);
        clean_response(&mut headers, AnsweredBy::Sibling);
        assert_eq!(headers, map(&[("x-bottle-reason", "forged"), ("server", "x")]));
    }

    // covers: H27
    #[test]
    fn a_trailer_cannot_act_as_a_header() {
        let mut trailers = map(&[("authorization", "x"), ("host", "x"), ("grpc-status", "0"), ("content-length", "9")]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
    }
}
