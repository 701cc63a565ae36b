//! A log file that only ever holds whole lines: what cannot be written is counted, and the count is written where it happened.

use std::fs::File;
use std::io::Write;

/// An append-only file of lines with a bound.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    out: Vec<u8>,
    /// Bytes of the component that `out` stands for.
    covered: u64,
    /// The gap that `out` tells of.
    marked: u64,
    /// The file's length: all of it whole lines.
    length: u64,
    most: u64,
    /// The bound was reached: nothing more is written but the mark of the gap.
    full: bool,
    gap: u64,
    dropped: u64,
    cause: Option<String>,
}

impl Sink {
    pub(super) fn new(file: File, most: u64) -> Self {
        Self { file, out: Vec::new(), covered: 0, marked: 0, length: 0, most, full: false, gap: 0, dropped: 0, cause: None }
    }

    /// Adds a line that stands for `covered` bytes of the component.
    pub(super) fn line(&mut self, line: &str, covered: u64) {
        if self.full || self.length + (self.out.len() + line.len()) as u64 >= self.most {
            if !self.full {
                self.cause = Some(format!("the log reached its bound of {} bytes", self.most));
            }
            self.full = true;
            self.gap += covered;
            self.dropped += covered;
            return;
        }
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
        self.covered += covered;
    }

    /// Bytes that are missing since the last line that was written, and why.
    pub(super) fn gap(&self) -> Option<(u64, &str)> {
        (self.gap > 0).then(|| (self.gap, self.cause.as_deref().unwrap_or_default()))
    }

    /// True when there is a gap, and something may follow it.
    pub(super) fn has_gap(&self) -> bool {
        self.gap > 0 && !self.full
    }

    /// Adds the line that tells of the gap, which passes the bound.
    pub(super) fn mark(&mut self, line: &str) {
        self.marked += std::mem::take(&mut self.gap);
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
    }

    /// Writes what was added. A write that fails half-way is cut off again, so that the file ends with a whole line.
    pub(super) fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        match self.file.write_all(&self.out) {
            Ok(()) => self.length += self.out.len() as u64,
            Err(e) => {
                let cut = rustix::fs::ftruncate(&self.file, self.length).err();
                self.cause = Some(format!("write: {e}{}", cut.map_or(String::new(), |cut| format!("; ftruncate: {cut}"))));
                self.gap += self.covered + self.marked;
                self.dropped += self.covered;
            }
        }
        self.out.clear();
        (self.covered, self.marked) = (0, 0);
    }

    pub(super) fn dropped(&self) -> (u64, Option<&str>) {
        (self.dropped, self.cause.as_deref())
    }
}
