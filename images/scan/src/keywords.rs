//! One pass over the bytes that finds every place where a keyword of a rule stands.
//!
//! A table answers, for any four bytes, "may a keyword have these at its offset o or o + 1?". Since both offsets are in
//! the table it is enough to look at every second position: no chain of dependent loads, and rarely taken branches.
//! What passes is compared byte for byte.

/// A keyword's place in the list that [`Keywords::new`] was given.
pub(crate) type KeywordId = u16;

/// 2^13 words of 32 bits are 32 KiB, which a first-level cache holds.
const TABLE_BITS: u32 = 13;

/// A keyword as it may stand around a sampled position.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    keyword: KeywordId,
    /// From the keyword's first byte to the sampled window; -1 where the window begins one byte earlier.
    offset: i8,
}

#[derive(Debug)]
struct Entry {
    bytes: Box<[u8]>,
    case_sensitive: bool,
}

/// The set of keywords, ready to search.
#[derive(Debug)]
pub(crate) struct Keywords {
    /// By hash of three bytes: a bit for the low five bits of each fourth byte that may follow.
    table: Box<[u32; 1 << TABLE_BITS]>,
    /// By the same hash: where its candidates are.
    starts: Box<[u16]>,
    placed: Vec<Candidate>,
    entries: Vec<Entry>,
}

/// Upper and lower case letters fall together; so do a few signs, which the comparison sorts out.
const FOLD: u32 = 0x2020_2020;

fn slot(three: u32) -> usize {
    ((three << 8).wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize
}

/// How common a byte is in text and code: windows of rare bytes make fewer false candidates.
fn commonness(byte: u8) -> u32 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' | b'-' => 4,
        b'a'..=b'z' | b'.' | b'/' | b':' => 3,
        b'A'..=b'Z' => 2,
        _ => 1,
    }
}

impl Keywords {
    /// Keywords of at least three bytes, each with whether its case counts.
    pub(crate) fn new(keywords: &[(Vec<u8>, bool)]) -> Self {
        let mut placed: Vec<(usize, u32, Candidate)> = Vec::new();
        for (id, (bytes, _)) in keywords.iter().enumerate() {
            let keyword = KeywordId::try_from(id).unwrap_or(KeywordId::MAX);
            let three = |at: usize| slot(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]) | FOLD);
            let exactly = |at: usize| 1 << (bytes[at] & 31);
            match bytes.len() {
                0..3 => {}
                3 => {
                    placed.push((three(0), u32::MAX, Candidate { keyword, offset: 0 }));
                    for before in 0..=255 {
                        let hash = slot(u32::from_le_bytes([before, bytes[0], bytes[1], 0]) | FOLD);
                        placed.push((hash, exactly(2), Candidate { keyword, offset: -1 }));
                    }
                }
                4 => {
                    placed.push((three(0), exactly(3), Candidate { keyword, offset: 0 }));
                    placed.push((three(1), u32::MAX, Candidate { keyword, offset: 1 }));
                }
                length => {
                    let cost = |at: usize| -> u32 { bytes[at..at + 5].iter().map(|&b| commonness(b)).sum() };
                    let best = (0..=(length - 5).min(100)).min_by_key(|&at| cost(at)).unwrap_or(0);
                    for at in [best, best + 1] {
                        placed.push((three(at), exactly(at + 3), Candidate { keyword, offset: at as i8 }));
                    }
                }
            }
        }
        placed.sort_by_key(|(hash, _, candidate)| (*hash, candidate.keyword, candidate.offset));
        placed.dedup_by_key(|(hash, _, candidate)| (*hash, candidate.keyword, candidate.offset));
        let mut table = Box::new([0u32; 1 << TABLE_BITS]);
        let mut starts = vec![0u16; (1 << TABLE_BITS) + 1].into_boxed_slice();
        for (hash, bits, _) in &placed {
            table[*hash] |= bits;
            starts[hash + 1] += 1;
        }
        for hash in 0..1 << TABLE_BITS {
            starts[hash + 1] += starts[hash];
        }
        let entries = keywords
            .iter()
            .map(|(bytes, case_sensitive)| Entry { bytes: bytes.clone().into_boxed_slice(), case_sensitive: *case_sensitive })
            .collect();
        Self { table, starts, placed: placed.into_iter().map(|(_, _, candidate)| candidate).collect(), entries }
    }

    /// Calls `found` with each keyword and the place of its first byte, in the order of the sampled positions.
    pub(crate) fn search<E>(&self, bytes: &[u8], mut found: impl FnMut(KeywordId, usize) -> Result<(), E>) -> Result<(), E> {
        self.candidates(bytes).into_iter().try_for_each(|at| self.compare(bytes, at as usize, &mut found))
    }

    fn passes(&self, four: u32) -> bool {
        let four = four | FOLD;
        self.table[slot(four)] >> (four >> 24 & 31) & 1 != 0
    }

    /// All even positions that may be a keyword's. They are few, and kept apart from what is done about them: nothing
    /// else competes for the registers of this loop, in which a scan spends most of its time.
    #[inline(never)]
    fn candidates(&self, bytes: &[u8]) -> Vec<u32> {
        let mut places = Vec::new();
        let mut at = 0;
        // Eight windows begin in sixteen bytes; the last reaches two bytes beyond.
        while let Some(chunk) = bytes.get(at..at + 18) {
            for i in 0..8 {
                if self.passes(u32::from_le_bytes([chunk[2 * i], chunk[2 * i + 1], chunk[2 * i + 2], chunk[2 * i + 3]])) {
                    places.push((at + 2 * i) as u32);
                }
            }
            at += 16;
        }
        // The tail, as if zeros followed. A window that begins one byte before the bytes cannot hold a keyword's start
        // at its second byte, for sampling begins at 0.
        places.extend((at..bytes.len()).step_by(2).filter(|&at| self.passes(tail(bytes, at))).map(|at| at as u32));
        places
    }

    #[cold]
    #[inline(never)]
    fn compare<E>(&self, bytes: &[u8], at: usize, found: &mut impl FnMut(KeywordId, usize) -> Result<(), E>) -> Result<(), E> {
        let hash = slot(tail(bytes, at) | FOLD);
        for candidate in &self.placed[usize::from(self.starts[hash])..usize::from(self.starts[hash + 1])] {
            let Some(start) = at.checked_add_signed(-isize::from(candidate.offset)) else { continue };
            let entry = &self.entries[usize::from(candidate.keyword)];
            let Some(text) = bytes.get(start..start + entry.bytes.len()) else { continue };
            if text[0] | 0x20 == entry.bytes[0] | 0x20
                && if entry.case_sensitive { text == &*entry.bytes } else { text.eq_ignore_ascii_case(&entry.bytes) }
            {
                found(candidate.keyword, start)?;
            }
        }
        Ok(())
    }
}

