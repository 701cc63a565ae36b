//! The search for fingerprints: a text is probed at every eighth byte, or more often when a secret is short.

use super::{Fingerprints, Form, WINDOW, digest, window};

/// How many bytes apart a form of this length lets a text be probed: its windows leave at least a third of it uncovered.
pub(super) fn stride(length: usize) -> usize {
    match length {
        24.. => 8,
        16.. => 4,
        _ => 1,
    }
}

/// A keyed hash of a window. Without the key nobody can build text that collides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash {
    mask: u64,
    first: u64,
    second: u64,
}

impl Hash {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let expanded = digest(key, b"window");
        // Odd factors, so that the products keep all of their input.
        Self { mask: window(&expanded, 0), first: window(&expanded, 8) | 1, second: window(&expanded, 16) | 1 }
    }

    /// The upper half of the hash, of which there are [`SLOTS`].
    fn slot(self, window: u64) -> usize {
        ((window ^ self.mask).wrapping_mul(self.first) >> 48) as usize
    }

    pub(super) fn of(self, window: u64) -> u32 {
        let mixed = (window ^ self.mask).wrapping_mul(self.first);
        (self.slot(window) as u32) << 16 | ((mixed ^ mixed >> 29).wrapping_mul(self.second) >> 48) as u32
    }
}

const SLOTS: usize = 1 << 16;

/// Fingerprints, ready to search for.
pub(crate) struct Filter {
    key: [u8; 32],
    hash: Hash,
    forms: Vec<Form>,
    /// How many bytes apart a text is probed: what the shortest form asks for.
    stride: usize,
    /// A bit for each upper half of a window's hash, and one for each lower half.
    bits: Box<[u64; SLOTS / 64]>,
    lower: Box<[u64; SLOTS / 64]>,
    /// Window hash, form and the window's place in it; sorted.
    windows: Vec<(u32, u32, u32)>,
}

/// What was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognised {
    pub(crate) at: usize,
    pub(crate) honey: bool,
    pub(crate) kind: &'static str,
}

impl Filter {
    pub(crate) fn new(fingerprints: Fingerprints) -> Result<Self, String> {
        let (mut bits, mut lower) = (Box::new([0; SLOTS / 64]), Box::new([0; SLOTS / 64]));
        let mut windows = Vec::new();
        let mut stride = 8;
        for (index, form) in fingerprints.forms.iter().enumerate() {
            let last = form.at as usize + form.windows.len() + WINDOW - 1;
            if form.windows.is_empty() || last > form.length as usize || usize::from(form.kind) >= super::forms::KINDS.len() {
                return Err("the fingerprints are damaged".to_owned());
            }
            stride = stride.min(form.windows.len());
            for (i, &window) in form.windows.iter().enumerate() {
                bits[window as usize >> 22] |= 1 << (window >> 16 & 63);
                lower[window as usize % SLOTS / 64] |= 1 << (window % 64);
                windows.push((window, index as u32, form.at + i as u32));
            }
        }
        windows.sort_unstable();
        Ok(Self { hash: Hash::new(&fingerprints.key), key: fingerprints.key, forms: fingerprints.forms, stride, bits, lower, windows })
    }

    /// The first form that is recognised.
    pub(crate) fn search(&self, bytes: &[u8]) -> Option<Recognised> {
        if self.forms.is_empty() {
            return None;
        }
        match self.stride {
            8 => self.probe::<8>(bytes),
            4..8 => self.probe::<4>(bytes),
            _ => self.probe::<1>(bytes),
        }
    }

    fn probe<const STRIDE: usize>(&self, bytes: &[u8]) -> Option<Recognised> {
        let mut at = 0;
        while let Some(chunk) = bytes.get(at..at + WINDOW) {
            let eight = window(chunk, 0);
            let slot = self.hash.slot(eight);
            if self.bits[slot / 64] >> (slot % 64) & 1 != 0
                && let hash = self.hash.of(eight)
                && self.lower[hash as usize % SLOTS / 64] >> (hash % 64) & 1 != 0
                && let Some(found) = self.confirm(hash, bytes, at)
            {
                return Some(found);
            }
            at += STRIDE;
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn confirm(&self, hash: u32, bytes: &[u8], at: usize) -> Option<Recognised> {
        let first = self.windows.partition_point(|(window, _, _)| *window < hash);
        self.windows[first..].iter().take_while(|(window, _, _)| *window == hash).find_map(|&(_, form, place)| {
            let form = &self.forms[form as usize];
            let start = at.checked_sub(place as usize)?;
            let text = bytes.get(start..start + form.length as usize)?;
            (digest(&self.key, text) == form.digest).then(|| Recognised {
                at: start,
                honey: form.honey,
                kind: super::forms::KINDS[usize::from(form.kind)],
            })
        })
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} forms)", self.forms.len())
    }
}
