//! Whether decoded bytes are worth a look as text.

use crate::decode::magic;
use crate::prefilter;

/// True when a stretch of it could be a token: sixteen bytes in a row that text is made of; or compressed data.
pub(super) fn has_text(bytes: &[u8]) -> bool {
    prefilter::runs::<8>(bytes, is_text_byte).next().is_some() || magic::starts(bytes, false).next().is_some()
}

/// Printable ASCII, line ends, tabs, and the zeros of UTF-16.
fn is_text_byte(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') < 95) | (byte == b'\n') | (byte == b'\r') | (byte == b'\t') | (byte == 0)
}

/// True when most of it is UTF-8.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to() > bytes.len() / 2, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_of_text_are_seen_wherever_they_stand() {
        for before in 0..40 {
            for count in [15, 16, 17, 40] {
                let bytes = [vec![0x81; before], vec![b'a'; count], vec![0x81; 5]].concat();
                assert_eq!(has_text(&bytes), count >= 16, "{count} behind {before}");
            }
        }
    }
}
