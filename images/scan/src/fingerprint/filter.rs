//! The search for fingerprints: a text is probed at every eighth byte, or more often when a secret is short.

use super::fingerprints::{Fingerprints, Form};
use super::hash::{Hash, SLOTS, WINDOW, digest, window};

/// Fingerprints, ready to search for.
pub(crate) struct Filter {
    key: [u8; 32],
    hash: Hash,
    forms: Vec<Form>,
    /// How many bytes apart a text is probed: what the shortest form asks for.
    stride: usize,
    /// A bit for each upper half of a window's hash, and one for each lower half.
    bits: Box<[u32; SLOTS / 32]>,
    lower: Box<[u32; SLOTS / 32]>,
    /// Window hash, form and the window's place in it; sorted.
    windows: Vec<(u32, u32, u32)>,
}

/// What was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognised {
    pub(crate) at: usize,
    pub(crate) length: usize,
    pub(crate) honey: bool,
    pub(crate) kind: &'static str,
    /// The rest of the secret may stand beside it.
    pub(crate) is_part: bool,
}

impl Recognised {
    /// All of one of the bottle's own secrets, as it is.
    pub(crate) fn is_whole(&self) -> bool {
        !self.honey && !self.is_part && self.kind.is_empty()
    }
}

impl Filter {
    pub(crate) fn new(fingerprints: Fingerprints) -> Result<Self, String> {
        let (mut bits, mut lower) = (Box::new([0u32; SLOTS / 32]), Box::new([0u32; SLOTS / 32]));
        let mut windows = Vec::new();
        let mut stride = 8;
        for (index, form) in fingerprints.forms.iter().enumerate() {
            let last = form.at as usize + form.windows.len() + WINDOW - 1;
            if form.windows.is_empty() || last > form.length as usize || usize::from(form.kind) >= super::forms::KINDS.len() {
                return Err("the fingerprints are damaged".to_owned());
            }
            stride = stride.min(if form.windows.len() < 4 { 1 } else { form.windows.len() & !3 });
            for (i, &window) in form.windows.iter().enumerate() {
                bits[window as usize >> 21] |= 1 << (window >> 16 & 31);
                lower[window as usize % SLOTS / 32] |= 1 << (window % 32);
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
        let mut at = 0;
        while let Some(place) = match self.stride {
            8 => self.eighth(bytes, at),
            4 => self.next::<4>(bytes, at),
            _ => self.next::<1>(bytes, at),
        } {
            let known = self.confirm(bytes, place);
            if known.is_some() {
                return known;
            }
            at = place + self.stride;
        }
        None
    }

    /// The first multiple of eight, from the multiple of eight `at` on, where a window of a form may stand.
    #[inline(never)]
    fn eighth(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let (eights, _) = bytes.as_chunks::<WINDOW>();
        let may_stand = |eight: &[u8; WINDOW]| {
            let slot = self.hash.slot(u64::from_le_bytes(*eight));
            self.bits[slot / 32] >> (slot % 32) & 1 != 0
        };
        eights.get(at / WINDOW..)?.iter().position(may_stand).map(|found| at + found * WINDOW)
    }

    /// The first place, `STRIDE` after `STRIDE` from `at` on, where a window of a form may stand.
    #[inline(never)]
    fn next<const STRIDE: usize>(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        while let Some(eight) = bytes.get(at..at + WINDOW) {
            let slot = self.hash.slot(window(eight, 0));
            if self.bits[slot / 32] >> (slot % 32) & 1 != 0 {
                return Some(at);
            }
            at += STRIDE;
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn confirm(&self, bytes: &[u8], at: usize) -> Option<Recognised> {
        let hash = self.hash.of(window(bytes, at));
        if self.lower[hash as usize % SLOTS / 32] >> (hash % 32) & 1 == 0 {
            return None;
        }
        let first = self.windows.partition_point(|(window, _, _)| *window < hash);
        self.windows[first..].iter().take_while(|(window, _, _)| *window == hash).find_map(|&(_, form, place)| {
            let form = &self.forms[form as usize];
            let start = at.checked_sub(place as usize)?;
            let text = bytes.get(start..start + form.length as usize)?;
            (digest(&self.key, text) == form.digest).then(|| Recognised {
                at: start,
                length: form.length as usize,
                honey: form.honey,
                is_part: form.part,
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
