//! Whether the sidecars serve: each says so once, and then again and again, so that one that hangs does not go unnoticed.
//!
//! A sidecar that hangs is named and left alone: requests through it wait until their deadlines, nothing passes around it, and it may
//! go on. Only the end of one ends the bottle.

use std::time::Instant;

use bottle_contract::event::Level;
use bottle_contract::handoff::{READY, SILENT_AFTER};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cells::{Health, Live};
use super::table::{Happening, State};
use super::watch::Watch;
use crate::error::Error;
use crate::plan::Step;

/// Nanoseconds between the end of a process' descriptors and its own, on a busy machine.
const LAST_WORDS: i64 = 500_000_000;
/// To poll without waiting.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Watch<'_> {
    /// A sidecar says that it serves, or that it still does.
    pub(super) fn served(&mut self, index: usize) {
        let live = &mut self.cells[index];
        let mut buffer = [0; 64];
        let count = live.cell.ends.ready.as_ref().and_then(|fd| rustix::io::read(fd, &mut buffer).ok()).unwrap_or(0);
        if count == 0 {
            live.cell.ends.ready = None;
        }
        if live.served {
            return self.beats(index, count > 0);
        }
        if buffer[..count].starts_with(READY) {
            live.served = true;
            live.health = Health::Heard(Instant::now());
            return self.check_served();
        }
        live.cell.ends.ready = None;
        // It has closed the descriptor without a word: its end follows at once, and tells more; or it never serves.
        let soon = Timespec { tv_sec: 0, tv_nsec: LAST_WORDS };
        if !matches!(poll(&mut [PollFd::new(&live.cell.pidfd, PollFlags::IN)], Some(&soon)), Ok(1..)) {
            let what = format!("`{}` does not serve", live.cell.piece);
            let hint = format!("`bottle logs {} {}` shows its last words", self.plan.id, live.cell.piece);
            self.fail(Error::failed(what, "it closed its readiness descriptor without a word", hint));
        }
    }

    pub(super) fn check_served(&mut self) {
        let only_release = self.steps.len() == 1 && self.steps.front() == Some(&Step::Release);
        if self.state == State::Starting && only_release && self.cells.iter().all(|live| live.served) {
            self.happen(&Happening::Served);
        }
    }

    /// One that has closed its descriptor has ended, or is one that never says more.
    fn beats(&mut self, index: usize, open: bool) {
        let live = &mut self.cells[index];
        let health = if open { Health::Heard(Instant::now()) } else { Health::Unknown };
        if std::mem::replace(&mut live.health, health) == Health::Silent && open {
            let piece = live.cell.piece.clone();
            self.records.note("sidecar_answers", Level::Info, Some(format!("{piece}: it answers again")));
            self.tell_who_is_silent();
        }
    }

    /// When the next sidecar must have said something, while an agent depends on it.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        (self.state == State::Running).then(|| self.cells.iter().filter_map(Live::due).min()).flatten()
    }

    /// Notes who has said nothing for too long.
    pub(super) fn notice_silence(&mut self) {
        let now = Instant::now();
        if self.next_silence().is_none_or(|due| now < due) {
            return;
        }
        // What came while this process itself stood still has not been read yet.
        let has_spoken = |live: &Live| {
            let fd = live.cell.ends.ready.as_ref();
            fd.is_some_and(|fd| !matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&NOW)), Ok(0)))
        };
        let silent: Vec<&mut Live> =
            self.cells.iter_mut().filter(|live| live.due().is_some_and(|due| due <= now) && !has_spoken(live)).collect();
        for live in silent {
            live.health = Health::Silent;
            let (piece, seconds) = (&live.cell.piece, SILENT_AFTER.as_secs());
            let message = format!("{piece}: it has not answered for {seconds} s; what asks it waits, and nothing passes around it");
            self.records.note("sidecar_silent", Level::Warn, Some(message));
        }
        self.tell_who_is_silent();
    }

    /// For `bottle list`.
    fn tell_who_is_silent(&mut self) {
        let silent = self.cells.iter().filter(|live| live.health == Health::Silent);
        let silent: Vec<String> = silent.map(|live| live.cell.piece.clone()).collect();
        if let Err(error) = self.claim.update(|metadata| metadata.silent = silent) {
            self.ending.failure(error);
        }
    }
}
