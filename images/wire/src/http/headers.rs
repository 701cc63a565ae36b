//! Header fields that are not end to end, and those that only this side of the wall may set.

use bottle_contract::{egress, reason};
use bottle_policy::overrides::{Replaces, replaces};
use bottle_policy::target::Peer;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// [`egress::INJECTED`] as a name that need not be parsed for each request; so the others.
pub static INJECTED: HeaderName = HeaderName::from_static(egress::INJECTED);
/// [`egress::GENERATION`].
pub static GENERATION: HeaderName = HeaderName::from_static(egress::GENERATION);
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

/// A header on the link only, of any value: the client takes trailers. The field that says so belongs to one hop.
pub static TAKES_TRAILERS: HeaderName = HeaderName::from_static("x-bottle-takes-trailers");

/// Takes out the fields of one connection, those that `Connection` nominates, and those that are `taken`; the others stay in their order.
/// What a message cannot lose without changing its meaning stays even when it is nominated: an agent must not make us drop `host` or the
/// note of a credential that was put in.
fn remove_hop_by_hop(headers: &mut HeaderMap, taken: impl Fn(&HeaderName) -> bool) {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let nominated: Vec<HeaderName> = connection
        .flat_map(|list| list.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name) && !is_ours(name))
        .collect();
    remove_where(headers, |name| HOP_BY_HOP.contains(name) || nominated.contains(name) || taken(name));
}

/// Makes a request's fields end to end. What a sibling notes in `x-bottle-` fields stays. Returns the names of fields that were taken out
/// although they belong to no hop.
pub fn clean_request(headers: &mut HeaderMap, peer: &Peer) -> Vec<HeaderName> {
    let replaced: Vec<HeaderName> = headers.keys().filter(|name| replaces(name) == Some(Replaces::Host)).cloned().collect();
    let takes_trailers = match peer {
        Peer::Sibling => headers.contains_key(&TAKES_TRAILERS),
        Peer::Agent | Peer::Intercepted { .. } => takes_trailers(headers),
    };
    remove_hop_by_hop(headers, |name| {
        replaced.contains(name)
            // Answered by this proxy itself when it first reads the body.
            || *name == header::EXPECT
            || name.as_str().starts_with("proxy-")
            || (is_ours(name) && !(peer.is_sibling() && [&INJECTED, &GENERATION, &REQUEST_ID].contains(&name)))
    });
    if takes_trailers {
        // The one thing that TE may say over HTTP/2, and all that gRPC asks of it (RFC 9113, section 8.2.2).
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    write_length(headers);
    replaced
}

/// Whether TE says that trailers are welcome (RFC 9110, section 10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|list| list.split(','));
    codings.any(|coding| coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("trailers")))
}

/// Writes a length as everybody reads it: `010` is ten to one and eight to another.
fn write_length(headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return };
    let plain = value.as_bytes().first().is_some_and(|first| *first != b'0') || value == "0";
    if (!plain || headers.get_all(header::CONTENT_LENGTH).iter().count() > 1)
        && let Some(length) = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok())
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
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
    remove_hop_by_hop(headers, |name| {
        *name == header::ALT_SVC || name.as_str().starts_with("proxy-") || (is_ours(name) && by == AnsweredBy::Origin)
    });
    write_length(headers);
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
    remove_hop_by_hop(trailers, |name| {
        NO_TRAILERS.contains(name) || name.as_str().starts_with("proxy-") || is_ours(name) || replaces(name).is_some()
    });
}

/// Takes out every field whose name is `taken`; the others stay in their order, which `HeaderMap::remove` would change: a value that is
/// spread over fields must be read in the order in which it leaves.
pub fn remove_where(headers: &mut HeaderMap, taken: impl Fn(&HeaderName) -> bool) {
    if !headers.keys().any(&taken) {
        return;
    }
    let all = std::mem::take(headers);
    headers.reserve(all.len());
    let mut current = None;
    for (name, value) in all {
        // Of several values, the first brings the name.
        if let Some(name) = name {
            current = (!taken(&name)).then_some(name);
        }
        if let Some(name) = &current {
            headers.append(name.clone(), value);
        }
    }
}

/// The bytes that these fields take in a head of HTTP/1.1.
pub fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
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
            ("x_forwarded_host", "b.test"),
            ("forwarded", "host=b.test"),
            ("content-length", "010"),
            ("x-bottle-injected", "authorization"),
            ("x-bottle-request-id", "forged"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(clean_request(&mut headers, &Peer::Agent), ["x_forwarded_host", "forwarded"]);
        let left = [
            ("host", "a.test"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
            ("x-http-method-override", "DELETE"),
            ("content-length", "10"),
            ("te", "trailers"),
        ];
        assert_eq!(headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect::<Vec<_>>(), left);
    }

    // covers: A08
    #[test]
    fn what_is_left_stays_in_its_order() {
        let mut headers = map(&[("connection", "keep-alive"), ("x-a", "1"), ("x-b", "2"), ("keep-alive", "5"), ("x-a", "3"), ("x-c", "4")]);
        remove_hop_by_hop(&mut headers, |_| false);
        let left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(left, [("x-a", "1"), ("x-a", "3"), ("x-b", "2"), ("x-c", "4")]);
    }

    // covers: V09
    #[test]
    fn of_te_only_trailers_are_passed_on() {
        for (te, passes) in [("trailers", true), ("gzip, Trailers;q=0.5", true), ("gzip", false), ("xtrailers", false)] {
            let mut headers = map(&[("te", te), ("connection", "te")]);
            clean_request(&mut headers, &Peer::Agent);
            assert_eq!(headers, if passes { map(&[("te", "trailers")]) } else { HeaderMap::new() }, "{te}");
        }
        let mut headers = map(&[("te", "trailers")]);
        clean_request(&mut headers, &Peer::Sibling);
        assert_eq!(headers, HeaderMap::new(), "between siblings it is always there");
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
