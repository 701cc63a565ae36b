//! Base32 (RFC 4648, section 6), in either case.

/// The value of a digit.
fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    }
}

/// True for a digit.
pub(crate) fn is_digit(byte: u8) -> bool {
    value(byte).is_some()
}

/// Decodes a run of digits into whole bytes.
pub(crate) fn run(digits: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.iter().filter_map(|&b| value(b)) {
        bits = bits << 5 | u32::from(digit);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_vectors_of_the_standard_decode() {
        // RFC 4648, section 10.
        for (text, bytes) in [("MY", "f"), ("MZXQ", "fo"), ("MZXW6", "foo"), ("mzxw6yq", "foob"), ("MZXW6YTBOI", "foobar")] {
            let mut out = Vec::new();
            super::run(text.as_bytes(), &mut out);
            assert_eq!(out, bytes.as_bytes());
        }
    }
}
