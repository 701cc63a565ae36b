//! Three versions of one text become one: what only one side changed is taken, what both changed differently is a conflict. Pure.

use std::time::{Duration, Instant};

use diffy::{ConflictStyle, MergeOptions};
use similar::{Algorithm, TextDiff, TextDiffConfig};

/// Texts of more bytes are not merged.
pub(super) const MAX_TEXT_BYTES: u64 = 4 << 20;
/// A NUL in this many first bytes tells a binary file, as in git.
const PROBE: usize = 8000;
/// What the comparison of two versions may take: texts that an agent wrote to be slow to compare are not merged.
const COMPARISON_TIMEOUT: Duration = Duration::from_millis(500);

/// A part of the merged text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Agreed(Vec<u8>),
    Conflict { ours: Vec<u8>, theirs: Vec<u8> },
}

/// A merged text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merged(Vec<Part>);

/// What becomes of conflicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// The file stays as the operator has it, and is listed.
    #[default]
    Leave,
    /// The operator's version counts.
    Ours,
    /// The agent's version counts.
    Theirs,
    /// Both versions stand in the file, between markers.
    Markers,
}

impl Merged {
    pub(super) fn conflicts(&self) -> usize {
        self.0.iter().filter(|part| matches!(part, Part::Conflict { .. })).count()
    }

    /// The text, with conflicts resolved so; `None` if they are to be left.
    pub(super) fn text(&self, resolution: Resolution) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for part in &self.0 {
            match (part, resolution) {
                (Part::Agreed(bytes), _) => text.extend_from_slice(bytes),
                (Part::Conflict { .. }, Resolution::Leave) => return None,
                (Part::Conflict { ours, .. }, Resolution::Ours) => text.extend_from_slice(ours),
                (Part::Conflict { theirs, .. }, Resolution::Theirs) => text.extend_from_slice(theirs),
                (Part::Conflict { ours, theirs }, Resolution::Markers) => {
                    for (marker, version) in [("<<<<<<< yours", ours), ("=======", theirs)] {
                        text.extend_from_slice(marker.as_bytes());
                        text.push(b'\n');
                        text.extend_from_slice(version);
                        if !version.is_empty() && !version.ends_with(b"\n") {
                            text.push(b'\n');
                        }
                    }
                    text.extend_from_slice(b">>>>>>> the agent's\n");
                }
            }
        }
        Some(text)
    }
}

/// Merges, or says why that cannot be.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Merged, &'static str> {
    let versions = [base, ours, theirs];
    if versions.iter().any(|text| text.len() as u64 > MAX_TEXT_BYTES) {
        return Err("it is too large to be merged");
    }
    if versions.iter().any(|text| is_binary(text)) {
        return Err("it is no text that could be merged");
    }
    if !is_fast(base, ours) || !is_fast(base, theirs) {
        return Err("its versions take too long to compare");
    }
    // Longer than any run of these signs in the texts, so that a marker is nothing else.
    let length = versions.iter().map(|text| longest_run(text)).max().unwrap_or(0).max(6) + 1;
    let mut options = MergeOptions::new();
    options.set_conflict_style(ConflictStyle::Merge).set_conflict_marker_length(length);
    Ok(Merged(match options.merge_bytes(base, ours, theirs) {
        Ok(text) => vec![Part::Agreed(text)],
        Err(text) => parts(&text, length),
    }))
}

pub(super) fn is_binary(text: &[u8]) -> bool {
    text[..text.len().min(PROBE)].contains(&0)
}

/// True if the comparison ends before its deadline; the merge makes the same one again, without any.
fn is_fast(a: &[u8], b: &[u8]) -> bool {
    let end = Instant::now() + COMPARISON_TIMEOUT;
    let mut config = TextDiffConfig::default();
    let _: TextDiff<'_, '_, [u8]> = config.algorithm(Algorithm::Myers).deadline(end).diff_lines(a, b);
    Instant::now() < end
}

fn longest_run(text: &[u8]) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, 0);
    for &byte in text {
        run = if byte == last && matches!(byte, b'<' | b'=' | b'>') { run + 1 } else { usize::from(matches!(byte, b'<' | b'=' | b'>')) };
        last = byte;
        longest = longest.max(run);
    }
    longest
}

