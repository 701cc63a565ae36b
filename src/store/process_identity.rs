//! Identifies a process by pid and start time, so that a later one with the same pid is not mistaken for it.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result, Source};

/// For the kernel to end a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The start time of a process, in clock ticks since boot: field 22 of proc_pid_stat(5). `None` if there is no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|(_, start)| start)
}

/// The state letter and the start time of a process.
fn stat(pid: u32) -> Option<(u8, u64)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat)
}

/// True while this very process is running. A zombie does not count: its parent may never reap it.
pub(super) fn is_running(pid: u32, start: u64) -> bool {
    stat(pid).is_some_and(|(state, started)| started == start && !matches!(state, b'Z' | b'X'))
}

/// Kills a process, if it is still the same one, and waits until it has exited.
pub fn end(pid: u32, start: u64) -> Result<()> {
    let Some(number) = i32::try_from(pid).ok().filter(|n| *n > 1).and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { return Ok(()) };
    // The descriptor refers to the current owner of the pid, and is checked afterwards.
    if !is_running(pid, start) {
        return Ok(());
    }
    let failed = |cause: Source| Error::failed(format!("cannot kill process {pid}"), cause, "`bottle cleanup` retries");
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => return Err(failed(e.into())),
    }
    let patience = Timespec::try_from(KILL_TIMEOUT).unwrap_or_default();
    match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience))) {
        Ok(1..) => Ok(()),
        Ok(0) => Err(failed(format!("it has not exited within {KILL_TIMEOUT:?} of SIGKILL").into())),
        Err(e) => Err(failed(e.into())),
    }
}

/// The name in field 2 may contain parentheses; the last one ends it.
fn parse(stat: &[u8]) -> Option<(u8, u64)> {
    let behind_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The id of this boot. Pids and start times of another boot are meaningless.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(Error::failed("the id of this boot cannot be read", format!("read {path}: {e}"), "bottle needs /proc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_fields_is_read_right() {
        let stat = b"7 (a) R 1 (x 9) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 100 200";
        assert_eq!(parse(stat), Some((b'S', 98765)));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"7 (x) S"), None);
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
