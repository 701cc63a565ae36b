//! `bottle-cases CATALOGUE [DIRECTORY] [--strict]`: which cases of the catalogue the tests below DIRECTORY cover. A claim of an
//! unknown case is an error; with `--strict`, so is an open case that a release waits for.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bottle_test_support::cases::{Coverage, parse, scan};

fn main() -> ExitCode {
    let (flags, paths): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let strict = match flags.as_slice() {
        [] => false,
        [flag] if flag == "--strict" => true,
        _ => return usage(),
    };
    let (catalogue, directory) = match paths.as_slice() {
        [catalogue] => (PathBuf::from(catalogue), PathBuf::from(".")),
        [catalogue, directory] => (PathBuf::from(catalogue), PathBuf::from(directory)),
        _ => return usage(),
    };
    match report(&catalogue, &directory, strict) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let _ = writeln!(std::io::stderr(), "usage: bottle-cases CATALOGUE [DIRECTORY] [--strict]");
    ExitCode::from(2)
}

/// Whether all is as it must be.
fn report(catalogue: &Path, directory: &Path, strict: bool) -> Result<bool, String> {
    let text = std::fs::read_to_string(catalogue).map_err(|error| format!("{}: {error}", catalogue.display()))?;
    let cases = parse(&text);
    if cases.is_empty() {
        return Err(format!("{} has no cases", catalogue.display()));
    }
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    if ids.len() != cases.len() {
        return Err(format!("{} has an id twice", catalogue.display()));
    }
    let claims = scan(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let coverage = Coverage::new(&cases, &claims);
    write!(std::io::stdout(), "{coverage}").map_err(|error| error.to_string())?;
    let unknown = coverage.unknown();
    for (id, places) in &unknown {
        let _ = writeln!(
            std::io::stderr(),
            "error: {id} is not in the catalogue: {}",
            Vec::from_iter(places.iter().map(String::as_str)).join(", ")
        );
    }
    Ok(unknown.is_empty() && (!strict || coverage.open(true).is_empty()))
}
