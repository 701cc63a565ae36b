//! Limits that more than one part of a scan keeps.

/// The most layers of encoding that are undone. What is still encoded below them is not scannable.
pub(crate) const MAX_DEPTH: usize = 8;
