//! Regions: the stretches of a text around the places where an encoding left its marks.

use std::ops::Range;

/// Marks at most this far apart belong to one region.
const GAP: usize = 64;

/// A region reaches this far beyond its outer marks, while no white space ends it: a token may be encoded in part.
const MARGIN: usize = 400;

/// Calls `visit` with each region of `bytes`, given the search for the next mark.
pub(crate) fn each<E>(
    bytes: &[u8],
    mut next: impl FnMut(usize) -> Option<usize>,
    mut visit: impl FnMut(Range<usize>) -> Result<(), E>,
) -> Result<(), E> {
    let mut mark = next(0);
    let mut done = 0;
    while let Some(first) = mark {
        let mut last = first;
        mark = next(last + 1);
        while let Some(further) = mark.filter(|&further| further - last <= GAP) {
            last = further;
            mark = next(last + 1);
        }
        let before = bytes[done.max(first.saturating_sub(MARGIN))..first].iter().rev().take_while(|b| !is_space(**b)).count();
        // A mark is at least three bytes long, and a line end can be part of it.
        let behind = (last + 3).min(bytes.len());
        let after = bytes[behind..].iter().take(MARGIN).take_while(|b| !is_space(**b)).count();
        visit(first - before..behind + after)?;
        done = last;
    }
    Ok(())
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}