/// Four bytes, or as many as there are.
fn tail(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0u8; 4];
    for (to, from) in four.iter_mut().zip(&bytes[at..]) {
        *to = *from;
    }
    u32::from_le_bytes(four)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(keywords: &[&str], text: &[u8]) -> Vec<(u16, usize)> {
        let keywords: Vec<(Vec<u8>, bool)> = keywords.iter().map(|k| (k.as_bytes().to_vec(), false)).collect();
        let mut all = Vec::new();
        Keywords::new(&keywords)
            .search(text, |id, at| {
                all.push((id, at));
                Ok::<(), ()>(())
            })
            .unwrap();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_keyword_is_found_once_at_every_place_it_can_stand() {
        let keywords = ["abc", "wxyz", "-----BEGIN", "secret_access_key"];
        for (id, keyword) in keywords.iter().enumerate() {
            for before in 0..24 {
                for after in 0..12 {
                    let text = format!("{}{keyword}{}", "#".repeat(before), "#".repeat(after));
                    assert_eq!(places(&keywords, text.as_bytes()), [(id as u16, before)], "{text}");
                    assert_eq!(places(&keywords, text.to_uppercase().as_bytes()), [(id as u16, before)], "{text}");
                }
            }
        }
    }

    #[test]
    fn many_keywords_are_found_as_a_plain_search_finds_them() {
        let keywords: Vec<String> = (0..300).map(|i| format!("k{i:03}{}", "_z".repeat(i % 5))).collect();
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        let text: String = (0..2000).map(|i| format!("k{:03}{}", i * 7 % 400, "_z".repeat(i % 7))).collect();
        let mut plain = Vec::new();
        for (id, keyword) in keywords.iter().enumerate() {
            plain.extend((0..text.len()).filter(|&at| text[at..].starts_with(keyword)).map(|at| (id as u16, at)));
        }
        plain.sort_unstable();
        assert_eq!(places(&keywords, text.as_bytes()), plain);
    }
}
