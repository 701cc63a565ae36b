//! Secrets: read once, wiped when dropped, never shown; and the headers that they go into.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use bottle_contract::route::Auth;
use bottle_policy::credential_header::{self, Unfit};
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// A longer secret is a mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// A shorter part of a secret is not blanked by itself: it would occur by chance.
const MIN_PART_BYTES: usize = 8;

/// A credential ready to be put into requests. It has no `Debug`, on purpose.
pub struct Credential {
    /// The header that it goes into.
    pub header: HeaderName,
    /// The header's value, marked sensitive.
    pub value: HeaderValue,
    /// What must not reach the agent.
    pub redactor: Arc<Redactor>,
}

/// The byte strings that are blanked in what an upstream says. It has no `Debug`, on purpose.
pub struct Redactor {
    strings: Vec<Zeroizing<Vec<u8>>>,
    /// Finds them, of two that begin at one place the longer. None if there is nothing to find.
    finder: Option<AhoCorasick>,
    /// Their prefixes, sorted, and whose each is.
    prefixes: Vec<([u8; Redactor::PREFIX_BYTES], usize)>,
    /// A bit for the hash of so many bytes wherever they stand in one of them. A text that ends with none of these ends with no
    /// beginning of one, however long.
    inner: Box<[u64; 512]>,
    /// The length of the longest.
    longest: usize,
}

impl Default for Redactor {
    /// Nothing to hide.
    fn default() -> Self {
        Self { strings: Vec::new(), finder: None, prefixes: Vec::new(), inner: Box::new([0; 512]), longest: 0 }
    }
}

impl Redactor {
    /// So many bytes tell the beginning of a secret from other text. Fewer would occur by chance at the end of every other message.
    pub const PREFIX_BYTES: usize = 4;

    /// For what is worth blanking: each string in every form in which an upstream may say it back.
    pub fn new(strings: impl IntoIterator<Item = Vec<u8>>) -> anyhow::Result<Self> {
        let mut all: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for string in strings.into_iter().map(Zeroizing::new).filter(|string| !string.is_empty()) {
            lock_in_memory(&string);
            // The forms of a short one would occur by chance.
            let forms = if string.len() < MIN_PART_BYTES { Vec::new() } else { bottle_scan::fingerprint::forms_of(&string) };
            for form in std::iter::once(string).chain(forms.into_iter().map(Zeroizing::new)) {
                if !all.contains(&form) {
                    all.push(form);
                }
            }
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(all.iter().map(|string| string.as_slice()));
        let finder = finder.ok().context("a secret cannot be looked for in answers")?;
        let prefixes = all.iter().enumerate().filter_map(|(index, string)| Some((*string.first_chunk()?, index)));
        let mut prefixes: Vec<_> = prefixes.collect();
        prefixes.sort_unstable();
        let mut inner = Box::new([0; 512]);
        for bytes in all.iter().flat_map(|string| string.array_windows()) {
            let (word, bit) = place(bytes);
            inner[word] |= 1 << bit;
        }
        let longest = all.iter().map(|string| string.len()).max().unwrap_or_default();
        Ok(Self { finder: (!all.is_empty()).then_some(finder), strings: all, prefixes, inner, longest })
    }

    /// Each of them, in every form.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        self.strings.iter().map(|string| string.as_slice())
    }

    /// The length of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// How many bytes at the end may be the beginning of one of them; none, if they are fewer than [`PREFIX_BYTES`](Self::PREFIX_BYTES).
    pub fn pending_bytes(&self, bytes: &[u8]) -> usize {
        let is_within = |bytes: &[u8; Self::PREFIX_BYTES]| {
            let (word, bit) = place(bytes);
            self.inner[word] >> bit & 1 == 1
        };
        if !bytes.last_chunk().is_some_and(is_within) {
            return 0;
        }
        let first = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |end: &[u8]| {
            let Some(beginning) = end.first_chunk() else { return false };
            let from = self.prefixes.partition_point(|(other, _)| other < beginning);
            let mut candidates = self.prefixes[from..].iter().take_while(|(other, _)| other == beginning);
            candidates.any(|&(_, index)| self.strings[index].len() > end.len() && self.strings[index].starts_with(end))
        };
        let mut prefixes = bytes[first..].array_windows().enumerate();
        let found = prefixes.find(|(at, beginning)| is_within(beginning) && begins(&bytes[first + at..]));
        found.map_or(0, |(at, _)| bytes.len() - first - at)
    }

    /// Whether one of them occurs.
    pub fn occurs(&self, bytes: &[u8]) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_match(bytes))
    }

    /// Puts asterisks over every occurrence; returns how many there were.
    pub fn blank(&self, bytes: &mut [u8]) -> usize {
        let Some(finder) = &self.finder else { return 0 };
        let places: Vec<_> = finder.find_iter(&*bytes).map(|found| found.range()).collect();
        for place in &places {
            bytes[place.clone()].fill(b'*');
        }
        places.len()
    }
}

/// The word and the bit of the hash of some bytes.
fn place(bytes: &[u8; Redactor::PREFIX_BYTES]) -> (usize, u32) {
    let hash = u32::from_le_bytes(*bytes).wrapping_mul(0x9e37_79b1) >> 17;
    ((hash >> 6) as usize, hash & 63)
}

