//! Signals that arrived, also those that were read while something else was waited for.

use std::os::fd::{AsFd, BorrowedFd};

use crate::signals::{Signals, asks_for_end};

/// Signals, and those among them that still have to be acted on.
pub(super) struct SignalQueue<'r> {
    signals: &'r mut Signals,
    late: Vec<i32>,
}

impl<'r> SignalQueue<'r> {
    /// Of this process.
    pub(super) fn new(signals: &'r mut Signals) -> Self {
        Self { signals, late: Vec::new() }
    }

    /// Everything that has arrived and was not acted on, oldest first.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let mut signals = std::mem::take(&mut self.late);
        signals.extend(self.signals.take());
        signals
    }

    /// Reads what has arrived and leaves it for later; true if it asks for the end.
    pub(super) fn postpone(&mut self) -> bool {
        let came = self.signals.take();
        let hurries = came.iter().any(|signal| asks_for_end(*signal));
        self.late.extend(came);
        hurries
    }

    /// True if something was left for later.
    pub(super) fn has_postponed(&self) -> bool {
        !self.late.is_empty()
    }
}

impl AsFd for SignalQueue<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
