//! Fields by which some server replaces the method, the path or the host that were judged. One table: what each does, and why it is
//! judged, refused or taken out. An underscore counts as a hyphen, as in CGI's variables, where both become one.

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use http::{HeaderMap, HeaderName};

use crate::place::Place;
use crate::refused::Refused;
use crate::target;

/// What a field replaces, and so what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// The method. Honest clients send such a field where a firewall knows only GET and POST: it passes if the route allows that method too.
    Method,
    /// The path. Only a front server sends it, to the server behind: the request is refused.
    Path,
    /// The host, in what a server writes about itself. Development proxies add it: the field is taken out, and the event says so.
    Host,
}

/// The names, in their hyphenated spelling.
const NAMES: [(&str, Replaces); 21] = [
    ("x-http-method-override", Replaces::Method), // Google's APIs, Rails, Express' method-override
    ("x-http-method", Replaces::Method),          // Microsoft's OData
    ("x-method-override", Replaces::Method),      // IBM
    ("x-rewrite-method", Replaces::Method),
    ("x-original-url", Replaces::Path), // IIS, Symfony, Zend
    ("x-original-uri", Replaces::Path), // nginx' auth_request
    ("x-original-path", Replaces::Path),
    ("x-rewrite-url", Replaces::Path), // IIS' rewrite module
    ("x-rewrite-uri", Replaces::Path),
    ("x-forwarded-uri", Replaces::Path), // Traefik, Caddy
    ("x-forwarded-url", Replaces::Path),
    ("x-forwarded-path", Replaces::Path),
    ("x-http-path-override", Replaces::Path),
    ("x-http-destinationurl", Replaces::Path),
    ("x-override-url", Replaces::Path),
    ("x-forwarded-host", Replaces::Host),
    ("x-forwarded-server", Replaces::Host),
    ("x-original-host", Replaces::Host),
    ("x-host", Replaces::Host),
    ("x-http-host-override", Replaces::Host),
    ("forwarded", Replaces::Host), // RFC 7239
];

/// What this field replaces, if anything.
pub fn replaces(name: &HeaderName) -> Option<Replaces> {
    let name = name.as_str();
    // Few names begin like one of these.
    if !name.starts_with("x-") && !name.starts_with("x_") && name != "forwarded" {
        return None;
    }
    let same = |other: &str| other.len() == name.len() && other.bytes().zip(name.bytes()).all(|(o, n)| o == n || (o == b'-' && n == b'_'));
    NAMES.iter().find(|(other, _)| same(other)).map(|(_, replaces)| *replaces)
}

/// The values of all fields that replace the method, in upper case as the servers read them.
pub fn methods(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, String)> {
    let fields = headers.iter().filter(|(name, _)| replaces(name) == Some(Replaces::Method));
    fields.map(|(name, value)| (name, String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_uppercase()))
}

/// Refuses what no route can allow: another path than the one that is judged, and a method that is never forwarded.
pub fn refuse(headers: &HeaderMap) -> Result<(), Refused> {
    for name in headers.keys() {
        if replaces(name) == Some(Replaces::Path) {
            let message =
                format!("the field {} would replace the path; send the request to that path itself", Untrusted::new(name.as_str()));
            return Err(Refused::new(Reason::AmbiguousTarget, message).place(Place::Header(name.clone())));
        }
    }
    for (name, method) in methods(headers) {
        let plain = http::Method::from_bytes(method.as_bytes()).ok().filter(|method| target::check_method(method).is_ok());
        if plain.is_none() {
            let message = format!("the field {name} replaces the method by one that is not forwarded");
            return Err(Refused::new(Reason::MalformedRequest, message).place(Place::Header(name.clone())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: V37 A12
    #[test]
    fn every_spelling_of_a_field_that_replaces_something_is_known() {
        let of = |name: &str| replaces(&name.parse().unwrap());
        assert_eq!(of("X-HTTP-Method-Override"), Some(Replaces::Method));
        assert_eq!(of("x_http_method-override"), Some(Replaces::Method));
        assert_eq!(of("X_Original_URL"), Some(Replaces::Path));
        assert_eq!(of("X_Forwarded_Host"), Some(Replaces::Host));
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-methods", "x-hosts", "host", "method"] {
            assert_eq!(of(name), None, "{name}");
        }
        for (name, value, reason) in [
            ("x-http-method-override", "delete", None),
            ("x_http_method", "TRACE", Some(Reason::MalformedRequest)),
            ("x-http-method-override", "GET x", Some(Reason::MalformedRequest)),
            ("x-original-uri", "/", Some(Reason::AmbiguousTarget)),
            ("x-forwarded-host", "b.test", None),
        ] {
            let headers = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
            assert_eq!(refuse(&headers).err().map(|refused| refused.reason), reason, "{name}: {value}");
        }
    }
}
