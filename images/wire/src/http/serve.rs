//! Accepts connections and bounds how many there are.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bottle_contract::event::Level;
use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use rustix::net::AddressFamily;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::http::connection;
use crate::http::context::{Facing, Serving, Shared};
use crate::http::handler::Forward;
use crate::http::record::{RequestIds, log_refusal};
use crate::http::refusal::refusal_bytes;
use crate::http::slots::{Seat, Seats, Slot};

/// Descriptors that are not connections: standard streams, listeners, epoll, the link, files being read.
const RESERVED_DESCRIPTORS: u64 = 32;
/// How long open connections may take to end after the stop.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait when the kernel has no descriptor for a new connection.
const BREATH: Duration = Duration::from_millis(50);
/// How long a connection that must give way may take for it.
const MAKES_ROOM: Duration = Duration::from_millis(50);
/// How many surplus connections are told so at one time; more are closed without a word.
const TOLD: usize = 16;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(match rustix::net::getsockname(&socket)?.address_family() {
            AddressFamily::UNIX => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }
}

/// Serves a listening TCP or unix socket until the stop, then until its connections have ended or a few seconds have
/// passed.
pub async fn serve(listener: OwnedFd, serving: Serving, forward: impl Forward) -> io::Result<()> {
    let listener = Listener::new(listener)?;
    let most = most_connections(serving.limits.connections);
    let slots = Arc::new(Semaphore::new(most));
    let told = Arc::new(Semaphore::new(TOLD));
    let starved = AtomicBool::new(false);
    let mut seats = Seats::default();
    let shared = Arc::new(Shared { ids: RequestIds::new()?, serving, forward });
    let stop = shared.serving.stop.clone();
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Err(error) => {
                if !starved.swap(true, Ordering::Relaxed) {
                    shared.serving.events.say(Level::Error, "error", format!("no connection can be accepted: {error}"));
                }
                tokio::time::sleep(BREATH).await;
            }
            Ok(stream) => {
                starved.store(false, Ordering::Relaxed);
                let mut permit = slots.clone().try_acquire_owned().ok();
                // A sibling's unused connections are its pool: it is not one that floods.
                if permit.is_none() && shared.serving.facing == Facing::Agent && seats.free_one() {
                    permit = tokio::time::timeout(MAKES_ROOM, slots.clone().acquire_owned()).await.ok().and_then(Result::ok);
                }
                let slot = permit.map(Seat::take);
                slot.iter().for_each(|slot| seats.add(slot));
                match (stream, slot) {
                    (Accepted::Tcp(stream), Some(slot)) => open(stream, &shared, slot),
                    (Accepted::Unix(stream), Some(slot)) => open(stream, &shared, slot),
                    (Accepted::Tcp(stream), None) => turn_away(stream, &shared, &told),
                    (Accepted::Unix(stream), None) => turn_away(stream, &shared, &told),
                }
            }
        }
    }
    drop(listener);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, slots.acquire_many(all)).await;
    Ok(())
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<Accepted> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // A small write must not wait for the acknowledgement of the last one. It fails only on a closed socket.
            let _ = stream.set_nodelay(true);
            Ok(Accepted::Tcp(stream))
        }
        Listener::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
    }
}

fn open<S, F>(stream: S, shared: &Arc<Shared<F>>, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
{
    tokio::spawn(slot.clone().held(connection::serve(stream, shared.clone(), slot)));
}

/// Tells a surplus connection that it is one.
fn turn_away<S, F>(mut stream: S, shared: &Arc<Shared<F>>, told: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Forward,
{
    let Ok(permit) = told.clone().try_acquire_owned() else { return };
    let refused = Refused::new(Reason::TooMany, "this bottle has too many connections open");
    let id = shared.ids.next();
    log_refusal(&shared.serving.events, &id, None, None, &refused);
    let answer = refusal_bytes(&refused, shared.serving.piece, &id);
    tokio::spawn(async move {
        let told = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            // Read what it sends, or the reset would take the answer with it.
            let mut room = [0; 4096];
            while stream.read(&mut room).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
        drop(permit);
    });
}

/// Each connection may need a second descriptor towards the origin.
fn most_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = (limit.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).min(Semaphore::MAX_PERMITS)
}
