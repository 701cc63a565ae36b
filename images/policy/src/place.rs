//! Where in a message something was found or refused.

use std::fmt;

use http::HeaderName;

/// A place in a message, as events and answers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The request line or the head as a whole.
    Head,
    /// The request's method.
    Method,
    /// The host that the request names.
    Host,
    /// The path.
    Path,
    /// The query.
    Query,
    /// A header field.
    Header(HeaderName),
    /// The body as a whole.
    Body,
    /// A byte of the body, in one of its forms: `body`, `body.decoded` and the like.
    BodyAt(String, u64),
    /// What the values of the body say together, in one of its views: `json values` and the like.
    BodyView(String, &'static str),
    /// A message of a WebSocket.
    WebSocket,
    /// The server name of a TLS handshake.
    Tls,
    /// Beyond the proxy: the next hop or the origin.
    Upstream,
    /// Another place, by its name.
    Named(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Method => f.write_str("method"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Query => f.write_str("query"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body => f.write_str("body"),
            Self::BodyAt(form, at) => write!(f, "{form}@{at}"),
            Self::BodyView(form, view) => write!(f, "{form}:{view}"),
            Self::WebSocket => f.write_str("websocket"),
            Self::Tls => f.write_str("tls"),
            Self::Upstream => f.write_str("upstream"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Place {
    /// The place of this name.
    fn from(name: &str) -> Self {
        match name {
            "head" => Self::Head,
            "method" => Self::Method,
            "host" => Self::Host,
            "path" => Self::Path,
            "query" => Self::Query,
            "body" => Self::Body,
            "websocket" => Self::WebSocket,
            "tls" => Self::Tls,
            "upstream" => Self::Upstream,
            _ => match name.strip_prefix("header:").and_then(|name| name.parse().ok()) {
                Some(name) => Self::Header(name),
                None => Self::Named(name.to_owned()),
            },
        }
    }
}

impl From<String> for Place {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_as_it_is_read() {
        for name in ["head", "method", "host", "path", "query", "header:user-agent", "body", "websocket", "tls", "upstream", "path:1"] {
            assert_eq!(Place::from(name).to_string(), name);
        }
        assert_eq!(Place::from("upstream"), Place::Upstream);
        assert_eq!(Place::BodyAt("body.decoded".into(), 40).to_string(), "body.decoded@40");
        assert_eq!(Place::BodyView("body".into(), "json values").to_string(), "body:json values");
    }
}
