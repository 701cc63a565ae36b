//! A refusal.

use std::fmt;

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use bottle_scan::Known;
use http::StatusCode;

use crate::place::Place;

/// The verdict against a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable reason.
    pub reason: Reason,
    /// One sentence: what was refused. Untrusted text in it is escaped on display.
    pub message: String,
    /// The rule that decided. The operator sees it, the agent does not.
    pub rule: Option<String>,
    /// The place in the message.
    pub place: Option<Place>,
    /// What may be told of the value that was found. The operator sees it, the agent does not.
    pub known: Option<Box<Known>>,
}

impl Refused {
    /// A refusal without rule or place.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), rule: None, place: None, known: None }
    }

    /// Sets the rule.
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Sets the place.
    pub fn place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Sets what may be told of the value.
    pub fn known(mut self, known: Option<Known>) -> Self {
        self.known = known.map(Box::new);
        self
    }

    /// The status for the reason. Never 401 or 407: an agent would ask for a login.
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::AmbiguousTarget | Reason::MalformedRequest => StatusCode::BAD_REQUEST,
            Reason::OriginMismatch => StatusCode::MISDIRECTED_REQUEST,
            Reason::TooLarge if self.place == Some(Place::Head) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TooSlow if self.place == Some(Place::Upstream) => StatusCode::GATEWAY_TIMEOUT,
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
            | Reason::ApprovalPending
            | Reason::ApprovalDenied
            | Reason::GrantEnded
            | Reason::OpaqueTunnel
            | Reason::UpgradeNotAllowed
            | Reason::GitPushBypass
            | Reason::RefNotAllowed
            | Reason::CommitterNotAllowed
            | Reason::AddressNotPublic
            | Reason::MetadataAddress
            | Reason::SelfRequest => StatusCode::FORBIDDEN,
            // Agents treat a 401 or 403 from a model provider as a lost login; they show this one unchanged.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_looks_like_a_missing_login() {
        for &reason in Reason::ALL {
            let status = Refused::new(reason, "").status().as_u16();
            assert!(status >= 400 && status != 401 && status != 407, "{reason}");
        }
    }
}
