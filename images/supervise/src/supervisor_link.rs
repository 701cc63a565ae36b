//! The connection to the supervisor: many clients' messages over one socket.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bottle_contract::ask::MAX_LINE;
use bottle_contract::supervise::{FromClient, Reply, ToClient, ToSupervisor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Replies that one client has not read; a follower hears two at most.
const MAX_UNREAD: usize = 16;

/// The way to the supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    next: AtomicU64,
    clients: Mutex<HashMap<u64, mpsc::Sender<Reply>>>,
    /// Bounded by the number of clients: each waits for a reply before it says more.
    out: mpsc::UnboundedSender<Vec<u8>>,
}

/// One who asks. Dropped, the supervisor is told that it has left.
pub struct Client {
    number: u64,
    link: Link,
    replies: mpsc::Receiver<Reply>,
}

/// How the conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The supervisor is gone.
    Left,
    /// It said what is no message.
    Unclear,
}

/// Opens the connection: the way for clients, and the conversation, which ends with the supervisor.
pub fn open(socket: OwnedFd) -> io::Result<(Link, impl Future<Output = End>)> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let (from, mut to) = UnixStream::from_std(socket.into())?.into_split();
    let (out, mut lines) = mpsc::unbounded_channel::<Vec<u8>>();
    let link = Link(Arc::new(Shared { next: AtomicU64::new(1), clients: Mutex::default(), out }));
    let shared = link.0.clone();
    let write = async move {
        while let Some(line) = lines.recv().await {
            if to.write_all(&line).await.is_err() {
                break;
            }
        }
        End::Left
    };
    let read = async move {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut from).take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
            // Half a message, or one that is none, is no word of the supervisor's: it is never guessed what was meant.
            let Some(message) = read.ok().and_then(|_| line.strip_suffix(b"\n")) else {
                return if line.is_empty() { End::Left } else { End::Unclear };
            };
            let Ok(ToClient { client, hears }) = serde_json::from_slice(message) else { return End::Unclear };
            let sender = shared.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
            if let Some(sender) = sender {
                // One that reads nothing misses what it could have heard.
                let _ = sender.try_send(hears);
            }
        }
    };
    let conversation = async move {
        tokio::select! { end = read => end, end = write => end }
    };
    Ok((link, conversation))
}

impl Link {
    /// A new client.
    pub fn client(&self) -> Client {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::channel(MAX_UNREAD);
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        Client { number, link: self.clone(), replies }
    }
}

impl Client {
    /// Says something to the supervisor.
    pub fn say(&self, says: ToSupervisor) {
        let Ok(mut line) = serde_json::to_vec(&FromClient { client: self.number, says }) else { return };
        line.push(b'\n');
        // Without a supervisor this program ends.
        let _ = self.link.0.out.send(line);
    }

    /// The next reply; `None` once there is no supervisor.
    pub async fn hear(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.link.0.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.say(ToSupervisor::Left);
    }
}
