//! The last bytes for a slow reader: as long as it takes something, and no longer.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::operator::Operator;
use super::readiness::Readiness;
use super::signal_queue::SignalQueue;
use crate::terminal::{self, MESSAGE_TIMEOUT};

/// How long a program that reads our output may take nothing of it until it is given up.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last bytes may take altogether once the end was asked for.
const ASKED_TIMEOUT: Duration = Duration::from_secs(5);

/// Every process is gone: passes on what was read, and leaves the terminal as it was. Returns how many bytes nobody has taken. `asked`: a
/// signal or the time limit asked for the end.
pub(super) fn finish(operator: &mut Operator, signals: &mut SignalQueue<'_>, asked: bool) -> usize {
    // A terminal that is stopped stays so until somebody types; a program may only be busy.
    let patience = if asked || terminal::messages_are_seen() { MESSAGE_TIMEOUT } else { PROGRESS_TIMEOUT };
    let end = asked.then(|| Instant::now() + ASKED_TIMEOUT);
    let mut unread = 0;
    let mut left = operator.waiting();
    let mut since = Instant::now();
    while left > 0 {
        let deadline = end.into_iter().fold(since + patience, Instant::min);
        // A second signal hurries.
        if Instant::now() >= deadline || !pump_once(operator, signals, deadline) {
            unread = left;
            break;
        }
        let now_left = operator.waiting();
        if now_left < left {
            (left, since) = (now_left, Instant::now());
        }
    }
    operator.give_up();
    pump(operator, signals, MESSAGE_TIMEOUT);
    operator.leave_raw();
    unread
}

/// Passes on all that waits, within a time, or until a signal comes.
pub(super) fn pump(operator: &mut Operator, signals: &mut SignalQueue<'_>, time: Duration) {
    let deadline = Instant::now() + time;
    while operator.waiting() > 0 && Instant::now() < deadline && pump_once(operator, signals, deadline) {}
}

/// What became ready.
enum Token {
    Signals,
    Stdout,
    Stderr,
}

/// Passes on what is taken now; false if a signal has come. Whoever goes on afterwards still hears it.
fn pump_once(operator: &mut Operator, signals: &mut SignalQueue<'_>, deadline: Instant) -> bool {
    let mut readiness = Readiness::new();
    readiness.read(Token::Signals, signals.as_fd());
    for (token, relay) in [(Token::Stdout, &operator.stdout), (Token::Stderr, &operator.stderr)] {
        if let Some(fd) = relay.blocked_on() {
            readiness.write(token, fd);
        }
    }
    for token in readiness.wait(Some(deadline)) {
        match token {
            Token::Stdout => operator.stdout.pump(),
            Token::Stderr => operator.stderr.pump(),
            Token::Signals if signals.postpone() => return false,
            Token::Signals => {}
        }
    }
    true
}
