//! A few keywords, by three bytes of each of them: the filter of Teddy (Hyperscan's), in vectors of the width that the processor has.
//!
//! Windows are kept in eight buckets. For each place of a window, and for each half of the byte there, a table of sixteen tells in which
//! buckets that is expected; what all six agree on is compared byte for byte. Windows of one bucket should be alike, and rare in text.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u8x64};

use super::{Entry, FOLD, KeywordId, commonness};

/// The bytes of a window.
const WINDOW: usize = 3;

const BUCKETS: usize = 8;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// More windows do not fit into the buckets well.
const FEW: usize = 32;

/// The largest part of the places in a text that may be taken for a window's: a table finds more keywords faster.
const MOST: f64 = 0.01;

/// The keywords, ready to search.
#[derive(Debug)]
pub(crate) struct Few {
    level: Level,
    /// By place in a window: the buckets that expect the lower half of a byte, and the upper half.
    halves: [[[u8; 16]; 2]; WINDOW],
    /// Sorted.
    windows: Vec<Window>,
    entries: Vec<Entry>,
}

/// Three bytes, and the keywords that they stand in: how far from their beginning.
#[derive(Debug)]
struct Window {
    bytes: [u8; WINDOW],
    keywords: Vec<(KeywordId, usize)>,
}

/// The halves of bytes that one bucket expects, by place: a bit for each.
type Bucket = [[u16; 2]; WINDOW];

impl Few {
    /// Keywords of at least three bytes, each with whether its case counts. None where a table finds them faster with what a processor of
    /// this level has.
    pub(crate) fn new(level: Level, keywords: &[(Vec<u8>, bool)]) -> Option<Self> {
        // It has no instruction that looks up sixteen bytes in a table.
        #[cfg(target_arch = "x86_64")]
        if matches!(level, Level::Sse2(_)) {
            return None;
        }
        let windows = windows(keywords)?;
        let buckets = buckets(&windows);
        if buckets.iter().map(|(_, chance)| chance).sum::<f64>() > MOST {
            return None;
        }
        let expect = |place: usize, half: usize, value: usize| {
            buckets.iter().enumerate().fold(0, |bits, (i, (bucket, _))| bits | ((bucket[place][half] >> value & 1) as u8) << i)
        };
        let halves = std::array::from_fn(|place| std::array::from_fn(|half| std::array::from_fn(|value| expect(place, half, value))));
        Some(Self { level, halves, windows, entries: Entry::all(keywords) })
    }

    /// Calls `found` with each keyword and the place of its first byte, in the order of their windows.
    pub(crate) fn search<E>(&self, bytes: &[u8], mut found: impl FnMut(KeywordId, usize) -> Result<(), E>) -> Result<(), E> {
        let mut places = Vec::new();
        dispatch!(self.level, simd => self.candidates(simd, bytes, &mut places));
        places.into_iter().try_for_each(|at| self.compare(bytes, at as usize, &mut found))
    }

    #[inline(always)]
    fn candidates<S: Simd>(&self, simd: S, bytes: &[u8], places: &mut Vec<u32>) {
        let mut at = 0;
        while let Some(block) = bytes.get(at..at + BLOCK + WINDOW - 1) {
            self.block(simd, block, at, places);
            at += BLOCK;
        }
        // Zeros follow the last bytes, which no window holds.
        let rest = &bytes[at..];
        let mut last = [0; 2 * BLOCK + WINDOW - 1];
        last[..rest.len()].copy_from_slice(rest);
        self.block(simd, &last, at, places);
        self.block(simd, &last[BLOCK..], at + BLOCK, places);
    }

    #[inline(always)]
    fn block<S: Simd>(&self, simd: S, block: &[u8], at: usize, places: &mut Vec<u32>) {
        let mut agree = u8x64::splat(simd, 0xff);
        for (place, [low, high]) in self.halves.iter().enumerate() {
            let bytes = u8x64::from_slice(simd, &block[place..place + BLOCK]) | FOLD;
            let table = |half: &[u8; 16]| u8x64::block_splat(u8x16::simd_from(simd, *half));
            agree = agree & table(low).swizzle_dyn_within_blocks(bytes & 15) & table(high).swizzle_dyn_within_blocks(bytes >> 4);
        }
        let mut left = agree.simd_gt(0).to_bitmask();
        while left != 0 {
            places.push((at + left.trailing_zeros() as usize) as u32);
            left &= left - 1;
        }
    }

