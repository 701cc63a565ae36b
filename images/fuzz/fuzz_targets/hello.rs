//! The first message of a TLS client: one server name, however it is cut.
#![no_main]

use bottle_wire::fuzzing::hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    // A broken message may be noticed sooner when it comes in pieces.
    if let (Some(whole), Some(cut)) = (hello(bytes, usize::MAX), hello(bytes, usize::from(size))) {
        assert_eq!(whole, cut);
    }
});
