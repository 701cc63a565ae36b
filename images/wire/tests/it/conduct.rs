//! The table of what is passed, changed and refused: every row has its test, in one of the crates of the proxies.

use std::path::Path;

const TABLE: &str = include_str!("../../conduct.tsv");

fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_row_says_what_is_done_and_where_the_rfc_allows_it_and_is_tested() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    for name in ["wire", "egress", "pipelock", "policy"] {
        for part in ["src", "tests"].map(|part| images.join(name).join(part)).iter().filter(|part| part.is_dir()) {
            sources(part, &mut text);
        }
    }
    let rows: Vec<Vec<&str>> = TABLE.lines().skip(2).map(|line| line.split('\t').collect()).collect();
    assert!(rows.len() > 25, "{} rows", rows.len());
    for row in rows {
        let [side, what, is, rfc, why, test] = row[..] else { panic!("{row:?}") };
        assert!(["request", "answer"].contains(&side) && ["passed", "changed", "refused"].contains(&is), "{row:?}");
        assert!(!what.is_empty() && !why.is_empty() && rfc.starts_with(|c: char| c.is_ascii_digit()), "{row:?}");
        assert!(text.contains(&format!("fn {test}(")), "{what} has no test: {test}");
    }
}
