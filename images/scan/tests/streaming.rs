//! Streams: cut anywhere, nested, large, and hostile.

#[path = "../../../tests/cases/evasion/mod.rs"]
mod corpus;

use bottle_scan::{BOTTLE_SECRET, Finding, Fingerprints, NOT_SCANNABLE, Scanner};
use corpus::{dice::Dice, encodings, tokens};
use proptest::prelude::*;

fn secret() -> String {
    tokens::own(77)
}

fn scanner() -> Scanner {
    Scanner::new(Fingerprints::of([3; 32], &[secret().as_bytes()])).unwrap()
}

/// Text without runs, so that what follows begins something new.
fn prose(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        let word = 1 + dice.below(9);
        text.extend_from_slice(dice.text("abcdefghijklmnopqrstuvwxyz", word).as_bytes());
        text.push(*dice.one(b"  ,.\n"));
    }
    text.truncate(bytes);
    text
}

/// Pushes pieces that end at `cuts`.
fn in_pieces(scanner: &Scanner, bytes: &[u8], cuts: &[usize]) -> Option<Finding> {
    let mut stream = scanner.stream();
    let mut from = 0;
    for &cut in cuts {
        stream.push(&bytes[from..cut]);
        from = cut;
    }
    stream.push(&bytes[from..]);
    stream.finish()
}

fn layers(secret: &[u8], order: &[usize]) -> Vec<u8> {
    order.iter().fold(secret.to_vec(), |text, layer| match layer {
        0 => encodings::base64(&text, false, true),
        1 => encodings::base64(&text, true, false),
        2 => text.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes(),
        3 => text.iter().map(|b| format!("%{b:02X}")).collect::<String>().into_bytes(),
        4 => text.iter().map(|b| format!("\\u{b:04x}")).collect::<String>().into_bytes(),
        5 => text.iter().map(|b| format!("&#{b};")).collect::<String>().into_bytes(),
        6 => encodings::gzip(&text),
        _ => encodings::base64(&encodings::gzip(&text), false, true),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // covers: D02
    #[test]
    fn any_nesting_is_found_and_any_cut_gives_the_same_answer(
        order in prop::collection::vec(0usize..8, 0..5),
        before in 0usize..400,
        after in 0usize..200,
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        // Four layers of the widest escape would be more than a message that a test should make.
        prop_assume!(order.iter().filter(|&&layer| layer == 4 || layer == 5).count() <= 2);
        let mut dice = Dice::new(seed);
        let text = [prose(&mut dice, before), b" ".to_vec(), layers(secret().as_bytes(), &order), b"\n".to_vec(), prose(&mut dice, after)].concat();
        let scanner = scanner();
        let whole = scanner.scan(&text);
        prop_assert_eq!(whole.as_ref().map(|f| f.rule.as_str()), Some(BOTTLE_SECRET));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(&scanner, &text, &cuts), whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // covers: D06
    #[test]
    fn a_large_stream_cut_anywhere_gives_the_same_answer_and_lets_nothing_of_a_secret_go(
        order in prop::collection::vec(0usize..8, 0..3),
        place in 0usize..700_000,
        after in 0usize..300_000,
        piece in 1000usize..200_000,
        seed in any::<u64>(),
    ) {
        let mut dice = Dice::new(seed);
        let text = [prose(&mut dice, place), b" ".to_vec(), layers(secret().as_bytes(), &order), b"\n".to_vec(), prose(&mut dice, after)].concat();
        let scanner = scanner();
        let whole = scanner.scan(&text);
        prop_assert_eq!(whole.as_ref().map(|f| f.rule.as_str()), Some(BOTTLE_SECRET));
        let mut stream = scanner.stream();
        for piece in text.chunks(piece) {
            if stream.push(piece).is_some() {
                break;
            }
            prop_assert!(stream.safe_len() <= place as u64 + 1, "{} of {place} let go", stream.safe_len());
        }
        prop_assert_eq!(stream.finish(), whole);
    }
}

/// Bytes that mean something to a decoder, and bytes that do not.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let marks: Vec<&[u8]> = vec![
        b"%",
        b"%4",
        b"%25",
        b"\\u",
        b"\\u{",
        b"\\ud83d",
        b"\\x4",
        b"\\",
        b"\\n",
        b"\\/",
        b"&#",
        b"&#x",
        b"&amp;",
        b"=",
        b"=4",
        b"=\r\n",
        b"\0",
        b"h\0",
        b"\0h",
        b"\xc2\xad",
        b"\xe2\x80",
        b"\xf0\x9d\x90",
        b"\xef\xbc\xa1",
        b"\xff\xfe",
        b"\x1f\x8b\x08\0",
        b"\x78\x9c",
        b"\x28\xb5\x2f\xfd",
        b"PK\x03\x04\x14\0\0\0\x08\0",
        b"H4sIAAAA",
        b"eJwr",
        b"aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ",
        b"68656c6c6f20776f726c6468656c6c6f20776f726c64",
        b"68:65:6c:6c:6f:20:77:6f:72:6c:64:",
        b"0x41, 0x42, ",
        b"NBSWY3DPEB3W64TMMQQGQZLMNRXQ",
        b"\r\n",
        b"\n    ",
        b"\"",
        b" ",
        b"-----BEGIN PRIVATE KEY-----",
        b"ghp_",
        b"eyJhbGciOi",
        b"SG.",
        b"postgres://a:",
        b"card_num",
        b"iban ",
        b"secret_access_key=",
        b"<",
        b"{",
        b"--",
        b"\r\n\r\n",
        b"<![CDATA[",
        b"<!--",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(marks).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "[A-Za-z0-9+/_-]{0,60}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    // covers: D08
    #[test]
    fn no_bytes_end_the_scanner_and_any_cut_gives_the_same_answer(bytes in hostile(), cut in any::<prop::sample::Index>()) {
        let scanner = SCANNER.with(Clone::clone);
        let whole = scanner.scan(&bytes);
        let cut = cut.index(bytes.len() + 1);
        prop_assert_eq!(in_pieces(&scanner, &bytes, &[cut]), whole);
        scanner.scan_message(None, &bytes);
    }
}

thread_local! {
    static SCANNER: Scanner = scanner();
}

// covers: D06
#[test]
fn a_secret_deep_in_a_large_encoded_body_is_found() {
    let scanner = scanner();
    let mut dice = Dice::new(5);
    for place in [0, 100_000, 131_000, 400_000, 1_500_000] {
        let mut text = prose(&mut dice, 1_600_000);
        text[place..place + secret().len()].copy_from_slice(secret().as_bytes());
        let noise = dice.bytes(1_000_000);
        let gzip = encodings::gzip(&text);
        for (name, body) in [
            ("gzip", gzip.clone()),
            ("base64", encodings::base64(&text, false, true)),
            ("base64 of gzip", encodings::base64(&gzip, false, true)),
            ("gzip of base64", encodings::gzip(&encodings::base64(&text, false, true))),
            ("gzip of gzip", encodings::gzip(&gzip)),
            ("gzip behind noise", [noise.clone(), gzip.clone()].concat()),
            ("base64 wrapped at 76", encodings::base64(&text, false, true).chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..])),
            ("base64 of gzip, wrapped in JSON", encodings::base64(&gzip, false, true).chunks(76).collect::<Vec<_>>().join(&b"\\n"[..])),
        ] {
            let message = [b"{\"data\":\"", &body[..], b"\"}"].concat();
            // Gzip stores gzip in blocks: read as if it were not in blocks, it gives garbled text, which may be found first.
            let found = scanner.scan(&message);
            assert!(found.as_ref().is_some_and(|f| f.rule == BOTTLE_SECRET || name == "gzip of gzip"), "{name} at {place}: {found:?}");
            assert_eq!(in_pieces(&scanner, &message, &[7, 70_001, 200_000]), found, "{name} at {place}");
        }
    }
}

