//! Rule files of an operator's: refused with a reason, or a scanner that works.
#![no_main]

use bottle_scan::{Fingerprints, Rules, Scanner};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(rules) = Rules::from_toml(text)
        && let Ok(scanner) = Scanner::with_rules(Rules::default().beside(rules), Fingerprints::default())
    {
        let _ = scanner.scan_file("a/b.env", b"key = 'AKIA0000', token: abcdefghijklmnop0123456789");
    }
});
