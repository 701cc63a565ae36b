//! Verifies a timeline from its file alone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::{END, HASH_MEMBER, NOTHING, START};
use crate::digest::sha256_hex;
use crate::files::Dir;

/// The longest line that is read. An event has about twenty fields of bounded size.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// `,"hash":"` and 64 digits and `"}`.
const SUFFIX: usize = HASH_MEMBER.len() + 64 + 2;

/// A timeline with an intact chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The bottle.
    pub bottle: String,
    /// The digest of its plan.
    pub plan: String,
    /// The number of records.
    pub records: u64,
    /// The last hash.
    pub head: String,
    /// The last record is the end. If not, records may be missing: the bottle is running, it crashed, or the file was truncated.
    pub closed: bool,
    /// It was closed after a crash.
    pub crashed: bool,
    /// Bytes that the logs have lost, from the last record.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes of complete lines. An incomplete one may follow.
    pub whole: u64,
    /// Bytes of an incomplete line at the end.
    pub torn: u64,
}

/// Where the chain breaks, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The number of the first wrong record.
    pub seq: u64,
    /// Why it is wrong.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.seq, self.why)
    }
}

impl std::error::Error for Broken {}

/// The members of every record, and those of the first and the last.
#[derive(Deserialize)]
struct Record {
    seq: u64,
    mono_us: u64,
    prev: String,
    event: String,
    /// Old records call it `piece`.
    #[serde(alias = "piece")]
    component: String,
    bottle: Option<String>,
    plan: Option<String>,
    records: Option<u64>,
    dropped: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    crashed: bool,
}

/// Verifies the timeline at `path`: a regular file, read once in bounded memory.
pub fn verify(path: &Path) -> Result<Report, Broken> {
    let unreadable = |e: crate::error::Error| Broken { seq: 0, why: format!("{}: {}", e.what, e.cause) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Broken { seq: 0, why: "it is not a file".to_owned() })?;
    read(Dir::open(parent).and_then(|dir| dir.open_file(name)).map_err(unreadable)?)
}

/// Verifies an open timeline.
pub(super) fn read(file: File) -> Result<Report, Broken> {
    let mut lines = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    let mut report = Report {
        bottle: String::new(),
        plan: String::new(),
        records: 0,
        head: NOTHING.to_owned(),
        closed: false,
        crashed: false,
        dropped: BTreeMap::new(),
        whole: 0,
        torn: 0,
    };
    let mut last = 0;
    loop {
        line.clear();
        let seq = report.records;
        let broken = |why: &str| Broken { seq, why: why.to_owned() };
        let read = (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(|e| broken(&format!("read: {e}")))?;
        if read == 0 {
            break;
        }
        if report.closed {
            return Err(broken("it follows the end"));
        }
        if line.last() != Some(&b'\n') {
            if read as u64 == MAX_LINE_BYTES {
                return Err(broken("the line is too long"));
            }
            report.torn = read as u64;
            break;
        }
        let (record, hash) = open(&line[..read - 1]).map_err(broken)?;
        if record.prev != report.head {
            return Err(broken("it does not follow the record before it: records were removed, added or moved"));
        }
        if record.seq != seq {
            return Err(broken("its number is wrong"));
        }
        if record.mono_us < last {
            return Err(broken("it is older than the record before it"));
        }
        if (record.event == START && record.bottle.is_some()) != (seq == 0) {
            return Err(broken(if seq == 0 { "the first record is not the start" } else { "it is a second start" }));
        }
        if seq == 0 {
            report.bottle = record.bottle.unwrap_or_default();
            report.plan = record.plan.unwrap_or_default();
        }
        if record.event == END && record.component == super::COMPONENT {
            if record.records != Some(seq + 1) {
                return Err(broken("the end has a different number of records"));
            }
            report.closed = true;
            report.crashed = record.crashed;
            report.dropped = record.dropped.unwrap_or_default();
        }
        last = record.mono_us;
        report.head = hash;
        report.records += 1;
        report.whole += read as u64;
    }
    if report.records == 0 {
        return Err(Broken { seq: 0, why: "there is no record".to_owned() });
    }
    Ok(report)
}

/// A line's content and hash, if the hash is correct.
fn open(line: &[u8]) -> Result<(Record, String), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not text")?;
    let cut = line.len().checked_sub(SUFFIX).filter(|&cut| line.is_char_boundary(cut)).ok_or("it has no hash")?;
    let (body, suffix) = line.split_at(cut);
    let hash = suffix.strip_prefix(HASH_MEMBER).and_then(|rest| rest.strip_suffix("\"}")).ok_or("it has no hash")?;
    let hashed = format!("{body}}}");
    if sha256_hex(hashed.as_bytes()) != hash {
        return Err("it was changed");
    }
    let record = serde_json::from_str(&hashed).map_err(|_| "it is not a record")?;
    Ok((record, hash.to_owned()))
}
