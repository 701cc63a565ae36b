//! A WebSocket without the secret: what an origin says is blanked message by message, however it is cut into frames
//! (RFC 6455, section 5). No extension was agreed on, so that frames may be cut in other places (section 5.4).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bottle_wire::secret::Redactor;
use bottle_wire::tunnel::Duplex;
use bottle_wire::{AccessLog, delegate};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::scrub::Scrubber;

/// Of a longer frame, what came is passed on before its end.
const MAX_HELD_BYTES: usize = 64 << 10;
/// RFC 6455, section 5.5.
const MAX_CONTROL_BYTES: u64 = 125;

/// Reads the frames of an origin and writes them without the secret.
struct Messages {
    redactor: Arc<Redactor>,
    log: AccessLog,
    /// The header of the frame under way, until it is whole.
    header: Vec<u8>,
    /// The frame under way: what is left of it, whether it ends its message, and its opcode.
    frame: Option<(u64, bool, u8)>,
    /// The message under way: its opcode until its first frame is out, then 0.
    message: Option<(u8, Scrubber)>,
    /// Of this frame, what was read.
    payload: Vec<u8>,
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Writes a frame of a server, which is not masked.
fn write_frame(out: &mut Vec<u8>, is_last: bool, opcode: u8, payload: &[u8]) {
    out.push(if is_last { 0x80 } else { 0 } | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

impl Messages {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let Some((left, is_last, opcode)) = self.frame else {
                let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
                self.header.push(*first);
                bytes = rest;
                self.frame = self.read_header()?;
                continue;
            };
            let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.payload.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            let left = left - here as u64;
            self.frame = Some((left, is_last, opcode));
            if left == 0 {
                self.frame = None;
                self.end_frame(is_last, opcode, out);
            } else if self.payload.len() >= MAX_HELD_BYTES {
                self.pass(false, out);
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    fn read_header(&mut self) -> io::Result<Option<(u64, bool, u8)>> {
        let [first, second, extended @ ..] = &self.header[..] else { return Ok(None) };
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(bad("the origin sent a frame that is masked or has a bit of an extension"));
        }
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let length = match (second & 0x7f, extended) {
            (126, [a, b]) => u64::from(u16::from_be_bytes([*a, *b])),
            (127, extended) if extended.len() == 8 => extended.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            (126 | 127, _) => return Ok(None),
            (short, _) => u64::from(short),
        };
        match opcode {
            8..=10 if !is_last || length > MAX_CONTROL_BYTES => return Err(bad("the origin sent a control frame that is long or cut")),
            1 | 2 if self.message.is_none() => {
                self.message = Some((opcode, Scrubber::new(self.redactor.clone(), self.log.clone())));
            }
            0 if self.message.is_some() => {}
            8..=10 => {}
            _ => return Err(bad("the origin sent a frame that does not belong where it stands")),
        }
        self.header.clear();
        Ok(Some((length, is_last, opcode)))
    }

    fn end_frame(&mut self, is_last: bool, opcode: u8, out: &mut Vec<u8>) {
        if opcode < 8 {
            return self.pass(is_last, out);
        }
        let mut control = Scrubber::new(self.redactor.clone(), self.log.clone());
        let payload = Bytes::from(std::mem::take(&mut self.payload));
        let payload = [control.pass(payload), control.rest()].concat();
        write_frame(out, true, opcode, &payload);
    }

    /// Passes on what of the message can be.
    fn pass(&mut self, is_last: bool, out: &mut Vec<u8>) {
        let Some((opcode, scrubber)) = &mut self.message else { return };
        let mut payload = scrubber.pass(Bytes::from(std::mem::take(&mut self.payload)));
        if is_last {
            payload = [payload, scrubber.rest()].concat().into();
        }
        if is_last || !payload.is_empty() {
            write_frame(out, is_last, std::mem::take(opcode), &payload);
        }
        if is_last {
            self.message = None;
        }
    }
}

/// A WebSocket whose incoming half is without the secret.
pub(crate) struct ScrubbedStream {
    stream: Box<dyn Duplex>,
    messages: Messages,
    passed: Bytes,
    ended: bool,
}

impl ScrubbedStream {
    pub(crate) fn new(stream: Box<dyn Duplex>, redactor: Arc<Redactor>, log: AccessLog) -> Self {
        let messages = Messages { redactor, log, header: Vec::new(), frame: None, message: None, payload: Vec::new() };
        Self { stream, messages, passed: Bytes::new(), ended: false }
    }
}

impl AsyncRead for ScrubbedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.passed.is_empty() && !this.ended {
            let mut room = [0; 4096];
            let mut more = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut more))?;
            // What is left of a message that was cut off is no message.
            this.ended = more.filled().is_empty();
            let mut out = Vec::with_capacity(more.filled().len() + 16);
            this.messages.push(more.filled(), &mut out)?;
            this.passed = out.into();
        }
        let taken = this.passed.len().min(buf.remaining());
        buf.put_slice(&this.passed[..taken]);
        this.passed.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ScrubbedStream {
    delegate!(stream: poll_write, poll_write_vectored, poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "r3al-t0ken-of-the-operator";

    fn frame(is_last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, is_last, opcode, payload);
        out
    }

    /// What passes of these bytes, sent in chunks of `size`: opcode and payload of each message.
    fn pass(bytes: &[u8], size: usize) -> io::Result<Vec<(u8, String)>> {
        let redactor = Arc::new(Redactor::new([SECRET.as_bytes().to_vec()]).unwrap());
        let (log, mut out) = (AccessLog::default(), Vec::new());
        let mut messages = Messages { redactor, log, header: Vec::new(), frame: None, message: None, payload: Vec::new() };
        for chunk in bytes.chunks(size) {
            messages.push(chunk, &mut out)?;
        }
        let (mut whole, mut open, mut rest) = (Vec::new(), (0, String::new()), &out[..]);
        while let [first, short, behind @ ..] = rest {
            let (length, behind) = match short {
                126 => (usize::from(u16::from_be_bytes([behind[0], behind[1]])), &behind[2..]),
                127 => (u64::from_be_bytes(behind[..8].try_into().unwrap()) as usize, &behind[8..]),
                short => (usize::from(*short), behind),
            };
            let text = String::from_utf8(behind[..length].to_vec()).unwrap();
            match first & 0x0f {
                control @ 8.. => whole.push((control, text)),
                opcode => {
                    open.0 |= opcode;
                    open.1.push_str(&text);
                    if first & 0x80 != 0 {
                        whole.push(std::mem::take(&mut open));
                    }
                }
            }
            rest = &behind[length..];
        }
        Ok(whole)
    }

    // covers: A10
    #[test]
    fn a_secret_in_a_message_is_blanked_however_it_is_cut() {
        let (head, tail) = SECRET.split_at(12);
        let stars = "*".repeat(SECRET.len());
        let long = "x".repeat(200_000);
        for (name, bytes, messages) in [
            ("one frame", frame(true, 1, format!("say {SECRET}.").as_bytes()), vec![(1, format!("say {stars}."))]),
            (
                "two frames around a ping",
                [frame(false, 1, head.as_bytes()), frame(true, 9, b"p"), frame(true, 0, tail.as_bytes())].concat(),
                vec![(9, "p".into()), (1, stars.clone())],
            ),
            ("a ping", frame(true, 9, SECRET.as_bytes()), vec![(9, stars.clone())]),
            (
                "a long frame",
                [frame(false, 2, format!("{long}{head}").as_bytes()), frame(true, 0, tail.as_bytes())].concat(),
                vec![(2, format!("{long}{stars}"))],
            ),
            (
                "half of it in each of two messages",
                [frame(true, 1, head.as_bytes()), frame(true, 1, b""), frame(true, 1, b"y")].concat(),
                vec![(1, head.to_owned()), (1, String::new()), (1, "y".into())],
            ),
        ] {
            for size in [1, 7, usize::MAX] {
                // Cut within its first bytes, these few pass: the frame is held until it is whole, or very long.
                assert_eq!(pass(&bytes, size).unwrap(), messages, "{name} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_plain_frame_of_a_server_ends_the_connection() {
        for bytes in [
            vec![0xc1, 1, b'a'],
            vec![0x81, 0x81, 0, 0, 0, 0, b'a'],
            frame(true, 0, b"a"),
            frame(true, 3, b"a"),
            frame(false, 9, b"a"),
            frame(true, 9, &[0; 126]),
            [frame(false, 1, b"a"), frame(true, 1, b"b")].concat(),
        ] {
            assert!(pass(&bytes, 1).is_err(), "{bytes:?}");
        }
    }
}
