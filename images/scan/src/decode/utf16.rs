//! UTF-16 of either order, recognised by the zero bytes of its ASCII characters.

use super::push_char;

/// A stretch of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    pub(crate) start: usize,
    /// Of units.
    pub(crate) count: usize,
    upper_first: bool,
}

/// The first zero byte from `from` on that may be half of an ASCII character of UTF-16: every second byte is zero, and the others are
/// not.
pub(crate) fn zero(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr(0, bytes.get(from..)?)?;
        match &bytes[at + 1..] {
            [1..=255, 0, 1..=255, 0, ..] => return Some(at),
            // Only the last of several zeros stands beside a character.
            rest => from = at + rest.iter().take_while(|byte| **byte == 0).count().max(1),
        }
    }
}

/// The UTF-16 texts, of either order, to which `zero`, a zero byte, can belong: in `x 0` it is the upper half of a
/// little-endian unit, in `0 x` that of a big-endian one.
pub(crate) fn around(bytes: &[u8], zero: usize) -> [Wide; 2] {
    let little = zero.saturating_sub(1);
    [
        Wide { start: little, count: if zero > 0 { units(&bytes[little..], false) } else { 0 }, upper_first: false },
        Wide { start: zero, count: units(&bytes[zero..], true), upper_first: true },
    ]
}

impl Wide {
    /// Where it ends.
    pub(crate) fn end(self) -> usize {
        self.start + self.count * 2
    }

    /// Appends the stretch as UTF-8.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<u8>) {
        for unit in bytes[self.start..].as_chunks::<2>().0.iter().take(self.count) {
            push_char(out, u32::from(if self.upper_first { u16::from_be_bytes(*unit) } else { u16::from_le_bytes(*unit) }));
        }
    }
}

/// How many units from the start look like text.
fn units(bytes: &[u8], upper_first: bool) -> usize {
    bytes
        .chunks_exact(2)
        .take_while(|unit| {
            let (upper, lower) = if upper_first { (unit[0], unit[1]) } else { (unit[1], unit[0]) };
            upper == 0 && (matches!(lower, b'\t' | b'\n' | b'\r') || lower >= 0x20) || upper == 0x20 && lower < 0x70
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_are_read() {
        for upper_first in [false, true] {
            let bytes: Vec<u8> = "ab_9".encode_utf16().flat_map(|u| if upper_first { u.to_be_bytes() } else { u.to_le_bytes() }).collect();
            let wide = around(&bytes, bytes.iter().position(|&b| b == 0).unwrap());
            let mut out = Vec::new();
            wide[usize::from(upper_first)].decode(&bytes, &mut out);
            assert_eq!(out, b"ab_9");
        }
    }
}
