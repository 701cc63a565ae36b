//! Refusals: what the agent reads when a request may not pass.

use bottle_contract::Untrusted;
use bottle_contract::reason::{HEADER, Reason, Refusal};
use bottle_policy::Refused;
use http::{Response, header};
use hyper::ext::ReasonPhrase;

use crate::http::body::{self, Body};

/// When to send a request again that a person is asked about.
const RETRY_AFTER_SECONDS: &str = "15";

/// The JSON of a refusal, one line.
pub(crate) fn page(refused: &Refused, component: &str, request_id: &str) -> Vec<u8> {
    let refusal = Refusal {
        reason: refused.reason,
        message: sentence(refused),
        hint: refused.reason.hint().to_owned(),
        component: component.to_owned(),
        request_id: request_id.to_owned(),
    };
    let mut page = serde_json::to_vec(&refusal).unwrap_or_default();
    page.push(b'\n');
    page
}

/// What was refused and why, and what the reader may do instead: models and people often see this field alone.
fn sentence(refused: &Refused) -> String {
    let message = Untrusted::new(&refused.message).to_string();
    let subject = if message.starts_with("bottle refused") { "" } else { "bottle refused this request: " };
    format!("{subject}{message}; {}", refused.reason.hint())
}

/// The reason phrase of a refusal in HTTP/1: many clients show nothing else of an answer to `CONNECT`.
pub(crate) fn reason_phrase(reason: Reason) -> ReasonPhrase {
    ReasonPhrase::try_from(phrase(reason)).unwrap_or(ReasonPhrase::from_static(b"bottle"))
}

fn phrase(reason: Reason) -> String {
    ["bottle: ", reason.slug()].concat()
}

/// The response to a refused request.
pub fn refusal_response(refused: &Refused, component: &str, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(page(refused, component, request_id)));
    *response.status_mut() = refused.status();
    response.extensions_mut().insert(reason_phrase(refused.reason));
    let headers = response.headers_mut();
    headers.insert(HEADER, http::HeaderValue::from_static(refused.reason.slug()));
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if refused.reason == Reason::ApprovalPending {
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

/// The same as one HTTP/1.1 message that ends its connection, for where no HTTP layer stands yet or any more.
pub(crate) fn refusal_bytes(refused: &Refused, component: &str, request_id: &str) -> Vec<u8> {
    let page = page(refused, component, request_id);
    let status = refused.status();
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\n{HEADER}: {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        status.as_str(),
        phrase(refused.reason),
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
                "HTTP/1.1 403 bottle: host_not_listed\r\nx-bottle-reason: host_not_listed\r\ncontent-type: application/json\r\n\
                 cache-control: no-store\r\ncontent-length: {}\r\nconnection: close",
                page.len()
            )
        );
        let refusal: Refusal = serde_json::from_str(page).unwrap();
        let hint = Reason::HostNotListed.hint();
        let inert = "no \\u{1b}]0;x\\u{7}\\u{d}\\u{a}Set-Cookie: a=b \\u{202e}\\u{9b}m\\u{0}";
        assert_eq!(refusal.message, format!("bottle refused this request: {inert}; {hint}"));
        assert!(page.trim_end().chars().all(|c| !c.is_control()));
    }
}
