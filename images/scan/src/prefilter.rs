//! Finds the places where a decoder may have work. What a coding looks like is the decoder's knowledge; how to skip what does not look
//! like it stands here.

use std::ops::Range;

/// The first `sign` from `from` on where `is_mark` holds.
pub(crate) fn mark(bytes: &[u8], from: usize, sign: u8, is_mark: impl Fn(usize) -> bool) -> Option<usize> {
    memchr::memchr_iter(sign, bytes.get(from..)?).map(|at| from + at).find(|&at| is_mark(at))
}

/// The first byte from `from` on that is not ASCII.
pub(crate) fn non_ascii(bytes: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 64;
    let rest = bytes.get(from..)?;
    let ascii = rest.chunks(BLOCK).take_while(|block| block.is_ascii()).count() * BLOCK;
    rest.get(ascii..)?.iter().position(|byte| !byte.is_ascii()).map(|at| from + ascii + at)
}

/// The runs of bytes that all belong together, of at least `2 * HALF` bytes. Each of them holds `HALF` bytes that begin at a multiple of
/// `HALF`, so no other place needs a closer look.
pub(crate) fn runs<const HALF: usize>(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut done = 0;
    bytes.as_chunks::<HALF>().0.iter().enumerate().filter_map(move |(i, half)| {
        let at = i * HALF;
        // All of them at once: a branch for each byte would be mispredicted at nearly every word of a text.
        if at < done || !half.iter().fold(true, |all, &byte| all & belongs(byte)) {
            return None;
        }
        let start = done + bytes[done..at].iter().rposition(|&byte| !belongs(byte)).map_or(0, |before| before + 1);
        done = end_of_run::<HALF>(bytes, at, &belongs);
        (done - start >= 2 * HALF).then_some(start..done)
    })
}

/// The end of the run that begins at `from`.
pub(crate) fn end_of_run<const HALF: usize>(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let (halves, _) = bytes[from..].as_chunks::<HALF>();
    let whole = halves.iter().take_while(|half| half.iter().fold(true, |all, &byte| all & belongs(byte))).count() * HALF;
    from + whole + bytes[from + whole..].iter().take_while(|&&byte| belongs(byte)).count()
}

/// Every sixteenth place at which the eight bytes may be part of a sequence: each sequence of 24 bytes holds one.
pub(crate) fn samples(bytes: &[u8], may_be_part: impl Fn(&[u8; 8]) -> bool) -> impl Iterator<Item = usize> {
    let eights = bytes.as_chunks::<8>().0.iter().step_by(2).enumerate();
    eights.filter(move |(_, eight)| may_be_part(eight)).map(|(i, _)| i * 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_byte_that_is_not_ascii_is_found_wherever_it_stands() {
        for before in 0..140 {
            for from in 0..=before {
                let text = [&vec![b'a'; before], "é".as_bytes(), &[b'z'; 70]].concat();
                assert_eq!(non_ascii(&text, from), Some(before), "behind {before}, from {from}");
            }
            assert_eq!(non_ascii(&vec![b'a'; before], 0), None);
        }
        assert_eq!(non_ascii(b"ab", 3), None);
    }

    #[test]
    fn a_sequence_is_sampled_wherever_it_stands() {
        for before in 0..40 {
            let text = [vec![b'.'; before], vec![b'x'; 23 + 8]].concat();
            let places: Vec<usize> = samples(&text, |eight| *eight == [b'x'; 8]).collect();
            assert!(!places.is_empty() && places.iter().all(|at| (before..before + 24).contains(at)), "behind {before}: {places:?}");
        }
    }

    proptest! {
        #[test]
        fn runs_are_those_that_a_plain_look_finds(parts in prop::collection::vec(("[a-z]{0,40}", "[ .]{1,3}"), 0..12)) {
            let text: String = parts.into_iter().flat_map(|(run, gap)| [run, gap]).collect();
            let mut plain = Vec::new();
            let mut start = 0;
            for run in text.split([' ', '.']) {
                if run.len() >= 16 {
                    plain.push(start..start + run.len());
                }
                start += run.len() + 1;
            }
            prop_assert_eq!(runs::<8>(text.as_bytes(), |byte| byte.is_ascii_lowercase()).collect::<Vec<_>>(), plain);
        }
    }
}