/// Reads the text of a merge with conflicts, whose markers have this length.
fn parts(text: &[u8], length: usize) -> Vec<Part> {
    let [begin, middle, end] =
        [(b'<', " ours\n"), (b'=', "\n"), (b'>', " theirs\n")].map(|(sign, rest)| [&vec![sign; length], rest.as_bytes()].concat());
    let mut parts = Vec::new();
    let mut rest = text;
    let cut = |text: &mut &[u8], marker: &[u8]| -> Option<Vec<u8>> {
        let at = memchr::memmem::find(text, marker)?;
        let before = text[..at].to_vec();
        *text = &text[at + marker.len()..];
        Some(before)
    };
    while let Some(agreed) = cut(&mut rest, &begin) {
        parts.push(Part::Agreed(agreed));
        let ours = cut(&mut rest, &middle).unwrap_or_default();
        let theirs = cut(&mut rest, &end).unwrap_or_default();
        parts.push(Part::Conflict { ours, theirs });
    }
    parts.push(Part::Agreed(rest.to_vec()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &[u8] = b"one\ntwo\nthree\nfour\nfive\n";

    fn merged(ours: &str, theirs: &str, resolution: Resolution) -> (usize, Option<String>) {
        let merged = merge(BASE, ours.as_bytes(), theirs.as_bytes()).unwrap();
        (merged.conflicts(), merged.text(resolution).map(|text| String::from_utf8(text).unwrap()))
    }

    // covers: W07 V42
    #[test]
    fn different_lines_of_both_sides_are_taken() {
        let expected = (0, Some("ONE\ntwo\nthree\nfour\nFIVE\n".to_owned()));
        assert_eq!(merged("ONE\ntwo\nthree\nfour\nfive\n", "one\ntwo\nthree\nfour\nFIVE\n", Resolution::Leave), expected);
    }

    // covers: W07
    #[test]
    fn the_same_line_of_both_sides_is_a_conflict_that_each_choice_resolves() {
        let (ours, theirs) = ("one\nTWO\nthree\nfour\nfive\n", "one\nzwei\nthree\nfour\nFIVE\n");
        for (resolution, expected) in [
            (Resolution::Leave, None),
            (Resolution::Ours, Some("one\nTWO\nthree\nfour\nFIVE\n")),
            (Resolution::Theirs, Some("one\nzwei\nthree\nfour\nFIVE\n")),
            (Resolution::Markers, Some("one\n<<<<<<< yours\nTWO\n=======\nzwei\n>>>>>>> the agent's\nthree\nfour\nFIVE\n")),
        ] {
            assert_eq!(merged(ours, theirs, resolution), (1, expected.map(str::to_owned)), "{resolution:?}");
        }
    }

    #[test]
    fn what_looks_like_a_marker_is_text() {
        let base = "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\nend\n";
        let (ours, theirs) = (base.replace("end", "mine"), base.replace("end", "theirs"));
        let merged = merge(base.as_bytes(), ours.as_bytes(), theirs.as_bytes()).unwrap();
        assert_eq!(merged.text(Resolution::Ours).unwrap(), ours.as_bytes());
        assert_eq!(merged.text(Resolution::Theirs).unwrap(), theirs.as_bytes());
    }

    #[test]
    fn a_text_without_a_last_newline_keeps_its_markers_on_lines_of_their_own() {
        let merged = merge(b"a", b"b", b"c").unwrap();
        assert_eq!(merged.text(Resolution::Markers).unwrap(), b"<<<<<<< yours\nb\n=======\nc\n>>>>>>> the agent's\n");
        assert_eq!(merged.text(Resolution::Ours).unwrap(), b"b");
    }

    #[test]
    fn what_is_no_text_and_what_is_hostile_is_not_merged() {
        assert_eq!(merge(b"a\0", b"b", b"c").unwrap_err(), "it is no text that could be merged");
        let large = vec![b'x'; 5 << 20];
        assert_eq!(merge(b"a", &large, b"c").unwrap_err(), "it is too large to be merged");
        let lines = |salt: u32| (0..400_000u32).map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761) ^ salt)).collect::<String>();
        let (base, theirs) = (lines(1), lines(2));
        let begin = Instant::now();
        assert!(merge(&base.as_bytes()[..4 << 20], b"mine\n", &theirs.as_bytes()[..4 << 20]).is_err());
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
