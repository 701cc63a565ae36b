//! Removes the agent's credentials from a request and injects the real one.

use bottle_wire::headers::remove_where;
use bottle_wire::secret::Credential;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers that carry credentials at one vendor or another. Cookies are among them: a session is a credential, and one
/// of the agent's own could carry data into somebody else's account at a host that the bottle trusts.
const CREDENTIALS: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("private-token"),
    HeaderName::from_static("job-token"),
    HeaderName::from_static("deploy-token"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-amz-security-token"),
];

/// For a host whose route has a credential, in whatever way the request goes there.
pub(crate) fn remove(headers: &mut HeaderMap, own: &HeaderName) {
    remove_where(headers, |name| name == own || CREDENTIALS.contains(name));
}

/// Injects the real credential, and makes sure that its echo can be found: the origin is asked for a body that is not
/// compressed and not in parts, of which none holds all of the credential; and for a WebSocket without extensions, which
/// could compress too.
pub(crate) fn inject(headers: &mut HeaderMap, credential: &Credential) {
    headers.insert(credential.header.clone(), credential.value.clone());
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    remove_where(headers, |name| [header::SEC_WEBSOCKET_EXTENSIONS, header::RANGE, header::IF_RANGE].contains(name));
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::Auth;

    use super::*;

    // covers: A45
    #[test]
    fn what_may_carry_a_credential_carries_it_through_both_proxies() {
        let names = "accept accept-encoding api-key authorization cache-control connection content-encoding content-length content-type \
                     cookie date expect forwarded from host http2-settings if-match if-range keep-alive origin private-token \
                     proxy-authorization proxy-connection range referer sec-websocket-extensions sec-websocket-key te trailer \
                     transfer-encoding upgrade user-agent via x-api-key x-bottle-injected x-forwarded-for x-forwarded-host x-host \
                     x-http-method x-http-method-override x-method-override x-original-url x-rewrite-method x-rewrite-url";
        for name in names.split_whitespace() {
            let auth = Auth { header: name.into(), scheme: None, slot: "S".into() };
            let credential = match (bottle_policy::credential_header::parse(name), bottle_wire::secret::credential(&auth, b"real")) {
                (Ok(_), credential) => credential.unwrap(),
                (Err(_), credential) => {
                    assert!(credential.is_err(), "{name}");
                    continue;
                }
            };
            let mut headers = HeaderMap::new();
            inject(&mut headers, &credential);
            bottle_wire::headers::clean_request(&mut headers, &bottle_wire::Peer::Sibling);
            assert_eq!(headers.get(name).map(HeaderValue::as_bytes), Some(&b"real"[..]), "{name}");
        }
    }

    // covers: S10
    #[test]
    fn only_the_real_credential_is_left() {
        let auth = Auth { header: "x-own".into(), scheme: None, slot: "S".into() };
        let credential = bottle_wire::secret::credential(&auth, b"real").unwrap();
        let mut headers = HeaderMap::new();
        for name in
            CREDENTIALS.iter().chain([&credential.header, &header::ACCEPT, &header::ACCEPT_ENCODING, &header::RANGE, &header::IF_RANGE])
        {
            headers.append(name, HeaderValue::from_static("agent's"));
            headers.append(name, HeaderValue::from_static("second"));
        }
        remove(&mut headers, &credential.header);
        inject(&mut headers, &credential);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(left, ["accept-encoding: identity", "accept: agent's", "accept: second", "x-own: real"]);
    }
}
