//! What is wrong with a head, and how the service hears of it through hyper.

use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use http::request::Parts;

use crate::http::headers;

/// A method that the recogniser of heads never lets through.
pub(super) const VIOLATION: &str = "!";

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    BareLineEnd,
    RequestLine,
    Version,
    Method,
    MethodCase,
    Target,
    FoldedLine,
    FieldName,
    FieldValue,
    Host,
    ContentLength,
    TransferEncoding,
    TwoLengths,
    ConnectBody,
    HeadTooLarge,
    TooManyFields,
}

impl Violation {
    const ALL: [(Self, &'static str); 16] = [
        (Self::BareLineEnd, "a line does not end with CR LF"),
        (Self::RequestLine, "the request line is not `METHOD target HTTP/1.1`"),
        (Self::Version, "only HTTP/1.1, HTTP/1.0 and HTTP/2 are spoken here"),
        (Self::Method, "the method is not a plain upper-case word"),
        (Self::MethodCase, "methods are case-sensitive: write it in upper case, as in PATCH"),
        (Self::Target, "the request target holds a character that must be percent-encoded"),
        (Self::FoldedLine, "a header field is folded over lines"),
        (Self::FieldName, "a header field's name is not a token followed by a colon"),
        (Self::FieldValue, "a header field's value holds a control character"),
        (Self::Host, "there must be exactly one Host field"),
        (Self::ContentLength, "there must be at most one Content-Length, a plain number"),
        (Self::TransferEncoding, "Transfer-Encoding must be exactly `chunked`, once, in HTTP/1.1"),
        (Self::TwoLengths, "Content-Length and Transfer-Encoding exclude each other"),
        (Self::ConnectBody, "CONNECT has no body"),
        (Self::HeadTooLarge, "the request's head is too large"),
        (Self::TooManyFields, "the request has too many header fields"),
    ];

    fn refused(index: usize, limits: &Limits) -> Refused {
        match Self::ALL.get(index) {
            Some((Self::HeadTooLarge | Self::TooManyFields, text)) => {
                let Limits { head_bytes, headers, .. } = limits;
                Refused::new(Reason::TooLarge, format!("{text}: at most {head_bytes} bytes and {headers} fields may pass"))
            }
            Some((_, text)) => Refused::new(Reason::MalformedRequest, *text),
            None => Refused::new(Reason::MalformedRequest, "the method is not a plain upper-case word"),
        }
        .place(Place::Head)
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|(violation, _)| *violation == self).unwrap_or(Self::ALL.len())
    }

    /// What hyper reads instead of the head that was not valid.
    pub(super) fn stand_in(self) -> Vec<u8> {
        let index = self.index();
        format!("{VIOLATION} /{index} HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n").into_bytes()
    }
}

/// The refusal that a stand-in stands for.
pub(crate) fn violation(parts: &Parts, limits: &Limits) -> Option<Refused> {
    (parts.method.as_str() == VIOLATION).then(|| Violation::refused(parts.uri.path()[1..].parse().unwrap_or(usize::MAX), limits))
}

/// The bounds of a head that came over HTTP/2, counted as HTTP/1.1 would write it.
pub(crate) fn check_head(parts: &Parts, limits: &Limits) -> Result<(), Refused> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = parts.method.as_str().len() + target + " HTTP/1.1\r\n\r\n".len() + 1;
    let host = parts.uri.authority().map_or(0, |authority| authority.as_str().len() + "host: \r\n".len());
    let violation = if line + host + headers::size(&parts.headers) > limits.head_bytes {
        Violation::HeadTooLarge
    } else if parts.headers.len() > limits.headers {
        Violation::TooManyFields
    } else {
        return Ok(());
    };
    Err(Violation::refused(violation.index(), limits))
}
