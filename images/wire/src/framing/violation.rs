//! What is wrong with a head, and how the service hears of it through hyper.

use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use http::request::Parts;

/// A method that the recogniser of heads never lets through.
pub(super) const VIOLATION: &str = "!";

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    BareLineEnd,
    RequestLine,
    Version,
    Method,
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
    const ALL: [(Self, &'static str); 15] = [
        (Self::BareLineEnd, "a line does not end with CR LF"),
        (Self::RequestLine, "the request line is not `METHOD target HTTP/1.1`"),
        (Self::Version, "only HTTP/1.1, HTTP/1.0 and HTTP/2 are spoken here"),
        (Self::Method, "the method is not a plain upper-case word"),
        (Self::Target, "the request target holds a character that must be escaped"),
        (Self::FoldedLine, "a header field is folded over lines"),
        (Self::FieldName, "a header field's name is not a token followed by a colon"),
        (Self::FieldValue, "a header field's value holds a control character"),
        (Self::Host, "there must be exactly one Host field"),
        (Self::ContentLength, "there must be at most one Content-Length, a plain number"),
        (Self::TransferEncoding, "Transfer-Encoding must be exactly `chunked`, once, in HTTP/1.1"),
        (Self::TwoLengths, "Content-Length and Transfer-Encoding exclude each other"),
        (Self::ConnectBody, "CONNECT has no body"),
        (Self::HeadTooLarge, "the request's head is larger than this bottle allows"),
        (Self::TooManyFields, "the request has more header fields than this bottle allows"),
    ];

    fn refused(index: usize) -> Refused {
        match Self::ALL.get(index) {
            Some((Self::HeadTooLarge | Self::TooManyFields, text)) => Refused::new(Reason::TooLarge, *text),
            Some((_, text)) => Refused::new(Reason::MalformedRequest, *text),
            None => Refused::new(Reason::MalformedRequest, "the method is not a plain upper-case word"),
        }
        .place(Place::Head)
    }

    /// What hyper reads instead of the head that was not valid.
    pub(super) fn stand_in(self) -> Vec<u8> {
        let index = Self::ALL.iter().position(|(violation, _)| *violation == self).unwrap_or(Self::ALL.len());
        format!("{VIOLATION} /{index} HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n").into_bytes()
    }
}

/// The refusal that a stand-in stands for.
pub(crate) fn violation(parts: &Parts) -> Option<Refused> {
    (parts.method.as_str() == VIOLATION).then(|| Violation::refused(parts.uri.path()[1..].parse().unwrap_or(usize::MAX)))
}
