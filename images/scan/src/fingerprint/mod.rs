//! A bottle's own secrets as keyed fingerprints: enough to recognise them, not enough to read them.
//!
//! Of each form of a secret ([`forms`]) only two things are kept: a few 32-bit keyed hashes of eight-byte windows from
//! its middle, and a keyed SHA-256 of the whole. A window's hash finds a place cheaply, the SHA-256 decides.
//!
//! What this does not hide: whoever takes the sidecar over has the key too, so a secret that can be guessed can be
//! confirmed, and the bytes under the windows can be searched for. That is why windows cover as little as speed allows,
//! and why a secret is recognised as a whole: the digest of a small part would be a small thing to search for.

mod config;
mod filter;
mod fingerprints;
mod forms;
mod hash;

pub(crate) use filter::Filter;
pub use fingerprints::{Fingerprints, Weak};

/// The forms of `secret` by which it is recognised, itself among them: for whoever must take it out of a text. They are
/// the secret; wipe them.
pub fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    forms::of(secret).into_iter().map(|(_, bytes)| bytes).collect()
}

/// The same, each with the name of its encoding as in [`crate::Finding::encodings`]; the secret itself comes first, without one.
pub(crate) fn named_forms_of(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    forms::of(secret).into_iter().map(|(kind, bytes)| (forms::KINDS[usize::from(kind)], bytes)).collect()
}