// covers: D10
#[test]
fn a_bomb_is_not_scannable() {
    let scanner = scanner();
    let zeros = encodings::gzip(&vec![b' '; 64 << 20]);
    for body in [zeros.clone(), encodings::base64(&zeros, false, true), encodings::gzip(&zeros)] {
        assert_eq!(scanner.scan(&body).map(|f| (f.is_not_scannable(), f.rule)), Some((true, NOT_SCANNABLE.to_owned())));
    }
}

#[test]
fn what_is_nested_too_deep_is_not_scannable() {
    let text = (0..12).fold(secret().into_bytes(), |text, _| encodings::base64(&text, false, true));
    assert_eq!(scanner().scan(&text).map(|f| f.rule).as_deref(), Some(NOT_SCANNABLE));
    let marks = (0..12).fold("%41".to_owned(), |text, _| text.replace('%', "%25"));
    assert_eq!(scanner().scan(marks.as_bytes()).map(|f| f.rule).as_deref(), Some(NOT_SCANNABLE));
}

#[test]
fn harmless_bodies_of_any_size_are_let_go_but_for_a_bounded_rest() {
    let scanner = scanner();
    let mut dice = Dice::new(9);
    for (name, body) in [
        ("prose", prose(&mut dice, 3 << 20)),
        ("noise", dice.bytes(3 << 20)),
        ("base64", encodings::base64(&dice.bytes(2 << 20), false, true)),
        ("gzip", encodings::gzip(&prose(&mut dice, 6 << 20))),
    ] {
        let mut stream = scanner.stream();
        let mut pushed = 0;
        for piece in body.chunks(50_000) {
            assert_eq!(stream.push(piece), None, "{name}");
            pushed += piece.len() as u64;
            assert!(pushed - stream.safe_len() < 512 << 10, "{name}: {} of {pushed}", stream.safe_len());
        }
        assert_eq!(stream.finish(), None, "{name}");
    }
}
