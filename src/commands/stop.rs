//! `bottle stop`: asks the supervisor of a bottle to end it, and waits until nothing of it is left.

use std::io::Write;
use std::time::{Duration, Instant};

use clap_complete::ArgValueCandidates;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{completions, named};
use crate::error::{Error, Result};
use crate::store::{Entry, Layout, Phase, Status, start_time};

/// Longer than an agent's grace and the sidecars' together.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// An interrupt hurries each stage of the end: the agent, its namespace, the sidecars. It is repeated until all is over, since a
/// supervisor that is kept from running takes several as one (signal(7): standard signals do not queue).
const KILL_INTERVAL: Duration = Duration::from_millis(200);

/// How long the kernel may take to end what dies with a supervisor.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked at: who ends is not our child, and the lock tells nobody when it is free.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Stop a bottle, and wait until nothing of it is left
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Stop it at once, without waiting for the agent
    #[arg(long)]
    pub now: bool,
}

/// Ends the bottle. One that has ended already is success.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entry = named(layout, &args.id)?;
    if entry.status != Status::Running {
        return finish(&args.id, &entry, out);
    }
    let supervisor = entry.metadata.as_ref().map(|m| m.supervisor).ok_or_else(|| {
        Error::failed(format!("bottle `{}` cannot be stopped", args.id), "its metadata is unreadable", "end its `bottle start` by hand")
    })?;
    if entry.metadata.as_ref().is_some_and(|m| m.phase == Phase::Stopping) && !args.now {
        writeln!(out, "{} is ending already", args.id).map_err(super::cannot_write)?;
    }
    // Its supervisor has ended: what is left of it is looked for again.
    let gone = |out: &mut dyn Write| finish(&args.id, &settled(layout, &args.id)?, out);
    let Some(pid) = i32::try_from(supervisor.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw) else {
        return Err(Error::failed(
            format!("bottle `{}` cannot be stopped", args.id),
            "no process is recorded",
            "end its `bottle start` by hand",
        ));
    };
    let cannot = |e: rustix::io::Errno| {
        Error::failed(
            format!("bottle `{}` cannot be stopped", args.id),
            format!("signal process {pid:?}: {e}"),
            "run this as the user who started it",
        )
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return gone(out),
        Err(e) => return Err(cannot(e)),
    };
    // The descriptor names whoever has the number now; only then is it looked at.
    if start_time(supervisor.pid) != Some(supervisor.start_time) {
        return gone(out);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let (signal, again) = if args.now { (Signal::INT, Some(KILL_INTERVAL)) } else { (Signal::TERM, None) };
    let mut ended = false;
    while !ended && Instant::now() < deadline {
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(cannot(e)),
        }
        // One that is stopped, as by Ctrl-Z, must go on to end.
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
        let left = deadline.saturating_duration_since(Instant::now());
        ended = wait(&pidfd, again.unwrap_or(left).min(left));
    }
    if ended {
        gone(out)
    } else {
        Err(Error::failed(
            format!("bottle `{}` has not ended yet", args.id),
            format!("{STOP_TIMEOUT:?} have passed"),
            "`bottle stop --now` does not wait for the agent",
        ))
    }
}

/// The bottle, once its lock is free or only others than its supervisor keep it: what it started ends a moment after it.
fn settled(layout: &Layout, id: &str) -> Result<Entry> {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    loop {
        let entry = named(layout, id)?;
        let settles = entry.status == Status::Running || !entry.remains().is_empty();
        if !settles || Instant::now() > deadline {
            return Ok(entry);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Ends what a supervisor left, and says so only when it has ended.
fn finish(id: &str, entry: &Entry, out: &mut dyn Write) -> Result<u8> {
    if entry.status == Status::Running {
        let cause = "a process that cannot be seen from here keeps its lock";
        return Err(Error::failed(format!("bottle `{id}` has not ended"), cause, "run this as the user who started it, on that machine"));
    }
    entry.end_remains()?;
    writeln!(out, "{id} has ended").map_err(super::cannot_write)?;
    Ok(0)
}

/// True when the process has ended in time.
fn wait(pidfd: &std::os::fd::OwnedFd, time: Duration) -> bool {
    let Ok(time) = Timespec::try_from(time) else { return false };
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)), Ok(1..))
}
