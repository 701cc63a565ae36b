//! A log file of complete lines. What cannot be written is counted, and the gap is marked at its place.

use std::fs::File;
use std::io::Write;

/// An append-only file of lines with a size limit.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    out: Vec<u8>,
    /// The component's bytes that `out` represents.
    covered: u64,
    /// The gap that `out` marks.
    marked: u64,
    /// The file's length; all its lines are complete.
    length: u64,
    most: u64,
    /// The limit was reached. Only the mark of the gap is still written.
    full: bool,
    gap: u64,
    dropped: u64,
    cause: Option<String>,
}

impl Sink {
    pub(super) fn new(file: File, most: u64) -> Self {
        Self { file, out: Vec::new(), covered: 0, marked: 0, length: 0, most, full: false, gap: 0, dropped: 0, cause: None }
    }

    /// Adds a line that represents `covered` bytes of the component.
    pub(super) fn line(&mut self, line: &str, covered: u64) {
        if self.full || self.length + (self.out.len() + line.len()) as u64 >= self.most {
            if !self.full {
                self.cause = Some(format!("the log reached its limit of {} bytes", self.most));
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

    /// Bytes lost since the last line that was written, and why.
    pub(super) fn gap(&self) -> Option<(u64, &str)> {
        (self.gap > 0).then(|| (self.gap, self.cause.as_deref().unwrap_or_default()))
    }

    /// True if there is a gap that can be marked now.
    pub(super) fn has_gap(&self) -> bool {
        self.gap > 0 && !self.full
    }

    /// Adds the line that marks the gap. The limit does not apply to it.
    pub(super) fn mark(&mut self, line: &str) {
        self.marked += std::mem::take(&mut self.gap);
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
    }

    /// Writes the added lines. After a partial write it truncates the file to the last complete line.
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
