//! Private keys in PEM text, whatever stands before, between or behind their lines: line numbers, quotes, marks of a diff, time stamps.
//!
//! Two checks. [`is_encoded_key`] reads the first bytes of a key, which no certificate and no public key shares, so no BEGIN line is
//! needed. [`is_key_body`] reads what follows a BEGIN line: lines of one width are joined, and may then be any kind of key, PGP and
//! encrypted ones included.

use crate::decode::base64;
use crate::entropy::entropy;

/// The fewest base64 characters of a line, so narrow wrapping is joined too.
const MIN_WIDTH: usize = 8;

/// The widths of lines that need not begin like a key. PEM uses 64 (RFC 7468), OpenSSH 70, PGP up to 76; a prefix that ends in a base64
/// character makes them longer. Fingerprints (43) and hashes are narrower.
const WIDTHS: std::ops::RangeInclusive<usize> = 48..=100;

/// The most base64 characters that a prefix may end in, as `+` or the end of `\u2192` does.
const MAX_PREFIX: usize = 8;

/// The fewest joined characters of a key: those of an Ed25519 key in PKCS #8 are 64.
const MIN_BODY: usize = 56;

/// In bits for each character. OpenSSH's keys begin with 56 characters of 3.7, those of other keys have 4.1 and more, a placeholder of one letter 1.7.
const MIN_ENTROPY: f64 = 3.5;

/// How far after a BEGIN line the first line of a body of unknown kind may begin: two header lines (RFC 1421) and a few prefixes.
const MAX_FIRST_LINE_OFFSET: usize = 640;

/// What OpenSSH's own format begins with (PROTOCOL.key).
const OPENSSH: &[u8] = b"openssh-key-v1\0";

/// True when base64 characters begin like a private key.
pub(super) fn is_encoded_key(digits: &[u8]) -> bool {
    let Some(bytes) = base64::strict(&digits[..digits.len().min(96) / 4 * 4]) else { return false };
    digits.len() >= MIN_BODY && entropy(digits) >= MIN_ENTROPY && (bytes.starts_with(OPENSSH) || is_der_key(&bytes).unwrap_or(false))
}

/// True when what follows a BEGIN line is a private key.
pub(super) fn is_key_body(text: &[u8]) -> bool {
    // A key may be cut off before its END line: the block after it, perhaps a certificate, is not part of it.
    let text = before(before(text, b"-----BEGIN"), b"-----END");
    let runs = runs(text);
    let lines: Vec<_> = runs.iter().filter(|run| WIDTHS.contains(&run.digits.len())).collect();
    // A long path in front of each line is a run between two lines.
    (0..runs.len()).any(|first| begins_like_a_key(&runs[first..]))
        || [1, 2].iter().any(|step| lines.iter().zip(lines.iter().skip(*step)).any(|(one, two)| are_lines_of_a_key(one, two)))
}

/// The text before the first `mark`; all of it when there is none.
fn before<'t>(text: &'t [u8], mark: &[u8]) -> &'t [u8] {
    memchr::memmem::find(text, mark).map_or(text, |at| &text[..at])
}

/// A run of base64 characters, where it begins, and whether padding follows.
struct Run<'t> {
    at: usize,
    digits: &'t [u8],
    is_padded: bool,
}

fn runs(text: &[u8]) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < text.len() {
        // The letter of an escaped line end or tab belongs to no run.
        if text[at] == b'\\' && matches!(text.get(at + 1), Some(b'n' | b'r' | b't')) {
            at += 2;
            continue;
        }
        let end = base64::end(text, at);
        if end - at >= MIN_WIDTH {
            runs.push(Run { at, digits: &text[at..end], is_padded: text.get(end) == Some(&b'=') });
        }
        at = end.max(at + 1);
    }
    runs
}

