//! Two versions of a text, line by line.

use std::io;
use std::time::{Duration, Instant};

use similar::{Algorithm, ChangeTag, TextDiff, TextDiffConfig};

use super::{Output, Role};

/// What one file's comparison may take; then it gets coarser, not wrong.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// A comparison.
pub(super) struct Lines<'t>(TextDiff<'t, 't, [u8]>);

impl<'t> Lines<'t> {
    pub(super) fn of(old: &'t [u8], new: &'t [u8]) -> Self {
        let mut config = TextDiffConfig::default();
        Self(config.algorithm(Algorithm::Myers).deadline(Instant::now() + TIMEOUT).diff_lines(old, new))
    }

    /// Added and removed lines.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |tag| self.0.iter_all_changes().filter(|change| change.tag() == tag).count();
        (count(ChangeTag::Insert), count(ChangeTag::Delete))
    }

    /// How much is the same, in per cent; never all of it.
    pub(super) fn similarity(&self) -> u32 {
        // Between 0 and 100, so the cast is exact enough.
        ((self.0.ratio() * 100.0) as u32).min(99)
    }

    pub(super) fn write(&self, out: &mut Output<'_>) -> io::Result<()> {
        for group in self.0.grouped_ops(CONTEXT) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let (old, new) = (first.old_range().start..last.old_range().end, first.new_range().start..last.new_range().end);
            // Lines count from 1; where there is none, the line before is named.
            let from = |range: &std::ops::Range<usize>| if range.is_empty() { range.start } else { range.start + 1 };
            out.line(Role::Place, format!("@@ -{},{} +{},{} @@", from(&old), old.len(), from(&new), new.len()).as_bytes())?;
            for change in group.iter().flat_map(|op| self.0.iter_changes(op)) {
                let (sign, role) = match change.tag() {
                    ChangeTag::Equal => (b' ', Role::Same),
                    ChangeTag::Delete => (b'-', Role::Gone),
                    ChangeTag::Insert => (b'+', Role::New),
                };
                let line = change.value();
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                out.line(role, &[&[sign], text].concat())?;
                if text.len() == line.len() {
                    out.line(Role::Same, b"\\ No newline at end of file")?;
                }
            }
        }
        Ok(())
    }
}
