//! A unix stream whose writer is not woken by what the other end reads.
//!
//! A runtime registers a socket for reading and for writing at once. The kernel then wakes the writer of a unix stream each time that the
//! other end takes out what was written, although nobody waits for room: between two proxies, one wakeup of a process for every message.
//! Here a stream is registered for reading alone, and for writing as well only from when it was full until the next answer.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A stream between two sidecars. One task must both read and write it.
#[derive(Debug)]
pub struct LocalStream {
    /// None after it could not be registered anew.
    stream: Option<AsyncFd<UnixStream>>,
    /// It is registered for writing too.
    both: bool,
    /// A write waits for room.
    full: bool,
}

impl LocalStream {
    /// The same connection, registered anew.
    pub fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        let stream = registered(stream.into_std()?, Interest::READABLE)?;
        Ok(Self { stream: Some(stream), both: false, full: false })
    }

    fn stream(&self) -> io::Result<&AsyncFd<UnixStream>> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whoever waits for the old registration is not woken by the new one.
    fn register(&mut self, both: bool) -> io::Result<()> {
        let Some(stream) = self.stream.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        let interest = if both { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.stream = Some(registered(stream.into_inner(), interest)?);
        self.both = both;
        Ok(())
    }

    fn poll_write_with(&mut self, cx: &mut Context<'_>, write: impl Fn(&UnixStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        if !self.both {
            match write(self.stream()?.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.register(true)?,
                done => return Poll::Ready(done),
            }
            // The same task may wait for an answer: it is polled again, and waits for the new registration.
            cx.waker().wake_by_ref();
        }
        self.full = true;
        let written = loop {
            let mut room = ready!(self.stream()?.poll_write_ready(cx))?;
            match write(room.get_inner()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => room.clear_ready(),
                done => break done,
            }
        };
        self.full = false;
        Poll::Ready(written)
    }
}

fn registered(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the stream owns its descriptor, and whatever is made of it keeps both together until they are dropped.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}

impl AsyncRead for LocalStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = loop {
            let mut come = ready!(self.stream()?.poll_read_ready(cx))?;
            // SAFETY: recv(2) only writes what it reads: no byte is made uninitialised.
            let room = unsafe { buf.unfilled_mut() };
            let most = room.len();
            match recv(come.get_inner(), room, RecvFlags::empty()) {
                Ok((_, read)) => {
                    if 0 < read && read < most {
                        // All that there was (epoll(7), question 9): the next poll need not ask to hear so.
                        come.clear_ready();
                    }
                    break read;
                }
                Err(Errno::AGAIN) => come.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        };
        // SAFETY: recv(2) has written so many bytes.
        unsafe { buf.assume_init(read) };
        buf.advance(read);
        if self.both && !self.full {
            self.register(false)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut stream| stream.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match shutdown(self.stream()?.get_ref(), Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (LocalStream, LocalStream) {
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        (LocalStream::new(one).unwrap(), LocalStream::new(other).unwrap())
    }

    /// What the kernel says that it would wake us for (proc_pid_fdinfo(5)).
    fn is_woken_for_room(stream: &LocalStream) -> bool {
        let fd = stream.stream().unwrap().as_raw_fd();
        let masks = std::fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
        let mut masks: Vec<u32> = masks
            .flat_map(|info| info.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let ["tfd:", other, "events:", mask, ..] = words[..] else { return None };
                (other == fd.to_string()).then(|| u32::from_str_radix(mask, 16).unwrap())
            })
            .collect();
        // A runtime has its epoll descriptor twice.
        masks.dedup();
        let [mask] = masks[..] else { panic!("descriptor {fd} is registered as {masks:?}") };
        mask & rustix::event::epoll::EventFlags::OUT.bits() != 0
    }

    #[tokio::test]
    async fn it_waits_for_room_only_while_it_is_full() {
        let (mut one, mut other) = pair();
        one.write_all(b"a question").await.unwrap();
        assert!(!is_woken_for_room(&one));
        let large = vec![7; 4 << 20];
        let all = tokio::spawn(async move {
            let mut all = vec![0; 10 + (4 << 20)];
            other.read_exact(&mut all).await.unwrap();
            other.write_all(b"an answer").await.unwrap();
            (all, other)
        });
        one.write_all(&large).await.unwrap();
        assert!(is_woken_for_room(&one));
        let mut answer = [0; 9];
        one.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"an answer");
        assert!(!is_woken_for_room(&one));
        let (all, _other) = all.await.unwrap();
        assert!(all.starts_with(b"a question") && all[10..] == large[..]);
    }

    #[tokio::test]
    async fn both_directions_pass_at_once_and_end_one_after_the_other() {
        let (one, other) = pair();
        let carry = |stream: LocalStream, letter: u8| async move {
            let (mut from, mut to) = tokio::io::split(stream);
            let (mut said, sent) = (Vec::new(), vec![letter; 3 << 20]);
            let write = async {
                to.write_all(&sent).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let (read, ()) = tokio::join!(from.read_to_end(&mut said), write);
            read.unwrap();
            (said.len(), said.iter().all(|&b| b == said[0]), said[0])
        };
        let both = tokio::join!(carry(one, b'x'), carry(other, b'y'));
        assert_eq!(both, ((3 << 20, true, b'y'), (3 << 20, true, b'x')));
    }

    #[tokio::test]
    async fn an_end_that_is_gone_is_an_error_to_who_writes_and_the_end_to_who_reads() {
        let (mut one, other) = pair();
        drop(other);
        assert_eq!(one.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
