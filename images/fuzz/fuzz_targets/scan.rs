//! A whole message through the scanner: the verdict does not depend on how it is cut.
#![no_main]

use std::sync::LazyLock;

use bottle_scan::{Fingerprints, Scanner};
use libfuzzer_sys::fuzz_target;

static SCANNER: LazyLock<Scanner> =
    LazyLock::new(|| Scanner::new(Fingerprints::of([7; 32], &[b"canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc"])).expect("the built-in rules"));

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (cut, kind, bytes) = input;
    let kinds = [None, Some("application/json"), Some("multipart/form-data"), Some("text/xml"), Some("application/x-www-form-urlencoded")];
    let kind = kinds[usize::from(kind) % kinds.len()];
    let whole = SCANNER.scan_message(kind, bytes);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut message = SCANNER.message(kind);
    let found = message.push(first).or_else(|| message.push(second)).or_else(|| message.finish());
    assert_eq!(found, whole);
});
