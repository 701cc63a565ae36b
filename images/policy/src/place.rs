//! Places in a message.

use std::fmt;

use http::HeaderName;

/// A place in a message, as events and refusals name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The request line, or the whole head.
    Head,
    /// The request's method.
    Method,
    /// The host that the request names.
    Host,
    /// The path.
    Path,
    /// The query.
    Query,
    /// A header.
    Header(HeaderName),
    /// The name of a header, which is not repeated: the secret is in it.
    HeaderName,
    /// The fields behind a body.
    Trailer,
    /// The whole body.
    Body,
    /// A byte of the body, in one of its forms: `body`, `body.decoded` and the like.
    BodyAt(String, u64),
    /// The joined values of the body, in one of its views: `json values` and the like.
    BodyView(String, &'static str),
    /// A field of a JSON body, as `messages[3].content`.
    Field(String),
    /// A message of a WebSocket.
    WebSocket,
    /// The server name of a TLS handshake.
    Tls,
    /// Beyond the proxy: the next hop or the origin.
    Upstream,
    /// A short value that completes a secret with values of earlier requests: `path:1`, `query:q`, `query names`.
    Fragment(String),
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
            Self::HeaderName => f.write_str("header name"),
            Self::Trailer => f.write_str("trailer"),
            Self::Body => f.write_str("body"),
            Self::BodyAt(form, at) => write!(f, "{form}@{at}"),
            Self::BodyView(form, view) => write!(f, "{form}:{view}"),
            Self::Field(field) if field.starts_with('[') => write!(f, "body{field}"),
            Self::Field(field) => write!(f, "body.{field}"),
            Self::WebSocket => f.write_str("websocket"),
            Self::Tls => f.write_str("tls"),
            Self::Upstream => f.write_str("upstream"),
            Self::Fragment(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_name_that_events_and_responses_show() {
        let user_agent = Place::Header(HeaderName::from_static("user-agent"));
        let names = [
            (Place::Head, "head"),
            (Place::Method, "method"),
            (Place::Host, "host"),
            (Place::Path, "path"),
            (Place::Query, "query"),
            (user_agent, "header:user-agent"),
            (Place::HeaderName, "header name"),
            (Place::Trailer, "trailer"),
            (Place::Body, "body"),
            (Place::BodyAt("body.decoded".into(), 40), "body.decoded@40"),
            (Place::BodyView("body".into(), "json values"), "body:json values"),
            (Place::Field("messages[3].content".into()), "body.messages[3].content"),
            (Place::Field("[0].text".into()), "body[0].text"),
            (Place::WebSocket, "websocket"),
            (Place::Tls, "tls"),
            (Place::Upstream, "upstream"),
            (Place::Fragment("query:q".into()), "query:q"),
        ];
        for (place, name) in names {
            assert_eq!(place.to_string(), name);
        }
    }
}
