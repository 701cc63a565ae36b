//! Secrets that leave in pieces, over many requests.

#[path = "../../../tests/cases/evasion/dice.rs"]
mod dice;

use bottle_scan::{BOTTLE_SECRET, Fingerprints, MAX_FRAGMENT, Scanner, Trail};
use dice::Dice;

const SECRET: &str = "canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc";

fn scanner() -> Scanner {
    Scanner::new(Fingerprints::of([7; 32], &[SECRET.as_bytes()])).unwrap()
}

/// Sends one piece a request, beside a value that stays the same and one that always changes: which request, if any, is
/// found to complete the secret, and where.
fn send(pieces: &[&[u8]]) -> Option<(usize, String, String)> {
    let (scanner, mut trail) = (scanner(), Trail::default());
    for (number, piece) in pieces.iter().enumerate() {
        let id = format!("{number:04x}");
        let values = [("path:1", &b"v1"[..]), ("query:d", piece), ("query:id", id.as_bytes())];
        if let Some((place, found)) = trail.add(&scanner, values.iter().copied()) {
            return Some((number, place, found.rule));
        }
    }
    None
}

// covers: D04
#[test]
fn a_secret_in_two_to_forty_pieces_is_found_with_its_last_one() {
    let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
    for text in [SECRET, hex.as_str()] {
        for count in 2..=40 {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(text.len().div_ceil(count)).collect();
            let expected = Some((pieces.len() - 1, "query:d".to_owned(), BOTTLE_SECRET.to_owned()));
            assert_eq!(send(&pieces), expected, "{text} in {count} pieces");
        }
    }
    let token = format!("ghp_{}", Dice::new(3).text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 36));
    let pieces: Vec<&[u8]> = token.as_bytes().chunks(5).collect();
    assert_eq!(send(&pieces).map(|(.., rule)| rule).as_deref(), Some("github-pat"));
}

#[test]
fn what_was_found_is_forgotten_and_the_next_request_judged_anew() {
    let (scanner, mut trail) = (scanner(), Trail::default());
    let mut add = |piece: &str| trail.add(&scanner, std::iter::once(("query:d", piece.as_bytes()))).is_some();
    let (one, two) = SECRET.split_at(20);
    assert_eq!([add(one), add(two), add("harmless"), add(one), add(two)], [false, true, false, false, true]);
}

// covers: D09
#[test]
fn harmless_values_do_not_add_up_to_a_secret() {
    let (scanner, mut trail, mut dice) = (scanner(), Trail::default(), Dice::new(17));
    const HEX: &str = "0123456789abcdef";
    const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let words = ["repos", "acme", "pulls", "issues", "comments", "v1", "messages", "search", "tokens", "keys", "users", "api", "secret"];
    for number in 0..20_000 {
        let uuid = [8, 4, 4, 4, 12].map(|length| dice.text(HEX, length)).join("-");
        let values = [
            ("path:1", (*dice.one(&words)).to_owned()),
            ("path:2", (*dice.one(&words)).to_owned()),
            ("path:3", uuid),
            ("query:sha", dice.text(HEX, 40)),
            ("query:digest", dice.text(HEX, 64)),
            ("query:cursor", dice.text(ALNUM, 24)),
            ("query:page", number.to_string()),
            ("query:q", format!("{} {}", dice.one(&words), dice.one(&words))),
            ("header:x-request-id", dice.text(ALNUM, 32)),
            ("body", format!("{{\"id\":{number}}}")),
        ];
        let found = trail.add(&scanner, values.iter().map(|(name, value)| (&**name, value.as_bytes())));
        assert_eq!(found, None, "request {number}: {values:?}");
    }
}

#[test]
fn its_memory_is_bounded_whatever_the_places_are_called() {
    let (scanner, mut trail) = (scanner(), Trail::default());
    for number in 0..5000 {
        let name = format!("query:{number}{}", "n".repeat(300));
        assert_eq!(trail.add(&scanner, [(name.as_str(), &[b'x'; MAX_FRAGMENT][..])].into_iter()), None);
    }
    assert_eq!(format!("{trail:?}"), "Trail(256 places)");
}
