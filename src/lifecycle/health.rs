//! Whether the sidecars serve: each says so once, and then again and again, so that one that hangs does not go unnoticed.
//!
//! A sidecar that hangs is named and left alone: requests through it wait until their deadlines, nothing passes around it, and it may
//! go on. Only the end of one ends the bottle.

use std::time::Instant;

use bottle_contract::event::Level;
use bottle_contract::handoff::{HEARTBEAT_TIMEOUT, READY};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::processes::{Health, WatchedProcess};
use super::state_machine::{Event, State};
use super::watch::Watch;
use crate::error::Error;
use crate::plan::Step;

/// Nanoseconds between the end of a process' descriptors and its own, on a busy machine.
const EXIT_REPORT_NANOS: i64 = 500_000_000;
/// To poll without waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Watch<'_> {
    /// A sidecar says that it serves, or that it still does.
    pub(super) fn served(&mut self, index: usize) {
        let watched = &mut self.processes[index];
        let mut buffer = [0; 64];
        let count = watched.handle.stdio.ready.as_ref().and_then(|fd| rustix::io::read(fd, &mut buffer).ok()).unwrap_or(0);
        if count == 0 {
            watched.handle.stdio.ready = None;
        }
        if watched.served {
            return self.beats(index, count > 0);
        }
        if buffer[..count].starts_with(READY) {
            watched.served = true;
            watched.health = Health::Heard(Instant::now());
            return self.check_ready();
        }
        watched.handle.stdio.ready = None;
        // It has closed the descriptor without a word: its end follows at once, and tells more; or it never serves.
        let soon = Timespec { tv_sec: 0, tv_nsec: EXIT_REPORT_NANOS };
        if !matches!(poll(&mut [PollFd::new(&watched.handle.pidfd, PollFlags::IN)], Some(&soon)), Ok(1..)) {
            let what = format!("`{}` does not serve", watched.handle.component);
            let hint = format!("`bottle logs {} {}` shows its last words", self.plan.id, watched.handle.component);
            self.fail(Error::failed(what, "it closed its readiness descriptor without a word", hint));
        }
    }

    pub(super) fn check_ready(&mut self) {
        let only_release = self.steps.len() == 1 && self.steps.front() == Some(&Step::Release);
        if self.state == State::Starting && only_release && self.processes.iter().all(|watched| watched.served) {
            self.dispatch(&Event::AllReady);
        }
    }

    /// One that has closed its descriptor has ended, or is one that never says more.
    fn beats(&mut self, index: usize, open: bool) {
        let watched = &mut self.processes[index];
        let health = if open { Health::Heard(Instant::now()) } else { Health::Unknown };
        if std::mem::replace(&mut watched.health, health) == Health::Silent && open {
            let component = watched.handle.component.clone();
            self.records.note("sidecar_answers", Level::Info, Some(format!("{component}: it answers again")));
            self.report_silent();
        }
    }

    /// When the next sidecar must have said something, while an agent depends on it.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        (self.state == State::Running).then(|| self.processes.iter().filter_map(WatchedProcess::due).min()).flatten()
    }

    /// Notes who has said nothing for too long.
    pub(super) fn notice_silence(&mut self) {
        let now = Instant::now();
        if self.next_silence().is_none_or(|due| now < due) {
            return;
        }
        // What came while this process itself stood still has not been read yet.
        let has_spoken = |watched: &WatchedProcess| {
            let fd = watched.handle.stdio.ready.as_ref();
            fd.is_some_and(|fd| !matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&NO_WAIT)), Ok(0)))
        };
        let silent: Vec<&mut WatchedProcess> =
            self.processes.iter_mut().filter(|watched| watched.due().is_some_and(|due| due <= now) && !has_spoken(watched)).collect();
        for watched in silent {
            watched.health = Health::Silent;
            let (component, seconds) = (&watched.handle.component, HEARTBEAT_TIMEOUT.as_secs());
            let message = format!("{component}: it has not answered for {seconds} s; what asks it waits, and nothing passes around it");
            self.records.note("sidecar_silent", Level::Warn, Some(message));
        }
        self.report_silent();
    }

    /// For `bottle list`.
    fn report_silent(&mut self) {
        let silent = self.processes.iter().filter(|watched| watched.health == Health::Silent);
        let silent: Vec<String> = silent.map(|watched| watched.handle.component.clone()).collect();
        if let Err(error) = self.claim.update(|metadata| metadata.silent = silent) {
            self.outcome.failure(error);
        }
    }
}
