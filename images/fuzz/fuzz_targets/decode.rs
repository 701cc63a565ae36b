//! Each decoder of the scanner by itself.
#![no_main]

use bottle_scan::fuzzing::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (which, cut, bytes) = input;
    decode(which, usize::from(cut), bytes);
});
