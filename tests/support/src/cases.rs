//! The catalogue of faults and abuse, and which of its cases have a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// A letter and two digits.
    pub id: String,
    /// The part of the catalogue that it is in.
    pub area: String,
    /// A release waits for it.
    pub blocking: bool,
    /// What it is about, short.
    pub title: String,
}

/// Reads a catalogue: lines of `id <tab> area <tab> blocking or - <tab> title`, or a Markdown table whose first cell is an
/// id, with a star if it blocks, below headings that name the areas.
pub fn parse(text: &str) -> Vec<Case> {
    let mut area = String::new();
    let mut cases = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            area = heading.to_owned();
        } else if let Some(row) = line.strip_prefix("| ") {
            let mut cells = row.split('|').map(str::trim);
            let (first, title) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            let id = first.trim_end_matches('★');
            if is_id(id) {
                cases.push(Case { id: id.to_owned(), area: area.clone(), blocking: id != first, title: title.to_owned() });
            }
        } else if let [id, area, blocking, title] = line.split('\t').collect::<Vec<_>>()[..]
            && is_id(id)
        {
            cases.push(Case { id: id.to_owned(), area: area.to_owned(), blocking: blocking == "blocking", title: title.to_owned() });
        }
    }
    cases
}

fn is_id(word: &str) -> bool {
    matches!(word.as_bytes(), [letter, a, b] if letter.is_ascii_uppercase() && a.is_ascii_digit() && b.is_ascii_digit())
}

/// The ids that the comments of a source file claim to cover, and the line of each.
pub fn claims(source: &str) -> Vec<(usize, String)> {
    let mut claims = Vec::new();
    for (line, text) in source.lines().enumerate() {
        let text = text.trim_start();
        let comment = text.strip_prefix("//").or(text.strip_prefix('#')).map(str::trim_start);
        if let Some(ids) = comment.and_then(|comment| comment.strip_prefix("covers:")) {
            claims.extend(ids.split([' ', ',']).filter(|word| !word.is_empty()).map(|word| (line + 1, word.to_owned())));
        }
    }
    claims
}

/// The claims of all sources below a directory, by id.
pub fn scan(directory: &Path) -> io::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() && name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                folders.push(path);
            } else if kind.is_file() && is_source(&path) {
                let source = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
                for (line, id) in claims(&source) {
                    let place = format!("{}:{line}", path.strip_prefix(directory).unwrap_or(&path).display());
                    found.entry(id).or_default().insert(place);
                }
            }
        }
    }
    Ok(found)
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["rs", "sh", "py", "nix"].iter().any(|known| extension == *known))
}

/// What is covered and what is open.
#[derive(Debug, PartialEq, Eq)]
pub struct Coverage<'a> {
    cases: &'a [Case],
    claims: &'a BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Coverage<'a> {
    /// Compares the catalogue with the claims.
    pub fn new(cases: &'a [Case], claims: &'a BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { cases, claims }
    }

    /// Claims of ids that the catalogue does not have, and where they stand.
    pub fn unknown(&self) -> Vec<(&str, &BTreeSet<String>)> {
        let known = |id: &str| self.cases.iter().any(|case| case.id == id);
        self.claims.iter().filter(|(id, _)| !known(id)).map(|(id, places)| (id.as_str(), places)).collect()
    }

    /// Cases without a test; with `blocking`, only those that a release waits for.
    pub fn open(&self, blocking: bool) -> Vec<&Case> {
        self.cases.iter().filter(|case| !self.claims.contains_key(&case.id) && (case.blocking || !blocking)).collect()
    }
}

impl fmt::Display for Coverage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut areas: Vec<&str> = Vec::new();
        for case in self.cases {
            if !areas.contains(&&*case.area) {
                areas.push(&case.area);
            }
        }
        for area in areas {
            let cases: Vec<&Case> = self.cases.iter().filter(|case| case.area == area).collect();
            let (covered, open): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| self.claims.contains_key(&case.id));
            writeln!(f, "{area}: {} of {} covered", covered.len(), cases.len())?;
            for case in covered {
                let places: Vec<&str> = self.claims[&case.id].iter().map(String::as_str).collect();
                writeln!(f, "  {} {}: {}", mark(case, "+"), case.title, places.join(", "))?;
            }
            for case in open {
                writeln!(f, "  {} {}", mark(case, "-"), case.title)?;
            }
        }
        let blocking = self.cases.iter().filter(|case| case.blocking).count();
        let (open, open_blocking) = (self.open(false).len(), self.open(true).len());
        writeln!(
            f,
            "all: {} of {} covered, of {blocking} that block a release {}",
            self.cases.len() - open,
            self.cases.len(),
            blocking - open_blocking
        )
    }
}

fn mark(case: &Case, sign: &str) -> String {
    format!("{sign} {}{}", case.id, if case.blocking { "★" } else { " " })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
## Lifecycle

| id | area | what is done |
|---|---|---|
| L01★ | exit code | agent exits |
| L03 | exit code | no file |

## Files
| F01★ | key mode | umask |
";

    fn case(id: &str, area: &str, blocking: bool, title: &str) -> Case {
        Case { id: id.into(), area: area.into(), blocking, title: title.into() }
    }

    #[test]
    fn a_table_and_a_list_read_alike() {
        let cases = vec![
            case("L01", "Lifecycle", true, "exit code"),
            case("L03", "Lifecycle", false, "exit code"),
            case("F01", "Files", true, "key mode"),
        ];
        assert_eq!(parse(TABLE), cases);
        let list = "id\tarea\tblocking\ttitle\nL01\tLifecycle\tblocking\texit code\nL03\tLifecycle\t-\texit code\nF01\tFiles\tblocking\tkey mode\n";
        assert_eq!(parse(list), cases);
    }

    #[test]
    fn only_a_comment_that_begins_so_is_a_claim() {
        let claim =
            concat!("// cov", "ers: L01 F01, L03\nfn a() {}\n  # cov", "ers: L02\nlet x = \"cov", "ers: Z01\"; // not cov", "ers: Z02\n");
        let expected = [(1, "L01"), (1, "F01"), (1, "L03"), (3, "L02")].map(|(line, id)| (line, id.to_owned()));
        assert_eq!(claims(claim), expected);
    }

    #[test]
    fn what_is_open_is_listed_by_area() {
        let cases = parse(TABLE);
        let claims = BTreeMap::from([
            ("L01".to_owned(), BTreeSet::from(["a.rs:1".to_owned()])),
            ("Q99".to_owned(), BTreeSet::from(["b.rs:2".to_owned()])),
        ]);
        let coverage = Coverage::new(&cases, &claims);
        let expected = "\
Lifecycle: 1 of 2 covered
  + L01★ exit code: a.rs:1
  - L03  exit code
Files: 0 of 1 covered
  - F01★ key mode
all: 1 of 3 covered, of 2 that block a release 1
";
        assert_eq!(coverage.to_string(), expected);
        assert_eq!(coverage.unknown(), [("Q99", &claims["Q99"])]);
        assert_eq!(coverage.open(true), [&cases[2]]);
    }
}
