//! The skeleton of a sidecar's `main`: arguments, descriptors, process attributes, signals, readiness.

use std::future::Future;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bottle_contract::event::Level;
use bottle_contract::handoff::{self, HEARTBEAT, HEARTBEAT_INTERVAL, Listener, READY};
use bottle_contract::names;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::process::events::Events;
use crate::process::memory;
use crate::process::reload::{Generation, Reloadable};

/// Exit status for wrong use.
const EXIT_USAGE: u8 = 2;
/// Exit status when the sidecar could not start or go on.
const EXIT_FAILED: u8 = 125;
/// Threads of the runtime at most. More bottles are better served by more bottles.
const MAX_WORKERS: usize = 4;
/// Tasks are dropped in microseconds; only a thread that is stuck in a call of the kernel takes longer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);
/// Deep enough for TLS and HTTP/2 in a debug build; only what is touched is resident.
const STACK_BYTES: usize = 1 << 20;

/// What a sidecar starts with.
#[derive(Debug)]
pub struct Sidecar {
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// The directory of its configuration.
    pub config: PathBuf,
    /// The directory of its secrets.
    pub secrets: PathBuf,
    /// The directory of its certificate authority.
    pub ca: PathBuf,
    /// Where to say "ready".
    pub ready: Ready,
    /// Cancelled on SIGTERM and SIGINT.
    pub stop: CancellationToken,
    /// Given on each SIGHUP.
    pub reload: Reload,
}

impl Sidecar {
    /// Takes out the listener of this name.
    pub fn listener(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.listeners.iter().position(|listener| listener.name == name)?;
        Some(self.listeners.swap_remove(at).socket)
    }
}

/// Says "ready" once, and from then on that requests make progress; dropped without it, the supervisor knows that the start failed.
#[derive(Debug)]
pub struct Ready(Option<OwnedFd>);

impl Ready {
    /// The listeners are served from now on.
    pub fn say(self) -> anyhow::Result<()> {
        memory::release_unused();
        let Some(fd) = self.0 else { return Ok(()) };
        let mut file = std::fs::File::from(fd);
        file.write_all(READY).context("cannot say ready")?;
        tokio::spawn(heartbeat(file.into()));
        Ok(())
    }
}

/// Reports that the runtime makes progress, until nobody reads it.
async fn heartbeat(fd: OwnedFd) {
    // A supervisor that stands still reads nothing: what has no room is not written.
    let _ = rustix::io::ioctl_fionbio(&fd, true);
    let mut turns = tokio::time::interval(HEARTBEAT_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if !matches!(rustix::io::write(&fd, HEARTBEAT), Ok(_) | Err(Errno::AGAIN | Errno::INTR)) {
            return;
        }
    }
}

/// Waits for SIGHUP.
#[derive(Debug)]
pub struct Reload(Signal);

impl Reload {
    /// Returns when the configuration should be read again.
    pub async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

struct Directories {
    config: PathBuf,
    secrets: PathBuf,
    ca: PathBuf,
}

fn directories(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> anyhow::Result<Directories> {
    let mut directories = Directories { config: names::CONFIG_DIR.into(), secrets: names::SECRETS_DIR.into(), ca: names::CA_DIR.into() };
    while let Some(argument) = arguments.next() {
        let slot = match argument.to_str() {
            Some("--config") => &mut directories.config,
            Some("--secrets") => &mut directories.secrets,
            Some("--ca") => &mut directories.ca,
            // An argument may be a secret by mistake: it is not repeated.
            _ => bail!("unknown argument; known are --config DIR, --secrets DIR, --ca DIR"),
        };
        *slot = arguments.next().context("an option needs a directory")?.into();
    }
    Ok(directories)
}

/// No core dump, and no other process of the same user may read this one's memory (prctl(2), PR_SET_DUMPABLE).
fn close_to_others() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot become undumpable")?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("cannot forbid core dumps")
}

/// Ends the process on any panic. The message is not shown: it may hold what was being handled.
fn abort_on_panic(events: Events) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        events.say(Level::Error, "error", format!("internal error at {place}"));
        std::process::abort();
    }));
}

