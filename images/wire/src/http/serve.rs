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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::either::Either;

use crate::http::connection;
use crate::http::context::{Serving, Shared};
use crate::http::handler::Handler;
use crate::http::record::{RequestIds, log_refusal};
use crate::http::refusal::refusal_bytes;
use crate::http::slots::{ConnectionSlot, ConnectionTable, Slot};

/// Descriptors that are not connections: standard streams, listeners, epoll, the link, files being read.
const RESERVED_DESCRIPTORS: u64 = 32;
/// How long open connections may take to end after the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait when the kernel has no descriptor for a new connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long a connection that is evicted may take to end.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(50);
/// Surplus connections that are answered at one time; more are closed without an answer.
const MAX_TURNED_AWAY: usize = 16;
/// How long that may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

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
pub async fn serve(listener: OwnedFd, serving: Serving, handler: impl Handler) -> io::Result<()> {
    let listener = Listener::new(listener)?;
    let max = max_connections(serving.limits.connections);
    let slots = Arc::new(Semaphore::new(max));
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    let starved = AtomicBool::new(false);
    let mut connections = ConnectionTable::default();
    let shared = Arc::new(Shared { ids: RequestIds::new()?, serving, handler });
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
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
            Ok(stream) => {
                starved.store(false, Ordering::Relaxed);
                let mut permit = slots.clone().try_acquire_owned().ok();
                // A sibling's unused connections are its pool, and it does not flood.
                if permit.is_none() && shared.serving.peer.is_agent() && connections.evict_idlest() {
                    permit = tokio::time::timeout(EVICTION_TIMEOUT, slots.clone().acquire_owned()).await.ok().and_then(Result::ok);
                }
                let slot = permit.map(ConnectionSlot::new);
                slot.iter().for_each(|slot| connections.add(slot));
                match slot {
                    Some(slot) => open(stream, &shared, slot),
                    None => turn_away(stream, &shared, &turned_away),
                }
            }
        }
    }
    drop(listener);
    let all = u32::try_from(max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(STOP_TIMEOUT, slots.acquire_many(all)).await;
    Ok(())
}

type Stream = Either<TcpStream, UnixStream>;

async fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // A small write must not wait for the acknowledgement of the last one. It fails only on a closed socket.
            let _ = stream.set_nodelay(true);
            Ok(Either::Left(stream))
        }
        Listener::Unix(listener) => Ok(Either::Right(listener.accept().await?.0)),
    }
}

fn open<H: Handler>(stream: Stream, shared: &Arc<Shared<H>>, slot: Slot) {
    tokio::spawn(slot.clone().run_until_evicted(connection::serve(stream, shared.clone(), slot)));
}

/// Answers a surplus connection with the reason.
fn turn_away<H: Handler>(mut stream: Stream, shared: &Arc<Shared<H>>, turned_away: &Arc<Semaphore>) {
    let Ok(permit) = turned_away.clone().try_acquire_owned() else { return };
    let refused = Refused::new(Reason::TooMany, "this bottle has too many connections open");
    let id = shared.ids.next();
    log_refusal(&shared.serving.events, &id, None, None, &refused);
    let answer = refusal_bytes(&refused, shared.serving.component, &id);
    tokio::spawn(async move {
        let answered = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            // Read what it sends, or the reset would take the answer with it.
            let mut room = [0; 4096];
            while stream.read(&mut room).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, answered).await;
        drop(permit);
    });
}

/// Each connection may need a second descriptor towards the origin.
fn max_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = (limit.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).min(Semaphore::MAX_PERMITS)
}
