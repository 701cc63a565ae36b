//! The headers that may carry a credential: checked when a manifest is read, and when a sidecar injects one.

use http::HeaderName;

use crate::overrides::replaces;

/// Headers that frame a message or name its parties, that a proxy removes or answers itself, or that it sets to detect an
/// echoed credential. A credential there would get lost or change the meaning of the message.
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
    // Set or removed when a credential is injected.
    "accept-encoding",
    "if-range",
    "range",
    // Written by the gate.
    "git-protocol",
];

/// Prefixes of headers of a proxy, of a WebSocket handshake, or of the sidecars.
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "sec-websocket-", "x-bottle-"];

/// Why a header may not carry a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The text is not a header name.
    NotAName,
    /// The header has another purpose.
    Reserved,
}

/// Parses the name of a header that may carry a credential.
pub fn parse(text: &str) -> Result<HeaderName, Unfit> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unfit::NotAName)?;
    let reserved = replaces(&name).is_some()
        || RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
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
