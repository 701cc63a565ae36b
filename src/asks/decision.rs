//! A person's decision, and whether it counts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plain_text::plain;
use super::question::Question;

/// Hexadecimal digits of the hash that a decision must name at least.
pub const MIN_HASH_DIGITS: usize = 16;
/// The longest lease, in seconds: a day. What should last longer lasts as long as the bottle.
pub const MAX_LEASE_SECONDS: u64 = 86_400;
/// The most requests of a lease.
pub const MAX_LEASE_USES: u32 = 10_000;

/// How long a grant lasts. Every grant ends with its bottle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// Seconds.
    For(u64),
    /// Requests.
    Uses(u32),
    /// As long as the bottle.
    Bottle,
}

/// A lease, for people.
pub fn in_words(lease: Lease) -> String {
    match lease {
        Lease::For(seconds) => format!("for {seconds} s"),
        Lease::Uses(1) => "once".to_owned(),
        Lease::Uses(uses) => format!("for {uses} requests"),
        Lease::Bottle => "as long as the bottle".to_owned(),
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes, for so long.
    Yes(Lease),
    /// No.
    No,
}

/// A decision as it comes from a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Which question: `web.3`.
    pub ask: String,
    /// The first digits of its hash, [`MIN_HASH_DIGITS`] or more.
    pub hash: String,
    /// Yes or no.
    pub verdict: Verdict,
    /// The host, typed by the person, where a credential would be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The person's reason; the agent hears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A signature over the whole hash (`ssh-keygen -Y sign`, namespace `ask@bottle`), armoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Who has signed, by the name in the file of signers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// No question has this name, or it was closed long ago.
    Unknown,
    /// It was answered, has expired, or was taken back.
    Closed,
    /// The hash is shorter than [`MIN_HASH_DIGITS`], or not hexadecimal.
    HashTooShort,
    /// It is of another question: what was shown has changed.
    HashDiffers,
    /// A credential would be sent: the host must be typed.
    HostMissing,
    /// The host that was typed is another.
    HostDiffers,
    /// The lease is empty or too long.
    BadLease,
    /// A grant needs a signature.
    SignatureMissing,
    /// No signer of this bottle made the signature.
    SignatureBad,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such question",
            Self::Closed => "it is closed already: the first valid answer counts",
            Self::HashTooShort => "the hash must have at least 16 hexadecimal digits",
            Self::HashDiffers => "the hash is of something else: what would be granted is not what was shown",
            Self::HostMissing => "it would send a credential, so the host must be typed",
            Self::HostDiffers => "the host that was typed is another one",
            Self::BadLease => "a lease is from 1 second to 24 hours, or from 1 to 10000 requests",
            Self::SignatureMissing => "a grant needs a signature of one of this bottle's signers",
            Self::SignatureBad => "no signer of this bottle made that signature over this hash",
        })
    }
}

impl Decision {
    /// Judges the decision against the question that is open now. The signature is judged by whoever can run `ssh-keygen`.
    pub(super) fn judge(&self, question: &Question) -> Result<(), Rejected> {
        let hash = self.hash.to_ascii_lowercase();
        if hash.len() < MIN_HASH_DIGITS || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Rejected::HashTooShort);
        }
        if !question.hash().starts_with(&hash) {
            return Err(Rejected::HashDiffers);
        }
        let Verdict::Yes(lease) = self.verdict else { return Ok(()) };
        match lease {
            Lease::For(seconds) if !(1..=MAX_LEASE_SECONDS).contains(&seconds) => return Err(Rejected::BadLease),
            Lease::Uses(uses) if !(1..=MAX_LEASE_USES).contains(&uses) => return Err(Rejected::BadLease),
            Lease::For(_) | Lease::Uses(_) | Lease::Bottle => {}
        }
        match (&self.host, &question.candidate.sends) {
            (None, Some(_)) => Err(Rejected::HostMissing),
            (Some(host), _) if *host != question.scope.host.to_string() => Err(Rejected::HostDiffers),
            _ => Ok(()),
        }
    }

    /// The person's reason, as the agent hears it.
    pub(super) fn plain_reason(&self) -> Option<String> {
        self.reason.as_deref().map(plain).filter(|reason| !reason.is_empty())
    }
}
