//! The questions of a run: the queue, its journal, the connection to `supervise`, and the commands that wait for something.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bottle_contract::event::Event;
use bottle_contract::supervise::{Denial, MAX_DENIALS};

use super::asks_channel::AsksChannel;
use super::signature::Verification;
use crate::asks::{Queue, Record, Settings, ask_journal};
use crate::clock;
use crate::control_socket::ClientId;
use crate::error::{Error, Result};
use crate::files::Dir;

/// All that concerns the questions of one run.
pub(super) struct Supervision {
    /// The questions.
    pub(super) queue: Queue,
    /// The way to those who ask.
    pub(super) channel: AsksChannel,
    /// The file of signers, of whom one must sign each grant.
    pub(super) signers: Option<PathBuf>,
    /// A signature that is being verified.
    pub(super) verification: Option<Verification>,
    /// Commands that wait for what comes of their yes, by the question.
    pub(super) answers: BTreeMap<String, ClientId>,
    /// Grows with each change of the questions.
    pub(super) revision: u64,
    /// The newest refusals.
    denials: VecDeque<Denial>,
    journal: Journal,
}

impl Supervision {
    /// Without questions yet.
    pub(super) fn new(settings: Settings, signers: Option<PathBuf>, socket: OwnedFd, state: &Dir) -> Result<Self> {
        Ok(Self {
            queue: Queue::new(settings, now()),
            channel: AsksChannel::new(socket),
            signers,
            verification: None,
            answers: BTreeMap::new(),
            revision: 1,
            denials: VecDeque::new(),
            journal: Journal::create(state)?,
        })
    }

    /// Puts a step on disk.
    pub(super) fn write(&mut self, record: &Record) -> Result<()> {
        self.journal.write(record)
    }

    /// Remembers a refusal, if the event of a sidecar is one.
    pub(super) fn take_refusal(&mut self, component: &str, event: Event) {
        let Some(reason) = event.reason.filter(|_| event.event == "refused") else { return };
        let Event { time, method, origin, path, .. } = event;
        self.denials.push_back(Denial { time, component: component.to_owned(), method, origin, path, reason });
        if self.denials.len() > MAX_DENIALS {
            self.denials.pop_front();
        }
    }

    /// The newest refusals, the newest last.
    pub(super) fn denials(&self, last: usize) -> Vec<Denial> {
        self.denials.iter().skip(self.denials.len().saturating_sub(last)).cloned().collect()
    }
}

/// The time of questions: milliseconds since boot, suspended time included.
pub(super) fn now() -> u64 {
    clock::boot_micros() / 1000
}

/// The journal: each line is on disk when [`Journal::write`] returns.
#[derive(Debug)]
struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    fn create(state: &Dir) -> Result<Self> {
        Ok(Self { file: state.create_log(ask_journal::FILE)?, path: state.path().join(ask_journal::FILE) })
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let failed = |error: std::io::Error| {
            let what = format!("cannot write the journal `{}`", self.path.display());
            Error::failed(what, error, "free space there; without a journal nothing is granted")
        };
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(failed)
    }
}
