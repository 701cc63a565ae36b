//! The fingerprints themselves, and how they are computed.

use serde::{Deserialize, Serialize};

use super::forms;
use super::hash::{Hash, WINDOW, digest, stride, window};
use crate::entropy::entropy;

/// Longer secrets are known by parts of half this length, so that a part of a key file that leaves on its own is found too.
const MAX_WHOLE: usize = 64;

/// Fingerprints of all forms of all secrets of one bottle. Serialisable; holds no secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    #[serde(default, with = "hexadecimal")]
    pub(super) key: [u8; 32],
    #[serde(default)]
    pub(super) forms: Vec<Form>,
}

/// The fingerprint of one form, that is one encoding (plain, base64, …) of a secret or of a part of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    /// It belongs to a honeytoken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) honey: bool,
    /// Index in [`forms::KINDS`].
    pub(super) kind: u8,
    pub(super) length: u32,
    /// Where in the form the first window begins.
    pub(super) at: u32,
    /// Hashes of `stride` windows, each starting one byte after the last: a text probed every `stride` bytes meets one of them.
    pub(super) windows: Vec<u32>,
    #[serde(with = "hexadecimal")]
    pub(super) digest: [u8; 32],
}

/// Why a secret cannot be recognised in traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// Shorter than [`Fingerprints::MIN_LEN`]: it would be found in harmless text.
    TooShort,
    /// Fewer than four different bytes, or a word like `password`: it would be found in harmless text.
    TooPlain,
}

impl std::fmt::Display for Weak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooShort => "it is shorter than 8 bytes, so it would be found in harmless text",
            Self::TooPlain => "it is a common word or repeats the same few characters, so it would be found in harmless text",
        })
    }
}

impl Fingerprints {
    /// The fewest bytes of a secret that can be recognised.
    pub const MIN_LEN: usize = 8;

    /// Makes fingerprints of `secrets` under a random `key` of this bottle. White space around a secret does not count.
    /// Secrets that are [`weak`](Self::weak) are left out: the caller checks each one, and warns.
    pub fn of(key: [u8; 32], secrets: &[&[u8]]) -> Self {
        let mut fingerprints = Self { key, forms: Vec::new() };
        fingerprints.add(secrets, false);
        fingerprints
    }

    /// Adds values that were put into the bottle as bait: found anywhere, they are reported as `honeytoken`.
    pub fn with_honeytokens(mut self, tokens: &[&[u8]]) -> Self {
        self.add(tokens, true);
        self
    }

    /// Why `secret` would be left out, if it would.
    pub fn weak(secret: &[u8]) -> Option<Weak> {
        let secret = secret.trim_ascii();
        if secret.len() < Self::MIN_LEN {
            return Some(Weak::TooShort);
        }
        let mut different = secret.to_vec();
        different.sort_unstable();
        different.dedup();
        const PLAIN: [&[u8]; 8] =
            [b"password", b"localhost", b"username", b"changeme", b"anonymous", b"undefined", b"12345678", b"postgres"];
        (different.len() < 4 || PLAIN.contains(&secret)).then_some(Weak::TooPlain)
    }

    /// True when there is nothing to recognise.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Adds every form of every part of the secrets that are not weak. A form that is already known keeps its first owner: a secret is never
    /// taken for a honeytoken.
    fn add(&mut self, secrets: &[&[u8]], honey: bool) {
        for part in secrets.iter().filter(|s| Self::weak(s).is_none()).flat_map(|s| parts(s.trim_ascii())) {
            for (kind, bytes) in forms::of(part) {
                let form = self.fingerprint(honey, kind, &bytes);
                if self.forms.iter().all(|other| other.digest != form.digest) {
                    self.forms.push(form);
                }
            }
        }
    }

    fn fingerprint(&self, honey: bool, kind: u8, bytes: &[u8]) -> Form {
        let stride = stride(bytes.len());
        // From the middle: the beginnings of tokens are published, and would be found wherever they are talked about.
        let at = (bytes.len() - (WINDOW + stride - 1)) / 2;
        let hash = Hash::new(&self.key);
        let windows = (at..at + stride).map(|start| hash.of(window(bytes, start))).collect();
        Form { honey, kind, length: bytes.len() as u32, at: at as u32, windows, digest: digest(&self.key, bytes) }
    }
}

/// The whole secret, or for a long one the parts of it that are nobody else's.
fn parts(secret: &[u8]) -> Vec<&[u8]> {
    let length = secret.len();
    if length <= MAX_WHOLE {
        return vec![secret];
    }
    // Of a token in three parts, or of a key file, the beginning is the same for everybody.
    let signature = secret.iter().rposition(|&b| b == b'.').filter(|_| secret.starts_with(b"eyJ"));
    let own = &secret[signature.map_or(length / 2, |dot| dot + 1)..];
    let lines = own.split(|b| b.is_ascii_whitespace()).filter(|line| !line.starts_with(b"-----"));
    let found: Vec<&[u8]> = lines.flat_map(|line| line.chunks(MAX_WHOLE / 2)).filter(|part| is_random(part)).collect();
    if found.is_empty() { vec![&secret[length - MAX_WHOLE / 2..]] } else { found }
}

/// True when a generator must have made it: names and addresses, which a key file holds too, stand in harmless text.
fn is_random(part: &[u8]) -> bool {
    let entropy = entropy(part);
    let mixed = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase].iter().all(|class| part.iter().any(class));
    let hex = part.iter().all(u8::is_ascii_hexdigit) && part.iter().filter(|b| b.is_ascii_digit()).count() > 4;
    part.len() >= 16 && !contains(part, b"AAAAAA") && (mixed && entropy >= 0.8 * (part.len() as f64).log2() || hex && entropy >= 3.0)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprints({} forms)", self.forms.len())
    }
}

/// Thirty-two bytes as text.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("64 hexadecimal digits are expected"));
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}
