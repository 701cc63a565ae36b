//! A budget for HTTP/2 frames that cost the receiver more than the sender: pings, settings, resets, priorities, window
//! updates, empty data. h2 bounds what they may occupy, not how many may come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::delegate;

/// Such frames that may come at once, and then for each second. A browser sends a few dozen in a lifetime.
const MAX_CREDIT: u64 = 1000;
const REFILL_PER_SECOND: u64 = 1000;
/// A peer that reads a lot may update its windows a lot: once for so many bytes sent to it, or received from it.
const BYTES_PER_FRAME: u64 = 2048;

/// RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
/// Length of a frame's header, and of the connection preface before the first.
const HEADER_BYTES: usize = 9;
const PREFACE_BYTES: u64 = 24;

/// Counts frames in what is read from `S`, and ends the connection when they are too many.
#[derive(Debug)]
pub(crate) struct FrameBudget<S> {
    stream: S,
    /// Bytes to skip before the next frame's header.
    skip: u64,
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// In units of one frame.
    credit: u64,
    refilled: Instant,
    /// Bytes that have not been turned into credit.
    bytes: u64,
}

impl<S> FrameBudget<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, skip: PREFACE_BYTES, header: [0; HEADER_BYTES], filled: 0, credit: MAX_CREDIT, refilled: Instant::now(), bytes: 0 }
    }

    fn earn(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.credit = (self.credit + self.bytes / BYTES_PER_FRAME).min(MAX_CREDIT);
        self.bytes %= BYTES_PER_FRAME;
    }

    fn spend(&mut self) -> io::Result<()> {
        if self.credit == 0 {
            let passed = self.refilled.elapsed();
            self.refilled = Instant::now();
            self.credit = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(REFILL_PER_SECOND) / 1000;
            self.credit = self.credit.min(MAX_CREDIT);
        }
        self.credit = self.credit.checked_sub(1).ok_or_else(|| io::Error::other("protocol abuse: too many HTTP/2 control frames"))?;
        Ok(())
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER_BYTES - self.filled);
            if self.skip > 0 || taken == 0 {
                continue;
            }
            self.header[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = u64::from(u32::from_be_bytes([0, a, b, c]));
                match kind {
                    DATA if self.skip > 0 => self.earn(self.skip as usize),
                    // Each of these ends a stream, of which there are not many.
                    DATA if flags & END_STREAM != 0 => {}
                    HEADERS => {}
                    _ => self.spend()?,
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameBudget<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.follow(&buf.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameBudget<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        // Answers to the very frames that are counted earn nothing worth mentioning: 17 bytes for a ping.
        self.earn(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.earn(written);
        Poll::Ready(Ok(written))
    }

    delegate!(stream: is_write_vectored, poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        [&[0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1][..], &vec![0; length]].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_have_a_budget_that_refills() {
        let mut budgeted = FrameBudget::new(());
        budgeted.follow(&[0; 24]).unwrap();
        for _ in 0..MAX_CREDIT {
            // However they arrive.
            frame(6, 8).chunks(5).try_for_each(|part| budgeted.follow(part)).unwrap();
        }
        assert!(budgeted.follow(&frame(4, 0)).is_err());
        tokio::time::advance(std::time::Duration::from_millis(10)).await;
        let refilled = (0..MAX_CREDIT).take_while(|_| budgeted.follow(&frame(0, 0)).is_ok()).count();
        assert!((10..=12).contains(&refilled), "{refilled} empty data frames");
        for _ in 0..10_000 {
            budgeted.follow(&[frame(1, 40), frame(0, 4096), frame(8, 4)].concat()).unwrap();
        }
    }
}
