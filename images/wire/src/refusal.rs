//! Refusals: what the agent reads when a request may not pass.

use std::fmt;

use bottle_contract::Untrusted;
use bottle_contract::reason::{HEADER, Reason, Refusal};
use http::{Response, StatusCode, header};

use crate::body::{self, Body};

/// A verdict against a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable slug.
    pub reason: Reason,
    /// One sentence: what was refused. Text from outside in it is escaped when it is shown.
    pub message: String,
    /// The rule that decided. The operator sees it, the agent does not.
    pub rule: Option<String>,
    /// Where in the message: `head`, `path`, `query`, `header:user-agent`, `body@1834`, `upstream`.
    pub place: Option<String>,
}

impl Refused {
    /// A refusal without rule or place.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), rule: None, place: None }
    }

    /// Names the rule.
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Names the place.
    pub fn place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// The status that goes with the reason. Never 401 or 407: an agent would ask for a login.
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::AmbiguousTarget | Reason::MalformedRequest => StatusCode::BAD_REQUEST,
            Reason::OriginMismatch => StatusCode::MISDIRECTED_REQUEST,
            Reason::TooLarge if self.place.as_deref() == Some("head") => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TooSlow if self.place.as_deref() == Some("upstream") => StatusCode::GATEWAY_TIMEOUT,
            Reason::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Reason::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Reason::NameNotResolved
            | Reason::UpstreamUnreachable
            | Reason::UpstreamTls
            | Reason::UpstreamProtocol
            | Reason::UpstreamRefused
            | Reason::SidecarGone => StatusCode::BAD_GATEWAY,
            Reason::RepoNotListed => StatusCode::NOT_FOUND,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Reason::HostNotListed
            | Reason::PortNotListed
            | Reason::MethodNotAllowed
            | Reason::PathNotAllowed
            | Reason::OpaqueTunnel
            | Reason::UpgradeNotAllowed
            | Reason::GitPushBypass
            | Reason::RefNotAllowed
            | Reason::AddressNotPublic
            | Reason::MetadataAddress
            | Reason::SelfRequest => StatusCode::FORBIDDEN,
            // Agents take a 401 or 403 from a model's provider for a lost login; this one they show as it is.
            Reason::SecretDetected | Reason::BodyNotScannable | Reason::PackNotSound => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, Untrusted::new(&self.message))
    }
}

impl std::error::Error for Refused {}

/// The JSON of a refusal, one line.
pub(crate) fn page(refused: &Refused, piece: &str, request_id: &str) -> Vec<u8> {
    let refusal = Refusal {
        reason: refused.reason,
        message: Untrusted::new(&refused.message).to_string(),
        hint: refused.reason.hint().to_owned(),
        piece: piece.to_owned(),
        request_id: request_id.to_owned(),
    };
    let mut page = serde_json::to_vec(&refusal).unwrap_or_default();
    page.push(b'\n');
    page
}

/// The response to a refused request.
pub fn refusal_response(refused: &Refused, piece: &str, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(page(refused, piece, request_id)));
    *response.status_mut() = refused.status();
    let headers = response.headers_mut();
    headers.insert(HEADER, http::HeaderValue::from_static(refused.reason.slug()));
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

/// The same as one HTTP/1.1 message that ends its connection, for where no HTTP layer stands yet or any more.
pub(crate) fn refusal_bytes(refused: &Refused, piece: &str, request_id: &str) -> Vec<u8> {
    let page = page(refused, piece, request_id);
    let status = refused.status();
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\n{HEADER}: {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("Refused"),
        refused.reason.slug(),
        page.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&page);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: H30 T03
    #[test]
    fn hostile_text_in_a_refusal_is_inert() {
        let refused = Refused::new(Reason::HostNotListed, "no \u{1b}]0;x\u{7}\r\nSet-Cookie: a=b \u{202e}\u{9b}m\0");
        let text = String::from_utf8(refusal_bytes(&refused, "egress", "1-1")).unwrap();
        let (head, page) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 403 Forbidden\r\nx-bottle-reason: host_not_listed\r\ncontent-type: application/json\r\n\
                 cache-control: no-store\r\ncontent-length: {}\r\nconnection: close",
                page.len()
            )
        );
        let refusal: Refusal = serde_json::from_str(page).unwrap();
        assert_eq!(refusal.message, "no \\u{1b}]0;x\\u{7}\\u{d}\\u{a}Set-Cookie: a=b \\u{202e}\\u{9b}m\\u{0}");
        assert!(page.trim_end().chars().all(|c| !c.is_control()));
    }

    #[test]
    fn no_refusal_looks_like_a_missing_login() {
        for &reason in Reason::ALL {
            let status = Refused::new(reason, "").status().as_u16();
            assert!(status >= 400 && status != 401 && status != 407, "{reason}");
        }
    }
}