    fn compare<E>(&self, bytes: &[u8], at: usize, found: &mut impl FnMut(KeywordId, usize) -> Result<(), E>) -> Result<(), E> {
        let Some(three) = bytes.get(at..at + WINDOW) else { return Ok(()) };
        let three = [three[0] | FOLD, three[1] | FOLD, three[2] | FOLD];
        let Ok(known) = self.windows.binary_search_by_key(&three, |window| window.bytes) else { return Ok(()) };
        for &(keyword, before) in &self.windows[known].keywords {
            if let Some(start) = at.checked_sub(before).filter(|&start| self.entries[usize::from(keyword)].stands_at(bytes, start)) {
                found(keyword, start)?;
            }
        }
        Ok(())
    }
}

/// A window of each keyword: one that is there already, or the rarest. None if they are more than a few.
fn windows(keywords: &[(Vec<u8>, bool)]) -> Option<Vec<Window>> {
    let mut windows: Vec<Window> = Vec::new();
    for (keyword, (bytes, _)) in (0..).zip(keywords) {
        let all = || bytes.windows(WINDOW).enumerate();
        let folded = |three: &[u8]| [three[0] | FOLD, three[1] | FOLD, three[2] | FOLD];
        let known = all().find_map(|(at, three)| Some((windows.iter().position(|window| window.bytes == folded(three))?, at)));
        let place = known.or_else(|| {
            // A byte that is there three times is often there many times.
            let rule = |three: &[u8]| three[0] == three[1] && three[1] == three[2];
            let cost = |three: &[u8]| (rule(three), three.iter().map(|&byte| u64::from(commonness(byte))).product::<u64>());
            let (at, three) = all().min_by_key(|(_, three)| cost(three))?;
            windows.push(Window { bytes: folded(three), keywords: Vec::new() });
            Some((windows.len() - 1, at))
        });
        let (index, at) = place?;
        windows[index].keywords.push((keyword, at));
        if windows.len() > FEW {
            return None;
        }
    }
    windows.sort_unstable_by_key(|window| window.bytes);
    Some(windows)
}

/// Windows in buckets, so that as little of a text as possible is taken for them.
fn buckets(windows: &[Window]) -> Vec<(Bucket, f64)> {
    let with_chance = |bucket: Bucket| (bucket, chance(&bucket));
    let single = |window: &Window| with_chance(window.bytes.map(|byte| [1 << (byte & 15), 1 << (byte >> 4)]));
    let mut buckets: Vec<(Bucket, f64)> = windows.iter().map(single).collect();
    while buckets.len() > BUCKETS {
        let mut best = (f64::INFINITY, 0, 0);
        for (j, b) in buckets.iter().enumerate() {
            for (i, a) in buckets[..j].iter().enumerate() {
                let more = chance(&together(&a.0, &b.0)) - a.1 - b.1;
                if more < best.0 {
                    best = (more, i, j);
                }
            }
        }
        let (_, i, j) = best;
        buckets[i] = with_chance(together(&buckets[i].0, &buckets[j].0));
        buckets.swap_remove(j);
    }
    buckets
}

fn together(a: &Bucket, b: &Bucket) -> Bucket {
    std::array::from_fn(|place| std::array::from_fn(|half| a[place][half] | b[place][half]))
}

/// The part of the places in a text that a bucket takes for one of its windows.
fn chance(bucket: &Bucket) -> f64 {
    let bits = |set: u16| (0..16).filter(move |bit| set >> bit & 1 == 1);
    bucket.iter().map(|[low, high]| bits(*high).flat_map(|h| bits(*low).map(move |l| COMMON[h << 4 | l])).sum::<f64>()).product()
}

/// How common a folded byte is.
const COMMON: [f64; 256] = {
    let mut common = [0.0; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        common[(byte | FOLD) as usize] += commonness(byte) as f64 / 1000.0;
        byte += 1;
    }
    common
};
