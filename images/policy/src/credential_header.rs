//! Headers that may carry a credential: the manifest asks when it is read, the sidecars when they put one in.

use http::HeaderName;

use crate::overrides::replaces;

/// Fields that frame a message or name its parties, that a proxy takes out or answers itself, or that it sets to find a
/// credential's echo: a credential there would be lost, or change what the message means.
const RESERVED: [&str; 16] = [
    // RFC 9110, section 7.6.1, and RFC 9112.
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Set, or taken out, beside a credential.
    "accept-encoding",
    "if-range",
    "range",
    // Written by the gate.
    "git-protocol",
];

/// Beginnings of names that belong to a proxy, to the handshake of a WebSocket, or to this side of the wall.
const RESERVED_BEGINNINGS: [&str; 3] = ["proxy-", "sec-websocket-", "x-bottle-"];

/// Why a header carries no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not a header's name.
    NotAName,
    /// It has another meaning.
    Reserved,
}

/// The name of a header that may carry a credential, in lower case.
pub fn parse(text: &str) -> Result<HeaderName, Unfit> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unfit::NotAName)?;
    let reserved = replaces(&name).is_some()
        || RESERVED.contains(&name.as_str())
        || RESERVED_BEGINNINGS.iter().any(|beginning| name.as_str().starts_with(beginning));
    if reserved { Err(Unfit::Reserved) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_any_case_and_refused_for_a_reason() {
        assert_eq!(parse("X-Api-Key").map(|name| name.to_string()), Ok("x-api-key".into()));
        for name in ["authorization", "cookie", "private-token", "x-goog-api-key"] {
            assert!(parse(name).is_ok(), "{name}");
        }
        for name in ["Expect", "host", "Proxy-Authorization", "x-bottle-injected", "Range", "sec-websocket-key"] {
            assert_eq!(parse(name), Err(Unfit::Reserved), "{name}");
        }
        for name in ["", "a b", "a:", ":path", "ä", "a\r\nb"] {
            assert_eq!(parse(name), Err(Unfit::NotAName), "{name:?}");
        }
    }
}
