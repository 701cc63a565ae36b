//! A few keywords, by four bytes of each of them: the filter of Teddy (Hyperscan's), in vectors of the width that the processor has.
//!
//! Windows are kept in eight buckets. For each place of a window, and for each half of the byte there, a table of sixteen tells in which
//! buckets that is expected; what all eight agree on is compared byte for byte. Windows of one bucket should be alike, and rare in text.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u8x64};

use super::{Entry, FOLD, FOLD4, KeywordId, commonness, four};

/// The bytes of a window; that of a shorter keyword has any byte at its end.
const WINDOW: usize = 4;

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
    windows: Vec<Window>,
    /// By [`slot`]: which windows may stand there.
    slots: Box<[u32; SLOTS]>,
    entries: Vec<Entry>,
}

/// Bytes of a text, folded, and the keywords that they stand in: how far from their beginning.
#[derive(Debug)]
struct Window {
    bytes: u32,
    /// Those of its bytes that count.
    mask: u32,
    keywords: Vec<(KeywordId, usize)>,
}

impl Window {
    fn of(bytes: &[u8]) -> Self {
        let mask = u32::MAX >> (8 * (WINDOW - bytes.len().min(WINDOW)));
        Self { bytes: (four(bytes, 0) | FOLD4) & mask, mask, keywords: Vec::new() }
    }

    fn is(&self, folded: u32) -> bool {
        folded & self.mask == self.bytes
    }

    /// What may stand at each place, by halves.
    fn bucket(&self) -> Bucket {
        let any = [u16::MAX; 2];
        let halves = |byte: u8| [1 << (byte & 15), 1 << (byte >> 4)];
        std::array::from_fn(|place| if self.mask.to_le_bytes()[place] == 0 { any } else { halves(self.bytes.to_le_bytes()[place]) })
    }
}

/// The places of a table by three bytes, which tells most of what is no window's.
const SLOTS: usize = 256;

fn slot(folded: u32) -> usize {
    ((folded << 8).wrapping_mul(0x9e37_79b1) >> 24) as usize
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
        let mut slots = Box::new([0; SLOTS]);
        for (i, window) in windows.iter().enumerate() {
            slots[slot(window.bytes)] |= 1 << i;
        }
        let expect = |place: usize, half: usize, value: usize| {
            buckets.iter().enumerate().fold(0, |bits, (i, (bucket, _))| bits | ((bucket[place][half] >> value & 1) as u8) << i)
        };
        let halves = std::array::from_fn(|place| std::array::from_fn(|half| std::array::from_fn(|value| expect(place, half, value))));
        Some(Self { level, halves, windows, slots, entries: Entry::all(keywords) })
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
        // Zeros follow the last bytes; folded they are spaces, and the comparison sorts them out.
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
        if at >= bytes.len() {
            return Ok(());
        }
        let folded = four(bytes, at) | FOLD4;
        let mut left = self.slots[slot(folded)];
        while left != 0 {
            let window = &self.windows[left.trailing_zeros() as usize];
            left &= left - 1;
            for &(keyword, before) in window.keywords.iter().filter(|_| window.is(folded)) {
                if let Some(start) = at.checked_sub(before).filter(|&start| self.entries[usize::from(keyword)].stands_at(bytes, start)) {
                    found(keyword, start)?;
                }
            }
        }
        Ok(())
    }
}

/// A window of each keyword: one that is there already, or the rarest. None if they are more than a few.
fn windows(keywords: &[(Vec<u8>, bool)]) -> Option<Vec<Window>> {
    let mut windows: Vec<Window> = Vec::new();
    for (keyword, (bytes, _)) in (0..).zip(keywords) {
        let all = || bytes.windows(WINDOW.min(bytes.len())).enumerate();
        let known = all().find_map(|(at, text)| {
            let new = Window::of(text);
            Some((windows.iter().position(|window| (window.bytes, window.mask) == (new.bytes, new.mask))?, at))
        });
        let place = known.or_else(|| {
            // A byte that is there three times is often there many times.
            let rule = |text: &[u8]| text.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]);
            let cost = |text: &[u8]| (rule(text), text.iter().map(|&byte| u64::from(commonness(byte))).product::<u64>());
            let (at, text) = all().min_by_key(|(_, text)| cost(text))?;
            windows.push(Window::of(text));
            Some((windows.len() - 1, at))
        });
        let (index, at) = place?;
        windows[index].keywords.push((keyword, at));
        if windows.len() > FEW {
            return None;
        }
    }
    Some(windows)
}

/// Windows in buckets, so that as little of a text as possible is taken for them.
fn buckets(windows: &[Window]) -> Vec<(Bucket, f64)> {
    let with_chance = |bucket: Bucket| (bucket, chance(&bucket));
    let mut buckets: Vec<(Bucket, f64)> = windows.iter().map(|window| with_chance(window.bucket())).collect();
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
