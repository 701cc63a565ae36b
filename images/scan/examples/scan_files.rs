//! Scans the files that are named, or that stand below a directory: `cargo run -rp bottle-scan --example scan_files -- PATH…`.
//! Prints each finding without its value, and the throughput. For tuning rules on real content.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bottle_scan::{Fingerprints, Scanner};

fn main() {
    let secrets: [&[u8]; 2] = [b"sk-ant-oat01-qX7f_2LmV9bZtR4kK8pHs0Nc5Jy3Gd6Fa1QewT", b"Tz5pWq8xNb2vKm7jHr4cLs9gYd3fAe6u"];
    let scanner = Scanner::new(Fingerprints::of([42; 32], &secrets)).expect("the built-in rules are valid");
    let mut files = Vec::new();
    std::env::args_os().skip(1).for_each(|path| collect(Path::new(&path), &mut files));
    let (mut bytes, mut time, mut found) = (0, Duration::ZERO, 0);
    for path in &files {
        let Ok(content) = std::fs::read(path) else { continue };
        let start = Instant::now();
        let finding = scanner.scan(&content);
        let spent = start.elapsed();
        time += spent;
        bytes += content.len();
        if let Some(finding) = finding {
            found += 1;
            println!("{}: {} at {} {:?}", path.display(), finding.rule, finding.offset, finding.encodings);
        }
        if spent > Duration::from_millis(20) && content.len() as f64 / spent.as_secs_f64() < 100e6 {
            println!("{}: slow, {:.0} MB/s", path.display(), content.len() as f64 / spent.as_secs_f64() / 1e6);
        }
    }
    println!(
        "{} files, {found} with findings, {:.1} MB, {:.0} MB/s",
        files.len(),
        bytes as f64 / 1e6,
        bytes as f64 / time.as_secs_f64() / 1e6
    );
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) if !path.is_symlink() => entries.flatten().for_each(|entry| collect(&entry.path(), files)),
        _ if path.is_file() && !path.is_symlink() => files.push(path.to_owned()),
        _ => {}
    }
}
