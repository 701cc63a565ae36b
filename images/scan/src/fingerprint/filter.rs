//! The search for fingerprints: a text is probed at every eighth byte, or more often where a secret is short.

use super::{Fingerprints, Form, WINDOW, digest, window};

/// How many bytes apart a form of this length lets a text be probed: its windows cover at most half of it.
pub(super) fn stride(length: usize) -> usize {
    match length {
        30.. => 8,
        22.. => 4,
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

    pub(super) fn of(self, window: u64) -> u32 {
        let mixed = (window ^ self.mask).wrapping_mul(self.first);
        ((mixed ^ mixed >> 32).wrapping_mul(self.second) >> 32) as u32
    }
}

const SLOTS: usize = 1 << 16;

/// The forms that are probed for at the same distance.
#[derive(Debug)]
struct Lane {
    stride: usize,
    /// A bit for each upper half of a window's hash.
    bits: Box<[u64; SLOTS / 64]>,
    /// Window hash, form and the window's place in it; sorted.
    windows: Vec<(u32, u32, u32)>,
}

/// Fingerprints, ready to search for.
pub(crate) struct Filter {
    key: [u8; 32],
    hash: Hash,
    forms: Vec<Form>,
    lanes: Vec<Lane>,
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
        let mut lanes = Vec::new();
        for stride in [8, 4, 1] {
            let mut lane = Lane { stride, bits: Box::new([0; SLOTS / 64]), windows: Vec::new() };
            for (index, form) in fingerprints.forms.iter().enumerate().filter(|(_, form)| form.windows.len() == stride) {
                let fits = form.at as usize + stride - 1 + WINDOW <= form.length as usize;
                if !fits || usize::from(form.kind) >= super::forms::KINDS.len() {
                    return Err("the fingerprints are damaged".to_owned());
                }
                for (i, &window) in form.windows.iter().enumerate() {
                    lane.bits[window as usize >> 22] |= 1 << (window >> 16 & 63);
                    lane.windows.push((window, index as u32, form.at + i as u32));
                }
            }
            lane.windows.sort_unstable();
            if !lane.windows.is_empty() {
                lanes.push(lane);
            }
        }
        if fingerprints.forms.iter().any(|form| !matches!(form.windows.len(), 1 | 4 | 8)) {
            return Err("the fingerprints are damaged".to_owned());
        }
        Ok(Self { hash: Hash::new(&fingerprints.key), key: fingerprints.key, forms: fingerprints.forms, lanes })
    }

    /// The first recognised form in the order of the lanes.
    pub(crate) fn search(&self, bytes: &[u8]) -> Option<Recognised> {
        self.lanes.iter().find_map(|lane| {
            let mut at = 0;
            while let Some(chunk) = bytes.get(at..at + WINDOW) {
                let hash = self.hash.of(window(chunk, 0));
                if lane.bits[hash as usize >> 22] >> (hash >> 16 & 63) & 1 != 0
                    && let Some(found) = self.confirm(lane, hash, bytes, at)
                {
                    return Some(found);
                }
                at += lane.stride;
            }
            None
        })
    }

    #[cold]
    #[inline(never)]
    fn confirm(&self, lane: &Lane, hash: u32, bytes: &[u8], at: usize) -> Option<Recognised> {
        let first = lane.windows.partition_point(|(window, _, _)| *window < hash);
        lane.windows[first..].iter().take_while(|(window, _, _)| *window == hash).find_map(|&(_, form, place)| {
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
