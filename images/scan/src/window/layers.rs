//! Layers that are made neither of marks nor of base64 characters: UTF-16 and compressed data.

use super::{Encoding, Stop, Unfinished, WindowScan};
use crate::decode::inflate::{Fed, Inflater};
use crate::decode::{magic, utf16};

/// The fewest units of UTF-16 that could be a token.
const MIN_UNITS: usize = 12;

impl WindowScan<'_> {
    /// UTF-16.
    pub(super) fn wide(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(zero) = utf16::zero(bytes, at) {
            at = zero + 1;
            for wide in utf16::around(bytes, zero) {
                if wide.count >= MIN_UNITS {
                    self.layer("utf-16", wide.start, |out| {
                        wide.decode(bytes, out);
                        true
                    })?;
                }
                at = at.max(wide.end());
            }
        }
        Ok(())
    }

    /// Compressed data. What may go on behind the window is left to the caller.
    pub(super) fn compressed(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for start in magic::starts(bytes, !self.layers.is_empty()) {
            if let Some(edge) = self.edge() {
                if !edge.open.contains(&(self.base + start.at as u64)) {
                    let encoding = Encoding::Compressed(start.coding);
                    self.unfinished.push(Unfinished { at: start.at, data: start.data, encoding });
                }
                continue;
            }
            let room = usize::try_from(self.budget).unwrap_or(usize::MAX);
            let mut full = false;
            self.layer(start.coding.name(), start.at, |out| {
                full = Inflater::new(start.coding).feed(&bytes[start.data..], out, room) == Fed::Full;
                !full && !out.is_empty()
            })?;
            if full {
                return Err(Stop::NotScannable("expands too much"));
            }
        }
        Ok(())
    }
}
