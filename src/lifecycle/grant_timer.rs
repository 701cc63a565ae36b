//! Wakes the loop when a grant ends, also if the machine was suspended meanwhile: the end is then in the past at once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

use crate::error::{Error, Result};

/// A timer on the clock that counts suspended time (timerfd_create(2), CLOCK_BOOTTIME).
#[derive(Debug)]
pub(super) struct GrantTimer(OwnedFd);

impl GrantTimer {
    /// Not armed.
    pub(super) fn new() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
        timer.map(Self).map_err(|e| Error::failed("cannot make a timer", e, "raise `ulimit -n`"))
    }

    /// Readable from then on, in microseconds since boot; never, without a time.
    pub(super) fn arm(&self, at: Option<u64>) -> Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = at.map_or(never, |micros| Timespec {
            tv_sec: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
            // All zeros would disarm it.
            tv_nsec: i64::try_from(micros % 1_000_000 * 1_000).unwrap_or_default().max(1),
        });
        let value = Itimerspec { it_interval: never, it_value: at };
        let armed = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &value);
        armed.map(drop).map_err(|e| Error::bug("cannot set a timer", e))
    }
}

impl AsFd for GrantTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::clock;

    #[test]
    fn it_is_ready_from_its_time_on_and_not_before() {
        let timer = GrantTimer::new().unwrap();
        let is_ready = || poll(&mut [PollFd::new(&timer, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1;
        assert!(!is_ready());
        timer.arm(Some(clock::boot_micros() + 3_600_000_000)).unwrap();
        assert!(!is_ready());
        timer.arm(Some(clock::boot_micros())).unwrap();
        assert!(is_ready());
        timer.arm(None).unwrap();
        assert!(!is_ready());
    }
}
