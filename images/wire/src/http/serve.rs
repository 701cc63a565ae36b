//! Accepts connections and bounds how many there are.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bottle_contract::event::Level;
use bottle_contract::local;
use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use rustix::net::AddressFamily;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::either::Either;

use crate::direct::name_table::{Names, OpenName};
use crate::http::context::{Serving, Shared};
use crate::http::handler::Handler;
use crate::http::record::{RequestIds, log_refusal};
use crate::http::refusal::refusal_bytes;
use crate::http::slots::{ConnectionSlot, ConnectionTable, Slot};
use crate::http::{arrival, connection};

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

/// Sockets on which programs arrive that know no proxy, and the names that they looked up.
pub struct Entrances {
    /// Listening TCP sockets.
    pub sockets: Vec<OwnedFd>,
    /// Which name has which local address.
    pub names: Arc<Names>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// For programs that know no proxy.
    Direct(TcpListener, Arc<Names>),
}

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(match rustix::net::getsockname(&socket)?.address_family() {
            AddressFamily::UNIX => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    fn direct(socket: OwnedFd, names: &Arc<Names>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self::Direct(TcpListener::from_std(socket.into())?, names.clone()))
    }
}

/// Serves a listening TCP or unix socket until the stop, then until its connections have ended or a few seconds have
/// passed.
pub async fn serve(listener: OwnedFd, serving: Serving, handler: impl Handler) -> io::Result<()> {
    serve_also(listener, None, serving, handler).await
}

/// The same for programs of the same peer that know no proxy. All of its connections count together.
pub async fn serve_also(listener: OwnedFd, entrances: Option<Entrances>, serving: Serving, handler: impl Handler) -> io::Result<()> {
    let mut listeners = vec![Listener::new(listener)?];
    if let Some(Entrances { sockets, names }) = entrances {
        for socket in sockets {
            listeners.push(Listener::direct(socket, &names)?);
        }
    }
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
            accepted = accept(&mut listeners) => accepted,
        };
        match accepted {
            Err(error) => {
                if !starved.swap(true, Ordering::Relaxed) {
                    shared.serving.events.say(Level::Error, "error", format!("no connection can be accepted: {error}"));
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
            Ok(Accepted { arrived: Arrived::Astray, .. }) => starved.store(false, Ordering::Relaxed),
            Ok(Accepted { stream, arrived }) => {
                starved.store(false, Ordering::Relaxed);
                let mut permit = slots.clone().try_acquire_owned().ok();
                // A sibling's unused connections are its pool, and it does not flood.
                if permit.is_none() && shared.serving.peer.is_agent() && connections.evict_idlest() {
                    permit = tokio::time::timeout(EVICTION_TIMEOUT, slots.clone().acquire_owned()).await.ok().and_then(Result::ok);
                }
                let Some(permit) = permit else {
                    turn_away(stream, &shared, &turned_away);
                    continue;
                };
                let (arrival, name) = match arrived {
                    Arrived::AtAddress(address, name) => (Some(address), name),
                    Arrived::AtProxy | Arrived::Astray => (None, None),
                };
                let slot = ConnectionSlot::new(permit, name);
                connections.add(&slot);
                open(stream, arrival, &shared, slot);
            }
        }
    }
    drop(listeners);
    let all = u32::try_from(max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(STOP_TIMEOUT, slots.acquire_many(all)).await;
    Ok(())
}

type Stream = Either<TcpStream, UnixStream>;

struct Accepted {
    stream: Stream,
    arrived: Arrived,
}

/// Where a connection arrived.
enum Arrived {
    /// At the proxy itself.
    AtProxy,
    /// At an address that a name may have.
    AtAddress(SocketAddr, Option<OpenName>),
    /// At another address of the agent's, where nobody serves this port: it is reset.
    Astray,
}

/// The next connection of any listener.
async fn accept(listeners: &mut [Listener]) -> io::Result<Accepted> {
    // Whoever was served last comes last.
    let accepted = std::future::poll_fn(|cx| {
        for at in 0..listeners.len() {
            if let Poll::Ready(accepted) = listeners[at].poll_accept(cx) {
                listeners[at..].rotate_left(1);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    });
    accepted.await
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let tcp = |(stream, _): (TcpStream, SocketAddr)| {
            // A small write must not wait for the acknowledgement of the last one. It fails only on a closed socket.
            let _ = stream.set_nodelay(true);
            stream
        };
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|accepted| Accepted { stream: Either::Left(tcp(accepted)), arrived: Arrived::AtProxy })
            }
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Accepted { stream: Either::Right(stream), arrived: Arrived::AtProxy })
            }
            Self::Direct(listener, names) => listener.poll_accept(cx).map_ok(|accepted| {
                let stream = tcp(accepted);
                let arrived = match stream.local_addr() {
                    Ok(address) if local::contains(address.ip()) => Arrived::AtAddress(address, names.dialled(address.ip())),
                    _ => {
                        // As if nobody listened, as nearly as it can still be done.
                        let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
                        Arrived::Astray
                    }
                };
                Accepted { stream: Either::Left(stream), arrived }
            }),
        }
    }
}

fn open<H: Handler>(stream: Stream, arrival: Option<SocketAddr>, shared: &Arc<Shared<H>>, slot: Slot) {
    let (task, shared) = (slot.clone(), shared.clone());
    match arrival {
        None => tokio::spawn(task.run_until_evicted(connection::serve(stream, shared, slot))),
        Some(address) => tokio::spawn(task.run_until_evicted(arrival::serve(stream, address, shared, slot))),
    };
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
