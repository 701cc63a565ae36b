//! `bottle-bom DIRECTORY PACKAGE…`: writes `DIRECTORY/PACKAGE.cdx.json`, the bill of materials of a program, for each package that is one.
//! The standard input has the facts of the toolchain, a name and a value on each line.
//!
//! The same program, lock file and toolchain give the same bytes: no time, no serial number, no path, everything sorted. The features of
//! dependencies are those of the whole workspace, so a bill may name a package of which nothing was linked; it leaves none out.

mod bill;
mod packages;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((directory, packages)) if !packages.is_empty() => match run(Path::new(directory), packages) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("{error:#}"), 1),
        },
        _ => complain("usage: bottle-bom DIRECTORY PACKAGE…", 2),
    }
}

#[expect(clippy::print_stderr, reason = "the only place that prints")]
fn complain(why: &str, code: u8) -> ExitCode {
    eprintln!("bottle-bom: {why}");
    ExitCode::from(code)
}

fn run(directory: &Path, names: &[String]) -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the facts")?;
    let facts: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let target = facts.iter().find(|(name, _)| *name == "target").context("the facts do not name the target")?.1;
    let resolved = packages::Resolved::read(target)?;
    for name in names {
        let file = directory.join(name);
        let program = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let bill = bill::bill(&resolved, name, &program, &facts)?;
        let to = directory.join(format!("{name}.cdx.json"));
        std::fs::write(&to, bill).with_context(|| to.display().to_string())?;
    }
    Ok(())
}