/// Says ready, then serves until the end; on each SIGHUP `read_again` reads what has changed.
pub async fn serve_reloadable<T: Generation>(
    serving: impl Future<Output = std::io::Result<()>>,
    reloadable: &Reloadable<T>,
    read_again: impl Fn(&T) -> anyhow::Result<T>,
    ready: Ready,
    mut reload: Reload,
    events: &Events,
) -> anyhow::Result<()> {
    let mut event = Events::event(Level::Info, "ready");
    event.generation = Some(reloadable.current().generation());
    events.write(&event);
    ready.say()?;
    tokio::pin!(serving);
    loop {
        tokio::select! {
            ended = &mut serving => return ended.context("the listener failed"),
            () = reload.asked() => reloadable.reload(&read_again, events),
        }
    }
}

/// A request passes two proxies, and the agent and the origin work too: each proxy takes half of the processors. With one
/// thread nothing is handed from thread to thread, which costs more than a small request itself.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, |all| all.get() / 2).min(MAX_WORKERS);
    let mut builder = match workers {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        more => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(more);
            builder
        }
    };
    builder.max_blocking_threads(4).thread_stack_size(STACK_BYTES).enable_all().build()
}

/// Runs a sidecar. Call it first in `main`, before any descriptor is opened.
#[expect(unsafe_code, reason = "descriptors are taken over from the environment, once")]
pub fn run<M, R>(main: M) -> ExitCode
where
    M: FnOnce(Sidecar, Events) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let events = Events::stderr();
    // The only place that reports why a sidecar could not start or go on: the error and its causes, on one line.
    let failed = |code: u8, error: anyhow::Error| {
        events.say(Level::Error, "error", format!("{error:#}"));
        ExitCode::from(code)
    };
    abort_on_panic(events.clone());
    // SAFETY: this is the start of the process, before anything has been opened, as the caller promises.
    let handoff = match unsafe { handoff::take() } {
        Ok(handoff) => handoff,
        Err(message) => return failed(EXIT_FAILED, anyhow!(message)),
    };
    let directories = match directories(std::env::args_os().skip(1)) {
        Ok(directories) => directories,
        Err(error) => return failed(EXIT_USAGE, error),
    };
    if let Err(error) = close_to_others() {
        return failed(EXIT_FAILED, error);
    }
    let runtime = match runtime().context("no runtime") {
        Ok(runtime) => runtime,
        Err(error) => return failed(EXIT_FAILED, error),
    };
    let outcome = runtime.block_on(async {
        let on = |kind| signal(kind).context("signals cannot be awaited");
        let (mut term, mut int, reload) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
        let stop = CancellationToken::new();
        let (log, signalled) = (events.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            log.write(&Events::event(Level::Info, "stopping"));
            signalled.cancel();
        });
        let Directories { config, secrets, ca } = directories;
        let ready = Ready(handoff.ready);
        main(Sidecar { listeners: handoff.listeners, config, secrets, ca, ready, stop, reload: Reload(reload) }, events.clone()).await
    });
    // Connections that outlived the grace end here, and with them their exchanges: each is recorded as it is dropped.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(EXIT_FAILED, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_argument_is_refused_and_not_repeated() {
        let read = |arguments: &[&str]| {
            let read = directories(arguments.iter().map(Into::into)).map_err(|error| format!("{error:#}"));
            read.map(|d| [d.config, d.secrets, d.ca].map(|p| p.display().to_string()))
        };
        assert_eq!(read(&[]), Ok(["/run/bottle/config", "/run/bottle/secrets", "/run/bottle/ca"].map(str::to_owned)));
        assert_eq!(read(&["--ca", "/c", "--config", "/a", "--secrets", "/b"]), Ok(["/a", "/b", "/c"].map(str::to_owned)));
        assert_eq!(read(&["--token=abc"]), Err("unknown argument; known are --config DIR, --secrets DIR, --ca DIR".into()));
        assert_eq!(read(&["--ca"]), Err("an option needs a directory".into()));
    }
}
