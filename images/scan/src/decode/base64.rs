//! Base64 in both alphabets (RFC 4648, sections 4 and 5), padded or not.

/// What is not a digit.
const NONE: u8 = 0xff;

/// Both alphabets in one: `+` and `-` are 62, `/` and `_` are 63.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < 26 {
        values[b'A' as usize + i] = i as u8;
        values[b'a' as usize + i] = i as u8 + 26;
        i += 1;
    }
    let mut i = 0;
    while i < 10 {
        values[b'0' as usize + i] = i as u8 + 52;
        i += 1;
    }
    values[b'+' as usize] = 62;
    values[b'-' as usize] = 62;
    values[b'/' as usize] = 63;
    values[b'_' as usize] = 63;
    values
};

/// True for a digit of either alphabet.
pub(crate) fn is_digit(byte: u8) -> bool {
    VALUES[usize::from(byte)] != NONE
}

/// Decodes a run of digits, and the whole bytes of an unfinished last group.
pub(crate) fn run(digits: &[u8], out: &mut Vec<u8>) {
    let (groups, rest) = digits.as_chunks::<4>();
    let start = out.len();
    out.resize(start + groups.len() * 3, 0);
    for (group, to) in groups.iter().zip(out[start..].as_chunks_mut::<3>().0) {
        let value = |i: usize| u32::from(VALUES[usize::from(group[i])] & 63);
        let bits = value(0) << 18 | value(1) << 12 | value(2) << 6 | value(3);
        *to = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
    }
    let bits = rest.iter().fold(0u32, |bits, &b| bits << 6 | u32::from(VALUES[usize::from(b)] & 63));
    match rest.len() {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend([(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    }
}

/// Decodes a whole text that is nothing but base64.
pub(crate) fn strict(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    (text.iter().all(|&b| is_digit(b)) && text.len() % 4 != 1).then(|| run(text, &mut out))?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard_decode() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(strict(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(strict(b"-_-_"), strict(b"+/+/"));
        assert_eq!(strict(b"Zg=a"), None);
    }
}
