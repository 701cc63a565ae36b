//! Keyed hashes of windows, and the digest of a whole form.

use sha2::{Digest, Sha256};

/// The bytes of a window.
pub(super) const WINDOW: usize = 8;

/// Values of the upper half of a hash.
pub(super) const SLOTS: usize = 1 << 16;

/// How many bytes apart a form of this length lets a text be probed. Its windows then cover seven bytes more, and leave
/// at least half of it, or eight bytes of a short one, to the SHA-256 alone.
pub(super) fn stride(length: usize) -> usize {
    match length {
        32.. => 8,
        24.. => 4,
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
    pub(super) fn slot(self, window: u64) -> usize {
        ((window ^ self.mask).wrapping_mul(self.first) >> 48) as usize
    }

    pub(super) fn of(self, window: u64) -> u32 {
        let mixed = (window ^ self.mask).wrapping_mul(self.first);
        (self.slot(window) as u32) << 16 | ((mixed ^ mixed >> 29).wrapping_mul(self.second) >> 48) as u32
    }
}

pub(super) fn window(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; WINDOW];
    eight.copy_from_slice(&bytes[at..at + WINDOW]);
    u64::from_le_bytes(eight)
}

pub(super) fn digest(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    // A fixed-length key in front, and lengths compared before: no extension of SHA-256 helps anyone here.
    Sha256::new().chain_update(key).chain_update(bytes).finalize().into()
}
