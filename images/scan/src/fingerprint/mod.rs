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
mod forms;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use filter::Filter;

/// The bytes of a window.
pub(crate) const WINDOW: usize = 8;

/// Longer secrets are known by pieces of half this length: a part of a key file that leaves alone is found too.
const PIECE: usize = 64;

/// Fingerprints of all forms of all secrets of one bottle. Serialisable; holds no secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    #[serde(default, with = "hexadecimal")]
    key: [u8; 32],
    #[serde(default)]
    forms: Vec<Form>,
}

/// The fingerprint of one form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// It belongs to a honeytoken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    honey: bool,
    /// Index in [`forms::KINDS`].
    kind: u8,
    length: u32,
    /// Where in the form the first window begins.
    at: u32,
    /// Hashes of as many windows, each one byte further. A text is probed at every so many bytes.
    windows: Vec<u32>,
    #[serde(with = "hexadecimal")]
    digest: [u8; 32],
}

/// The forms of `secret` by which it is recognised, itself among them: for whoever must take it out of a text. They are
/// the secret; wipe them.
pub fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    forms::of(secret).into_iter().map(|(_, bytes)| bytes).collect()
}

/// Why a secret cannot be recognised in traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// Shorter than [`Fingerprints::SHORTEST`]: it would be found in harmless text.
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
    pub const SHORTEST: usize = 8;

    /// Makes fingerprints of `secrets` under a random `key` of this bottle. White space around a secret does not count.
    /// Secrets that are [`weak`](Self::weak) are left out: ask for each, and warn.
    pub fn of(key: [u8; 32], secrets: &[&[u8]]) -> Self {
        let mut made = Self { key, forms: Vec::new() };
        made.add(secrets, false);
        made
    }

    /// Adds values that were put into the bottle as bait: found anywhere, they are reported as `honeytoken`.
    pub fn with_honeytokens(mut self, tokens: &[&[u8]]) -> Self {
        self.add(tokens, true);
        self
    }

    /// Why `secret` would be left out, if it would.
    pub fn weak(secret: &[u8]) -> Option<Weak> {
        let secret = secret.trim_ascii();
        if secret.len() < Self::SHORTEST {
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

    fn add(&mut self, secrets: &[&[u8]], honey: bool) {
        for piece in secrets.iter().filter(|s| Self::weak(s).is_none()).flat_map(|s| pieces(s.trim_ascii())) {
            for (kind, bytes) in forms::of(piece) {
                let form = self.fingerprint(honey, kind, &bytes);
                if self.forms.iter().all(|other| other.digest != form.digest) {
                    self.forms.push(form);
                }
            }
        }
    }

    fn fingerprint(&self, honey: bool, kind: u8, bytes: &[u8]) -> Form {
        let stride = filter::stride(bytes.len());
        // From the middle: the beginnings of tokens are published, and would be found wherever they are talked about.
        let at = (bytes.len() - (WINDOW + stride - 1)) / 2;
        let hash = filter::Hash::new(&self.key);
        let windows = (at..at + stride).map(|start| hash.of(window(bytes, start))).collect();
        Form { honey, kind, length: bytes.len() as u32, at: at as u32, windows, digest: digest(&self.key, bytes) }
    }
}

/// The whole secret, or for a long one the pieces of it that are nobody else's.
fn pieces(secret: &[u8]) -> Vec<&[u8]> {
    let length = secret.len();
    if length <= PIECE {
        return vec![secret];
    }
    // Of a token in three parts, or of a key file, the beginning is the same for everybody.
    let signature = secret.iter().rposition(|&b| b == b'.').filter(|_| secret.starts_with(b"eyJ"));
    let own = &secret[signature.map_or(length / 2, |dot| dot + 1)..];
    let lines = own.split(|b| b.is_ascii_whitespace()).filter(|line| !line.starts_with(b"-----"));
    let found: Vec<&[u8]> = lines.flat_map(|line| line.chunks(PIECE / 2)).filter(|piece| is_random(piece)).collect();
    if found.is_empty() { vec![&secret[length - PIECE / 2..]] } else { found }
}

/// True when a generator must have made it: names and addresses, which a key file holds too, stand in harmless text.
fn is_random(piece: &[u8]) -> bool {
    let entropy = crate::rules::validate::entropy(piece);
    let mixed = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase].iter().all(|class| piece.iter().any(class));
    let hex = piece.iter().all(u8::is_ascii_hexdigit) && piece.iter().filter(|b| b.is_ascii_digit()).count() > 4;
    piece.len() >= 16 && !contains(piece, b"AAAAAA") && (mixed && entropy >= 0.8 * (piece.len() as f64).log2() || hex && entropy >= 3.0)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

fn window(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; WINDOW];
    eight.copy_from_slice(&bytes[at..at + WINDOW]);
    u64::from_le_bytes(eight)
}

fn digest(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    // A fixed-length key in front, and lengths compared before: no extension of SHA-256 helps anyone here.
    Sha256::new().chain_update(key).chain_update(bytes).finalize().into()
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
