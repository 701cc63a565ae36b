//! The descriptors that a sidecar starts with: listening sockets by systemd's convention, and a pipe to report readiness.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Descriptors from here on are listeners, in the order of `LISTEN_FDNAMES` (sd_listen_fds(3)).
pub const FIRST_LISTENER: RawFd = 3;
/// The sockets of a sidecar that runs without a supervisor: `agent=0.0.0.0:9099`, or `link=/path` for a unix socket, separated by
/// spaces. Ignored if descriptors are handed over.
pub const LISTEN: &str = "BOTTLE_LISTEN";
/// The variable with the number of the descriptor on which the sidecar writes [`READY`] once it serves, and then [`HEARTBEAT`] as long as
/// it does. A sidecar that closes it is not watched.
pub const READY_FD: &str = "BOTTLE_READY_FD";
/// Written once the sidecar serves. If the descriptor closes without it, the start failed.
pub const READY: &[u8] = b"READY\n";

/// Written repeatedly while requests make progress. A sidecar that is stopped or stuck writes nothing.
pub const HEARTBEAT: &[u8] = b".";
/// Between two heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Without a heartbeat for this time, a sidecar is unresponsive.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket and its name.
#[derive(Debug)]
pub struct Listener {
    /// One of [`crate::names::listener`].
    pub name: String,
    /// The socket, close-on-exec.
    pub socket: OwnedFd,
}

/// The descriptors that were handed over.
#[derive(Debug)]
pub struct Handoff {
    /// Listening sockets.
    pub listeners: Vec<Listener>,
    /// The descriptor for [`READY`].
    pub ready: Option<OwnedFd>,
}

/// Takes over the descriptors that the environment names, once, at the very start of `main`.
///
/// # Safety
/// The environment must tell the truth, and nothing else may own these descriptors: call it once, before any
/// descriptor is opened.
pub unsafe fn take() -> Result<Handoff, String> {
    let var = |name: &str| std::env::var(name).ok();
    let ours = var("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let names = var("LISTEN_FDNAMES").filter(|_| ours).unwrap_or_default();
    let count: usize = match var("LISTEN_FDS").filter(|_| ours) {
        None => 0,
        Some(text) => text.parse().map_err(|_| "LISTEN_FDS is not a number".to_owned())?,
    };
    let names: Vec<&str> = if count == 0 { Vec::new() } else { names.split(':').collect() };
    if names.len() != count {
        return Err(format!("LISTEN_FDS is {count}, but LISTEN_FDNAMES has {} names", names.len()));
    }
    if count == 0
        && let Some(own) = var(LISTEN)
    {
        let listeners = own.split_whitespace().map(open).collect::<Result<_, _>>()?;
        return Ok(Handoff { listeners, ready: None });
    }
    let listeners = names.iter().zip(FIRST_LISTENER..).map(|(name, fd)| Listener {
        name: (*name).to_owned(),
        // SAFETY: the caller vouches that descriptors FIRST_LISTENER.. are ours alone.
        socket: unsafe { OwnedFd::from_raw_fd(fd) },
    });
    let ready = match var(READY_FD) {
        None => None,
        Some(text) => {
            let fd: RawFd = text.parse().map_err(|_| format!("{READY_FD} is not a number"))?;
            // SAFETY: as above.
            Some(unsafe { OwnedFd::from_raw_fd(fd) })
        }
    };
    Ok(Handoff { listeners: listeners.collect(), ready })
}

/// Opens `name=place`.
fn open(text: &str) -> Result<Listener, String> {
    let (name, place) = text.split_once('=').ok_or_else(|| format!("{LISTEN} has an entry without a name: NAME=ADDRESS or NAME=/PATH"))?;
    let socket: std::io::Result<OwnedFd> = if place.starts_with('/') {
        std::os::unix::net::UnixListener::bind(place).map(Into::into)
    } else {
        std::net::TcpListener::bind(place).map(Into::into)
    };
    Ok(Listener { name: name.to_owned(), socket: socket.map_err(|error| format!("cannot listen on {place}: {error}"))? })
}

/// The environment that makes [`take`] find `names` on descriptors [`FIRST_LISTENER`] and up, and the ready
/// descriptor behind them, for a process whose pid will be `pid` as it sees itself.
pub fn environment(names: &[&str], pid: u32) -> Vec<(String, String)> {
    let ready = FIRST_LISTENER as usize + names.len();
    vec![
        ("LISTEN_PID".into(), pid.to_string()),
        ("LISTEN_FDS".into(), names.len().to_string()),
        ("LISTEN_FDNAMES".into(), names.join(":")),
        (READY_FD.into(), ready.to_string()),
    ]
}
