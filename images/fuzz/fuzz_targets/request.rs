//! Request heads and bodies, chunked or not: what passes does not depend on how a connection is cut, and holds no line
//! that ends otherwise than by CR LF.
#![no_main]

use bottle_wire::fuzzing::passed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let (whole, broke) = passed(bytes, usize::MAX);
    for size in [1, usize::from(size).max(1)] {
        let (cut, cut_broke) = passed(bytes, size);
        assert_eq!(broke, cut_broke);
        // What breaks in a body may have passed up to there, if it came in pieces.
        assert!(if broke { cut.starts_with(&whole) } else { cut == whole });
    }
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").map_or(&whole[..0], |end| &whole[..end]);
    for (at, byte) in head.iter().enumerate() {
        assert!(*byte != b'\n' || head[at - 1] == b'\r');
        assert!(*byte != b'\r' || head.get(at + 1).is_none_or(|next| *next == b'\n'));
        assert!(*byte != 0);
    }
});