/// True when the first run, joined with the later ones of its width, begins like a key. The last line of a short key is
/// narrower than the others.
fn begins_like_a_key(runs: &[Run<'_>]) -> bool {
    let [first, rest @ ..] = runs else { return false };
    let width = first.digits.len();
    let joined = |prefix: usize, is_line: &dyn Fn(usize) -> bool| {
        let mut joined = first.digits[prefix..].to_vec();
        for line in rest.iter().filter(|run| run.digits.len() > prefix && is_line(run.digits.len())) {
            if joined.len() >= MIN_BODY {
                break;
            }
            joined.extend_from_slice(&line.digits[prefix..]);
        }
        joined
    };
    (0..=MAX_PREFIX.min(width - MIN_WIDTH))
        .filter(|&prefix| matches!(first.digits[prefix..], [b'M', b'A'..=b'I', ..] | [b'b', b'3', ..]))
        .any(|prefix| {
            is_encoded_key(&joined(prefix, &|length| length == width)) || is_encoded_key(&joined(prefix, &|length| length <= width))
        })
}

/// True for two lines of the same width, neither of which is made up of words.
fn are_lines_of_a_key(one: &Run<'_>, two: &Run<'_>) -> bool {
    one.at <= MAX_FIRST_LINE_OFFSET
        && one.digits.len() == two.digits.len()
        && [one, two].iter().all(|line| !line.is_padded && looks_random(line.digits))
}

/// True for upper case, lower case and numbers without words: in random base64 one pair of neighbours in six is lower case, in words and
/// paths most are. The blob of a public SSH key begins with a small length (RFC 4253, section 6.6), and a checksum in HTML with its name.
fn looks_random(digits: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| digits.iter().any(is);
    let words = digits.windows(2).filter(|pair| pair.iter().all(u8::is_ascii_lowercase)).count();
    has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && words * 5 < digits.len() * 2
        && !digits.starts_with(b"AAAA")
        && !digits.starts_with(b"sha")
}

/// Reads the head of a private key in DER: PKCS #1 and DSA (version, INTEGER), SEC 1 (RFC 5915: version, OCTET STRING), PKCS #8 (RFC 5958:
/// version, algorithm), and encrypted PKCS #8 (an algorithm of PKCS #5 or PKCS #12). Certificates, requests and public keys begin
/// otherwise, and so do PKCS #12 files.
fn is_der_key(bytes: &[u8]) -> Option<bool> {
    let content = header(bytes, 0x30)?;
    if let Some(algorithm) = header(content, 0x30) {
        let oid = header(algorithm, 0x06)?;
        return Some(
            [&b"\x2a\x86\x48\x86\xf7\x0d\x01\x05"[..], b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c"].iter().any(|arc| oid.starts_with(arc)),
        );
    }
    let [0x02, 0x01, 0 | 1, key @ ..] = content else { return None };
    Some(match key {
        // Shorter numbers are no modulus and no prime.
        [0x02, 0x40..=0x7f | 0x81 | 0x82, ..] => true,
        [0x04, 20..=0x42, ..] => true,
        [0x30, ..] => header(key, 0x30)?.first() == Some(&0x06),
        _ => false,
    })
}

/// What stands behind a tag and its length.
fn header(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    match bytes {
        [first, 0x82, _, _, rest @ ..] | [first, 0x81, _, rest @ ..] | [first, 0..=0x7f, rest @ ..] if *first == tag => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_private_keys_are_told_from_those_of_everything_else() {
        let tail = "q7Xw2mVb9Zt4Rk8LpHs0Nc5Jy3Gd6Fa1Qe7Xw2mVb9Zt4Rk8LpHs0Nc5Jy3Gd";
        let is_key = |head: &str| is_encoded_key(format!("{head}{tail}").as_bytes());
        for head in [
            "MIIEowIBAAKCAQEA",                     // RSA
            "MIICXAIBAAKBgQC7",                     // RSA, 1024 bits
            "MIIBuwIBAAKBgQD9",                     // DSA
            "MHcCAQEEIGk3",                         // P-256
            "MIGkAgEBBDA3",                         // P-384
            "MIHcAgEBBEIB",                         // P-521
            "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw", // RSA in PKCS #8
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH", // P-256 in PKCS #8
            "MC4CAQAwBQYDK2VwBCIE",                 // Ed25519
            "MIIFHDBOBgkqhkiG9w0BBQ0w",             // encrypted
            "b3BlbnNzaC1rZXktdjEAAAAABG5v",         // OpenSSH
        ] {
            assert!(is_key(head), "{head}");
        }
        for head in [
            "MIIDdzCCAl+gAwIBAgIE",                 // certificate
            "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIB", // public key
            "MIIBCgKCAQEA",                         // RSA public key
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", // P-256 public key
            "MCowBQYDK2VwAyEA",                     // Ed25519 public key
            "MIICvDCCAaQCAQAw",                     // certificate request
            "MIIKKQIBAzCCCeUGCSqGSIb3DQEHAaCC",     // PKCS #12
            "MEUCIQDx",                             // ECDSA signature
            "MIAGCSqGSIb3DQEHAqCA",                 // signed message
            "AAAAB3NzaC1yc2EAAAAD",                 // SSH public key
        ] {
            assert!(!is_key(head), "{head}");
        }
    }
}
