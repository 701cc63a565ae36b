//! Stands in for a sidecar and misbehaves. A sidecar has an empty root, no arguments and no variable of a test's, so what it does
//! is written into its copy of this program: see `bottle_test_support::shim`.

use std::fs::File;
use std::io::{Write, stderr};
use std::os::fd::FromRawFd;
use std::process::exit;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use bottle_test_support::shim::{LENGTH, MARK};

/// Replaced in the copy.
#[used]
static BEHAVIOUR: [u8; LENGTH] = MARK;

/// How late a late sidecar is.
const LATE_BY: Duration = Duration::from_secs(1);
/// Less than the supervisor leaves a sidecar alone after it has read it.
const SHORT_DELAY: Duration = Duration::from_micros(500);

fn main() {
    // SAFETY: it is a plain array; volatile, because what the compiler sees in it is not what the copy has.
    let behaviour = unsafe { std::ptr::read_volatile(&raw const BEHAVIOUR) };
    let behaviour = String::from_utf8_lossy(&behaviour).trim_end().to_owned();
    let ready = std::env::var("BOTTLE_READY_FD").ok().and_then(|fd| fd.parse().ok());
    // SAFETY: the supervisor hands this descriptor over for this use alone.
    let ready = ready.map(|fd| unsafe { File::from_raw_fd(fd) });
    let _ = writeln!(stderr(), "shim: {behaviour}");
    match (&*behaviour, ready) {
        ("silent", Some(ready)) => {
            stay();
            drop(ready);
        }
        ("mute", Some(ready)) => {
            drop(ready);
            stay();
        }
        ("babble", Some(mut ready)) => {
            let _ = ready.write_all(b"READ");
            drop(ready);
            stay();
        }
        ("late", Some(mut ready)) => {
            wait(LATE_BY);
            let _ = writeln!(stderr(), "shim: serves now");
            let _ = ready.write_all(b"READY\n");
            drop(ready);
            stay();
        }
        ("last words", Some(mut ready)) => {
            let _ = ready.write_all(b"READY\n");
            drop(ready);
            wait(LATE_BY);
            // The second comes while a reader may still rest from the first, and the end with it.
            event("the first word");
            wait(SHORT_DELAY);
            event("the last word");
            exit(3)
        }
        ("exit", _) => exit(3),
        _ => exit(4),
    }
}

/// Reports as a sidecar does.
fn event(message: &str) {
    let _ = writeln!(stderr(), r#"{{"time":"2026-01-01T00:00:00.000Z","level":"info","event":"request","message":"{message}"}}"#);
}

fn wait(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
}

/// As the first process of its namespace it is ended by nothing but a kill.
fn stay() {
    loop {
        park_timeout(Duration::from_secs(60));
    }
}
