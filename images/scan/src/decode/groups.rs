//! Groups of four base64 digits as three bytes, many at a time.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u8x64, u32x16};

use crate::vectors::within;

/// Digits that are decoded together.
const BLOCK: usize = 64;

/// What a block is written as: of each sixteen bytes the last four are overwritten.
const WRITTEN: usize = BLOCK / 4 * 3 + 4;

/// Decodes digits of either alphabet from the beginning of `digits` to that of `out`, and tells how many: as long as there are many, and
/// room for all that is written.
pub(super) fn decode(level: Level, digits: &[u8], out: &mut [u8]) -> usize {
    dispatch!(level, simd => blocks(simd, digits, out))
}

#[inline(always)]
fn blocks<S: Simd>(simd: S, digits: &[u8], out: &mut [u8]) -> usize {
    let mut done = 0;
    for block in digits.as_chunks::<BLOCK>().0 {
        let Some(out) = out.get_mut(done / 4 * 3..done / 4 * 3 + WRITTEN) else { break };
        let packed = pack(simd, values(u8x64::simd_from(simd, *block)));
        for (i, four_groups) in packed.as_slice().as_chunks::<16>().0.iter().enumerate() {
            out[12 * i..12 * i + 16].copy_from_slice(four_groups);
        }
        done += BLOCK;
    }
    done
}

/// The values of digits; zero for what is none.
#[inline(always)]
fn values<S: Simd>(bytes: u8x64<S>) -> u8x64<S> {
    let none = u8x64::splat(bytes.token(), 0);
    let range = |first: u8, count: u8, value: u8| within(bytes, first, count).select(bytes - first + value, none);
    let signs = |one: u8, other: u8, value: u8| (bytes.simd_eq(one) | bytes.simd_eq(other)).select(none + value, none);
    range(b'A', 26, 0) | range(b'a', 26, 26) | range(b'0', 10, 52) | signs(b'+', b'-', 62) | signs(b'/', b'_', 63)
}

/// Four values of six bits become three bytes, the first of them the upper ones; of each sixteen bytes the first twelve count.
#[inline(always)]
fn pack<S: Simd>(simd: S, values: u8x64<S>) -> u8x64<S> {
    /// The bytes of each group, which a little endian number has the wrong way round.
    const ORDER: [u8; 16] = [2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 15, 15, 15, 15];
    let groups: u32x16<S> = values.bitcast();
    let bits = (groups & 0x3f) << 18 | (groups & 0x3f00) << 4 | (groups & 0x003f_0000) >> 10 | groups >> 24;
    let bytes: u8x64<S> = bits.bitcast();
    bytes.swizzle_dyn_within_blocks(u8x64::block_splat(u8x16::simd_from(simd, ORDER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::levels;

    #[test]
    fn all_digits_at_all_places_are_decoded_as_one_by_one() {
        let digits: Vec<u8> = (0..=255_u8).filter(|&byte| super::super::base64::is_digit(byte)).collect();
        for shift in 0..digits.len() {
            let text: Vec<u8> = digits.iter().cycle().skip(shift).step_by(7).take(3 * BLOCK + 9).copied().collect();
            let mut plain = Vec::new();
            for group in text.chunks_exact(4) {
                super::super::base64::run(group, &mut plain);
            }
            for level in levels() {
                let mut out = vec![0; text.len() / 4 * 3];
                let done = decode(level, &text, &mut out);
                assert_eq!((done, &out[..done / 4 * 3]), (3 * BLOCK, &plain[..done / 4 * 3]), "{level:?}");
            }
        }
    }
}
