//! The files of the proxies and of their scanner import in one direction: no file imports another that imports it, however long the way.

use std::path::Path;

use bottle_test_support::imports::circles;

#[test]
fn no_file_of_the_proxies_or_the_scanner_imports_one_that_imports_it() {
    for name in ["wire", "egress", "pipelock", "scan"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        assert_eq!(circles(&source), [], "{name}");
    }
}
