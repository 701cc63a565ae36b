//! WebSocket frames: what is let out is a beginning of what came, byte for byte.
#![no_main]

use std::sync::LazyLock;

use bottle_pipelock::dlp::websocket_frames::Frames;
use bottle_pipelock::dlp::fragments::Trails;
use bottle_scan::{Fingerprints, Scanner};
use libfuzzer_sys::fuzz_target;

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Fingerprints::default()).expect("the built-in rules"));

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let mut frames = Frames::new(SCANNER.clone(), 1 << 20, Trails::default());
    let mut out = Vec::new();
    for piece in bytes.chunks(usize::from(size).max(1)) {
        let refused = frames.push(piece, &mut out).is_err();
        assert!(bytes.starts_with(&out));
        if refused {
            return;
        }
    }
});