/// Locks the pages of a secret into memory, where the limit allows it (`RLIMIT_MEMLOCK`, 8 MiB on most systems). Best
/// effort: what is copied on its way into a request, and what the kernel writes when the machine hibernates, is not
/// bound by it.
#[expect(unsafe_code, reason = "a lock on memory is asked for by address")]
fn lock_in_memory(secret: &[u8]) {
    // SAFETY: mlock(2) reads and writes no memory; the address and length are those of a live slice, and a lock that
    // outlives it only keeps a page in memory that another value may use.
    let _ = unsafe { rustix::mm::mlock(secret.as_ptr().cast_mut().cast(), secret.len()) };
}

/// Reads the secret of a slot, without the newline that editors and `echo` leave at its end.
pub fn read(directory: &Path, slot: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let fail = |why: &str| format!("the secret in slot {slot:?} {why}");
    let unreadable = || fail("cannot be read");
    let plain = !slot.is_empty() && !slot.starts_with('.') && slot.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !plain {
        bail!(fail("has no plain file name"));
    }
    let file = std::fs::File::open(directory.join(slot)).with_context(unreadable)?;
    let size = file.metadata().with_context(unreadable)?.len();
    if size > MAX_SECRET_BYTES {
        bail!(fail("is too large"));
    }
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 1));
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret).with_context(unreadable)?;
    while matches!(secret.last(), Some(b'\n' | b'\r')) {
        secret.pop();
    }
    if secret.is_empty() {
        bail!(fail("is empty"));
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

/// Makes the header of a route's credential.
pub fn credential(auth: &Auth, secret: &[u8]) -> anyhow::Result<Credential> {
    let header = credential_header::parse(&auth.header).map_err(|unfit| match unfit {
        Unfit::NotAName => anyhow!("{:?} is not a header's name", auth.header),
        Unfit::Reserved => anyhow!("no credential can go into the header {}", auth.header),
    })?;
    let basic = auth.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let sent = if basic {
        Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(secret).into_bytes())
    } else {
        Zeroizing::new(secret.to_vec())
    };
    let mut text = Zeroizing::new(Vec::with_capacity(sent.len() + 64));
    if let Some(scheme) = &auth.scheme {
        text.extend_from_slice(scheme.as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(&sent);
    if !text.iter().all(|b| (b' '..=b'~').contains(b)) {
        bail!("the secret in slot {:?} holds characters that no header can carry", auth.slot);
    }
    let mut value =
        HeaderValue::from_bytes(&text).ok().with_context(|| format!("the secret in slot {:?} cannot be a header's value", auth.slot))?;
    value.set_sensitive(true);
    lock_in_memory(value.as_bytes());
    let password = secret.iter().position(|&b| b == b':').map(|at| &secret[at + 1..]).filter(|part| basic && part.len() >= MIN_PART_BYTES);
    let redactor = [Some(secret.to_vec()), Some(sent.to_vec()).filter(|_| basic), password.map(<[u8]>::to_vec)];
    Ok(Credential { header, value, redactor: Arc::new(Redactor::new(redactor.into_iter().flatten())?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(header: &str, scheme: Option<&str>) -> Auth {
        Auth { header: header.into(), scheme: scheme.map(Into::into), slot: "EGRESS_TOKEN_0".into() }
    }

    #[test]
    fn a_credential_is_written_as_its_scheme_wants() {
        let written = |header, scheme, secret: &str| {
            let made = credential(&auth(header, scheme), secret.as_bytes()).unwrap();
            let redactor: Vec<_> = made.redactor.strings().map(|s| String::from_utf8(s.to_vec()).unwrap()).collect();
            assert!(made.value.is_sensitive());
            // Of the many forms, those that the secret has as it is sent.
            let plain: Vec<_> =
                [secret, "dXNlcjpwYXNzd29yZA==", "password"].into_iter().filter(|s| redactor.iter().any(|h| h == s)).collect();
            (made.header.to_string(), made.value.to_str().unwrap().to_owned(), plain.join("|"))
        };
        assert_eq!(written("authorization", Some("Bearer"), "s3cr3t"), ("authorization".into(), "Bearer s3cr3t".into(), "s3cr3t".into()));
        assert_eq!(written("x-api-key", None, "s3cr3t"), ("x-api-key".into(), "s3cr3t".into(), "s3cr3t".into()));
        assert_eq!(
            written("authorization", Some("Basic"), "user:password"),
            ("authorization".into(), "Basic dXNlcjpwYXNzd29yZA==".into(), "user:password|dXNlcjpwYXNzd29yZA==|password".into())
        );
    }

    #[test]
    fn an_error_names_the_slot_and_never_the_secret() {
        for (header, secret) in
            [("host", "hunter2"), ("a b", "hunter2"), ("authorization", "hunter2\r\nx: y"), ("x-bottle-injected", "hunter2")]
        {
            let error = credential(&auth(header, None), secret.as_bytes()).err().unwrap();
            let shown = format!("{error:#} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_secret_is_read_without_its_last_newline() {
        let directory = tempfile::tempdir().unwrap();
        let of = |bytes: &[u8]| {
            std::fs::write(directory.path().join("SLOT"), bytes).unwrap();
            read(directory.path(), "SLOT").map(|secret| secret.to_vec()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(of(b"abc\n"), Ok(b"abc".to_vec()));
        assert_eq!(of(b"abc\r\n"), Ok(b"abc".to_vec()));
        assert_eq!(of(b" a\nbc"), Ok(b" a\nbc".to_vec()));
        assert_eq!(of(b"\n"), Err("the secret in slot \"SLOT\" is empty".into()));
        for slot in ["", "../SLOT", "/etc/passwd", ".", "a/b"] {
            let error = read(directory.path(), slot).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("the secret in slot {slot:?} has no plain file name"));
        }
    }
}
