//! Limits that more than one part of a scan keeps.

/// The most layers of encoding that are undone. What is still encoded below them is not scannable.
pub(crate) const MAX_DEPTH: usize = 8;

/// Decoded bytes that each scan may produce, beside [`EXPANSION`] times what was read.
const BASE_BUDGET: u64 = 8 << 20;

/// Three for the four alignments of base64, as much for what they hide, and the rest for compressed text.
const EXPANSION: u64 = 32;

/// Decoded bytes that a scan of so many bytes may produce.
pub(crate) fn budget(read: u64) -> u64 {
    BASE_BUDGET + EXPANSION * read
}
