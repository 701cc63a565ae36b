//! Sidecars that hold a request: each connection asks one question, and waits for its answer.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::ask::{FromHolder, MAX_LINE};
use bottle_contract::supervise::{Reply, ToSupervisor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::supervisor_link::Link;

/// Connections at one time; a sidecar holds fewer requests.
const MAX_HOLDERS: usize = 64;
/// From a connection to its question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// When the kernel has no descriptor for a new connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves the socket for siblings.
pub fn serve(socket: OwnedFd, link: Link) -> io::Result<impl Future<Output = io::Result<()>>> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let listener = UnixListener::from_std(socket.into())?;
    let slots = Arc::new(Semaphore::new(MAX_HOLDERS));
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            };
            // A connection beyond them is closed, and its request is refused.
            if let Ok(slot) = slots.clone().try_acquire_owned() {
                let link = link.clone();
                tokio::spawn(async move {
                    let _ = hold(stream, &link).await;
                    drop(slot);
                });
            }
        }
    })
}

async fn hold(stream: UnixStream, link: &Link) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let mut buffer = Vec::new();
    let question = tokio::time::timeout(QUESTION_TIMEOUT, line(&mut from, &mut buffer)).await;
    let Ok(Ok(Some(FromHolder::Ask(request)))) = question else { return Ok(()) };
    buffer.clear();
    let mut client = link.client();
    client.say(ToSupervisor::Ask(*request));
    loop {
        tokio::select! {
            reply = client.hear() => match reply {
                Some(Reply::Held(reply)) => {
                    let mut text = serde_json::to_vec(&reply)?;
                    text.push(b'\n');
                    to.write_all(&text).await?;
                }
                _ => return Ok(()),
            },
            said = line(&mut from, &mut buffer) => {
                if let Ok(Some(FromHolder::Released)) = said {
                    client.say(ToSupervisor::Released);
                }
                return Ok(());
            }
        }
    }
}

/// The next message; `None` at the end, or if it is none. What was read of it stays in the buffer while something else is waited for.
async fn line(from: &mut BufReader<OwnedReadHalf>, buffer: &mut Vec<u8>) -> io::Result<Option<FromHolder>> {
    let room = (MAX_LINE - buffer.len().min(MAX_LINE)) as u64;
    from.take(room).read_until(b'\n', buffer).await?;
    Ok(buffer.strip_suffix(b"\n").and_then(|message| serde_json::from_slice(message).ok()))
}
