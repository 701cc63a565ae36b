//! Writes the timeline.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use bottle_contract::event::Event;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::verify::{Report, read};
use super::{COMPONENT, END, FILE, HASH_MEMBER, NOTHING, START};
use crate::clock;
use crate::digest::sha256_hex;
use crate::error::{Error, Result, Source};
use crate::files::{Dir, failed};
use crate::logs::{Entry, escape_for_terminal};

/// Records are buffered up to this size.
const BUFFER: usize = 64 * 1024;

/// The content of the first record.
#[derive(Clone, Debug, Serialize)]
pub struct Opening<'a> {
    /// The bottle's id.
    pub bottle: &'a str,
    /// The boot of the machine that `mono_us` counts from.
    pub boot_id: &'a str,
    /// SHA-256 of the plan.
    pub plan: &'a str,
}

/// A timeline that is being written. Records are buffered until [`Timeline::flush`]; a SIGKILL loses only those.
#[derive(Debug)]
pub struct Timeline {
    file: File,
    path: PathBuf,
    out: Vec<u8>,
    /// The file's length; all its lines are complete.
    length: u64,
    seq: u64,
    head: String,
    closed: bool,
}

#[derive(Serialize)]
struct Start<'a> {
    time: String,
    event: &'static str,
    #[serde(flatten)]
    opening: &'a Opening<'a>,
}

#[derive(Serialize)]
struct End<'a> {
    time: String,
    event: &'static str,
    /// The number of records, including this one.
    records: u64,
    /// Bytes that the logs have lost.
    dropped: &'a BTreeMap<String, u64>,
    /// It was closed after a crash, so buffered records may be lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    crashed: bool,
}

impl Timeline {
    /// Starts the timeline of a bottle with its first record.
    pub fn create(state: &Dir, opening: &Opening<'_>) -> Result<Self> {
        let file = state.create_log(FILE)?;
        let path = state.path().join(FILE);
        let mut timeline = Self { file, path, out: Vec::new(), length: 0, seq: 0, head: NOTHING.to_owned(), closed: false };
        timeline.write(COMPONENT, &Start { time: clock::now(), event: START, opening })?;
        timeline.flush()?;
        Ok(timeline)
    }

    /// Adds an event. If the disk fails, the record stays buffered, and the next flush retries.
    pub fn append(&mut self, component: &str, event: &Event) -> Result<()> {
        self.write(component, event)
    }

    /// Adds an event of a component unchanged.
    pub fn copy(&mut self, component: &str, event: &Entry<'_>) -> Result<()> {
        self.record(component, event.as_str())
    }

    /// Writes the buffered records. Call it when idle.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.file.write_all(&self.out) {
            // Complete lines only: a partly written one is truncated, and stays buffered.
            let cut = rustix::fs::ftruncate(&self.file, self.length);
            let detail = cut.err().map_or(String::new(), |cut| format!("; ftruncate: {cut}"));
            let what = format!("cannot write the timeline `{}`", self.path.display());
            return Err(Error::failed(what, format!("write: {e}{detail}"), "free space there; without a timeline no request may pass"));
        }
        self.length += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Writes the last record and syncs the file. Returns the last hash, which identifies the whole timeline.
    pub fn close(mut self, dropped: &BTreeMap<String, u64>) -> Result<String> {
        self.end(dropped, false)
    }

    fn end(&mut self, dropped: &BTreeMap<String, u64>, crashed: bool) -> Result<String> {
        let records = self.seq + 1;
        self.write(COMPONENT, &End { time: clock::now(), event: END, records, dropped, crashed })?;
        self.closed = true;
        self.flush()?;
        self.file.sync_all().map_err(|e| {
            let what = format!("cannot sync the timeline `{}`", self.path.display());
            Error::failed(what, format!("fsync: {e}"), "check the disk")
        })?;
        Ok(self.head.clone())
    }

    fn write(&mut self, component: &str, body: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(body).map_err(unrecordable)?;
        self.record(component, &escape_for_terminal(&json))
    }

    /// Adds a record: the members of `body`, an escaped and non-empty object, between those that every record has.
    fn record(&mut self, component: &str, body: &str) -> Result<()> {
        let members = body.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|members| !members.is_empty());
        let members = members.ok_or_else(|| unrecordable("it is not an object with members"))?;
        let component = serde_json::to_string(component).map_err(unrecordable)?;
        let begin = self.out.len();
        // Writing to memory cannot fail.
        let _ = write!(
            self.out,
            "{{\"seq\":{},\"mono_us\":{},\"component\":{},",
            self.seq,
            clock::boot_micros(),
            escape_for_terminal(&component)
        );
        for part in [members, ",\"prev\":\"", &self.head, "\"}"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.head = sha256_hex(&self.out[begin..]);
        self.seq += 1;
        self.out.pop();
        for part in [HASH_MEMBER, &self.head, "\"}\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        if self.out.len() >= BUFFER { self.flush() } else { Ok(()) }
    }
}

fn unrecordable(cause: impl Into<Source>) -> Error {
    Error::bug("an event cannot be recorded", cause)
}

/// Closes a timeline after a crash: truncates a torn last line, and adds a last record that reports the crash. `None` if there is no timeline
/// or it is closed already. A broken one is an error, and stays unchanged.
pub fn seal(state: &Dir, dropped: &BTreeMap<String, u64>) -> Result<Option<String>> {
    // An empty file: its writer was killed before the first record. There is nothing to close.
    if state.stat(FILE)?.is_none_or(|stat| stat.st_size == 0) {
        return Ok(None);
    }
    let path = state.path().join(FILE);
    let broken =
        |why: String| Error::failed(format!("the timeline `{}` is broken", path.display()), why, "do not change it: it is evidence");
    let Report { records, head, closed, whole, .. } = read(state.open_file(FILE)?).map_err(|e| broken(e.to_string()))?;
    if closed {
        return Ok(None);
    }
    let fd = state.beneath(FILE.as_ref(), OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK, Mode::empty());
    let fd = fd.map_err(|e| failed("open", &path, "openat2", e))?;
    rustix::fs::ftruncate(&fd, whole).map_err(|e| failed("cut", &path, "ftruncate", e))?;
    let mut timeline =
        Timeline { file: File::from(fd), path: path.clone(), out: Vec::new(), length: whole, seq: records, head, closed: false };
    timeline.end(dropped, true).map(Some)
}
