//! UTF-16 of either order, recognised by the zero bytes of its ASCII characters.

use super::push_char;

/// Decodes the UTF-16 text around `zero`, a zero byte, if there is one: a stretch of units of which every one that has
/// a zero half is ASCII. Returns where it ends.
pub(crate) fn around(bytes: &[u8], zero: usize, out: &mut Vec<u8>) -> usize {
    // In `x 0` the zero is the upper half of a little-endian unit, in `0 x` that of a big-endian one. Both are tried
    // from this zero on; the longer one is what it is.
    let little = zero.checked_sub(1).map_or(0, |start| units(&bytes[start..], false));
    let big = units(&bytes[zero..], true);
    let (start, count, upper_first) = if little >= big { (zero.saturating_sub(1), little, false) } else { (zero, big, true) };
    for unit in bytes[start..].chunks_exact(2).take(count) {
        push_char(
            out,
            u32::from(if upper_first { u16::from_be_bytes([unit[0], unit[1]]) } else { u16::from_le_bytes([unit[0], unit[1]]) }),
        );
    }
    (start + count * 2).max(zero + 1)
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
