//! What an expression's syntax says about where its matches stand: nearly each of them holds a stretch of digits, as a token does, and a
//! text without such a stretch need not be asked about it.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::decode::base64::is_digit;

/// The digits of a stretch.
pub(crate) const STRETCH: usize = 20;

/// Where a stretch stands in each match of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The most bytes of a match in front of it.
    pub(crate) before: usize,
    /// The most bytes of a match behind it and the digits that follow it.
    pub(crate) after: usize,
}

/// What holds for each match of a part of an expression. Lengths are in bytes; [`usize::MAX`] is for those without a limit.
#[derive(Clone, Copy)]
struct Part {
    /// All of it is digits.
    all: bool,
    least: usize,
    most: usize,
    /// It begins with at least `head` digits, behind which, and the digits that follow them, at most `back` bytes stand.
    head: usize,
    back: usize,
    /// It ends with at least `tail` digits, in front of which at most `front` bytes stand.
    tail: usize,
    front: usize,
    stretch: Option<Stretch>,
}

/// The stretch that each match of an expression holds, if its syntax tells one.
pub(crate) fn of(hir: &Hir) -> Option<Stretch> {
    part(hir).stretch
}

fn part(hir: &Hir) -> Part {
    let (least, most) = (hir.properties().minimum_len().unwrap_or(0), hir.properties().maximum_len().unwrap_or(usize::MAX));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => digits(0, 0),
        HirKind::Literal(literal) => {
            let bytes = literal.0.iter().map(|&byte| if is_digit(byte) { digits(1, 1) } else { others(1, 1) });
            bytes.fold(digits(0, 0), joined)
        }
        HirKind::Class(class) => {
            if is_of_digits(class) {
                digits(1, 1)
            } else {
                others(least, most)
            }
        }
        HirKind::Capture(capture) => part(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(part).fold(digits(0, 0), joined),
        HirKind::Alternation(parts) => parts.iter().map(part).reduce(either).unwrap_or(others(least, most)),
        HirKind::Repetition(repetition) => {
            let once = part(&repetition.sub);
            if once.all {
                digits(least, most)
            } else if repetition.min == 0 {
                others(least, most)
            } else {
                // The first time, and the others behind it; or the last time, and the others in front of it.
                let others = if most == usize::MAX { most } else { most - once.most };
                Part {
                    least,
                    most,
                    back: once.back.saturating_add(others),
                    front: once.front.saturating_add(others),
                    stretch: once.stretch.map(|stretch| Stretch { after: stretch.after.saturating_add(others), ..stretch }),
                    ..once
                }
            }
        }
    }
}

fn digits(least: usize, most: usize) -> Part {
    let stretch = (least >= STRETCH).then_some(Stretch { before: 0, after: 0 });
    Part { all: true, least, most, head: least, back: 0, tail: least, front: 0, stretch }
}

fn others(least: usize, most: usize) -> Part {
    Part { all: false, least, most, head: 0, back: most, tail: 0, front: most, stretch: None }
}

/// One part behind the other.
fn joined(a: Part, b: Part) -> Part {
    let beyond = |nearer: usize, edge: usize, all: usize| if nearer == 0 { edge } else { nearer.saturating_add(all) };
    let stretches = [
        // The digits of a stretch at the end of one part go on in the other.
        a.stretch.map(|stretch| Stretch { after: beyond(stretch.after, b.back, b.most), ..stretch }),
        b.stretch.map(|stretch| Stretch { before: beyond(stretch.before, a.front, a.most), ..stretch }),
        (a.tail + b.head >= STRETCH).then_some(Stretch { before: a.front, after: b.back }),
    ];
    let (head, back) = if a.all { (a.least + b.head, b.back) } else { (a.head, a.back.saturating_add(b.most)) };
    let (tail, front) = if b.all { (b.least + a.tail, a.front) } else { (b.tail, b.front.saturating_add(a.most)) };
    Part {
        all: a.all && b.all,
        least: a.least + b.least,
        most: a.most.saturating_add(b.most),
        head,
        back,
        tail,
        front,
        stretch: stretches.into_iter().flatten().min_by_key(|stretch| (stretch.before.max(stretch.after), stretch.before)),
    }
}

/// The one part or the other.
fn either(a: Part, b: Part) -> Part {
    let stretch = a.stretch.zip(b.stretch);
    Part {
        all: a.all && b.all,
        least: a.least.min(b.least),
        most: a.most.max(b.most),
        head: a.head.min(b.head),
        back: a.back.max(b.back),
        tail: a.tail.min(b.tail),
        front: a.front.max(b.front),
        stretch: stretch.map(|(a, b)| Stretch { before: a.before.max(b.before), after: a.after.max(b.after) }),
    }
}

fn is_of_digits(class: &Class) -> bool {
    match class {
        Class::Bytes(class) => class.iter().all(|range| (range.start()..=range.end()).all(is_digit)),
        Class::Unicode(class) => {
            class.iter().all(|range| (range.start()..=range.end()).all(|c| u8::try_from(u32::from(c)).is_ok_and(is_digit)))
        }
    }
}

#[cfg(test)]
mod tests {
    use regex_syntax::ParserBuilder;

    use super::*;

    fn stretch(source: &str) -> Option<(usize, usize)> {
        let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(source).unwrap();
        of(&hir).map(|stretch| (stretch.before, stretch.after))
    }

    #[test]
    fn the_stretch_of_each_match_is_told_by_the_syntax() {
        let far = usize::MAX;
        for (source, expected) in [
            ("ghp_[A-Za-z0-9]{36}", Some((0, 0))),
            ("[0-9a-f]{19}", None),
            ("[0-9a-f]{20,}", Some((0, 0))),
            ("AKIA[A-Z2-7]{16}", Some((0, 0))),
            ("[a-z0-9._-]{40}", None),
            ("(?i)key[^a-z]{1,8}([a-f0-9]{32})(?:[^a-z]|$)", Some((11, 1))),
            // The digits of a keyword belong to the stretch, but for those in front of a sign.
            (r"SG\.[\w-]{22}\.[\w-]{43}", Some((26, 0))),
            (r"a\.com/(?:b|cd)/T?[A-Z0-9]{6,}/[A-Z0-9]{9,}/!", Some((2, 1))),
            (r"[0-9]{8,10}:AA[\w-]{33}", Some((11, 0))),
            // However many digits follow, what stands behind them is no farther away.
            (r"xx[a-z]{30,}", Some((0, 0))),
            (r"a [a-z]{20,}[0-9]+=", Some((2, 1))),
            (r"[a-z]{20}.*", Some((0, far))),
            (r".*[a-z]{20}", Some((far, 0))),
            (r"(?:a|bc|)[.]x{19,25}y", Some((3, 0))),
            (r"(?:x{20}|.y{30})z", Some((1, 0))),
            (r"(?:x{20}|y{3})z", None),
            (r"(?:[a-z]{24}\n){2,4}", Some((0, 76))),
            (r"(?:[a-z]{24}\n)?", None),
        ] {
            assert_eq!(stretch(source), expected, "{source}");
        }
    }
}
