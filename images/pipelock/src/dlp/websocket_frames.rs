//! WebSocket frames from the agent (RFC 6455, section 5), unmasked and scanned message by message. Pure: bytes go in,
//! bytes that may be sent come out.

use std::collections::VecDeque;

use bottle_contract::Reason;
use bottle_policy::{Leak, Place};
use bottle_scan::{Message as Scan, Scanner};
use bottle_wire::Refused;

use super::fragments::{Fragments, MAX_SMALL_BODY, Trails};

/// Messages up to here are scanned whole before their first byte is sent; of longer ones, what the scanner has cleared.
const MAX_WHOLE_BYTES: usize = 1 << 20;
/// What may wait to be cleared; only a message made of very many tiny frames makes this much wait.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// How far apart in a message its marks are.
const MARK_INTERVAL: u64 = 4 << 10;

/// What the agent has sent so far, and what of it may pass.
#[derive(Debug)]
pub struct Frames {
    scanner: Scanner,
    trails: Trails,
    /// Longest message, in bytes.
    limit: u64,
    state: State,
    /// The header of the frame under way.
    header: Vec<u8>,
    /// The data message under way.
    message: Option<Message>,
    /// The payload of the control frame under way.
    control: Vec<u8>,
    /// As it came, not yet allowed out.
    held: Vec<u8>,
    /// How many bytes were let out of this connection.
    released: u64,
    /// Scratch for unmasking.
    plain: Vec<u8>,
}

#[derive(Debug)]
struct Message {
    scan: Scan,
    /// Bytes that its frames' headers announced.
    announced: u64,
    /// Payload bytes scanned.
    scanned: u64,
    /// The beginning of the payload, as long as that is small.
    small: Vec<u8>,
    /// Payload bytes and, of the connection, bytes that came before: from time to time.
    marks: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload { left: u64, at: usize, mask: [u8; 4], is_control: bool, is_last: bool },
}

fn violation(message: &str) -> Refused {
    Refused::new(Reason::MalformedRequest, format!("not a WebSocket frame that may pass: {message}")).place(Place::WebSocket)
}

fn leak(found: bottle_scan::Finding) -> Refused {
    Leak::in_body("websocket", found).into()
}

impl Frames {
    /// The start of a connection.
    pub fn new(scanner: Scanner, limit: u64, trails: Trails) -> Self {
        let (header, control, held, plain) = Default::default();
        Self { scanner, trails, limit, state: State::Header, header, message: None, control, held, released: 0, plain }
    }

    /// Takes what the agent sent next and appends to `out` what may be sent. After an error nothing more may.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        while !bytes.is_empty() {
            match self.state {
                State::Header => {
                    self.header.push(bytes[0]);
                    self.held.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Some(frame) = self.frame()? {
                        self.header.clear();
                        self.state = frame;
                        self.end_of_payload(out)?;
                    }
                }
                State::Payload { left, at, mask, is_control, is_last } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (payload, rest) = bytes.split_at(here);
                    self.payload(payload, at, mask, is_control)?;
                    self.held.extend_from_slice(payload);
                    bytes = rest;
                    self.state = State::Payload { left: left - here as u64, at: at + here, mask, is_control, is_last };
                    self.end_of_payload(out)?;
                }
            }
        }
        self.follow_the_scanner(out)
    }

    /// Lets out what was cleared of a long message.
    fn follow_the_scanner(&mut self, out: &mut Vec<u8>) -> Result<(), Refused> {
        let Some(message) = self.message.as_mut().filter(|_| self.held.len() > MAX_WHOLE_BYTES) else { return Ok(()) };
        let safe = message.scan.safe_len();
        let mut cleared = self.released;
        while let Some((_, before)) = message.marks.pop_front_if(|(payload, _)| *payload <= safe) {
            cleared = before;
        }
        let free = usize::try_from(cleared - self.released).unwrap_or(usize::MAX).min(self.held.len());
        out.extend(self.held.drain(..free));
        self.released += free as u64;
        if self.held.len() > MAX_WAITING_BYTES {
            let message = "too much of a WebSocket message would have to wait to be checked";
            return Err(Refused::new(Reason::TooLarge, message).place(Place::WebSocket));
        }
        Ok(())
    }

    /// The frame that the header starts, once the header is whole.
    fn frame(&mut self) -> Result<Option<State>, Refused> {
        let header = &self.header[..];
        let [first, second, ..] = *header else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(violation("it has a bit of an extension, and none was agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(violation("it is not masked"));
        }
        let (is_last, opcode, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(mask) = header.get(2 + extended..2 + extended + 4) else { return Ok(None) };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let left = match extended {
            0 => u64::from(short),
            _ => header[2..2 + extended].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 || (extended == 2 && left < 126) || (extended == 8 && left <= 0xffff) {
            return Err(violation("its length is not written in the one way there is"));
        }
        let is_control = match (opcode, &self.message) {
            (8..=10, _) if left > 125 || !is_last => return Err(violation("a control frame is long or cut")),
            (8..=10, _) => true,
            (1 | 2, None) => {
                self.message =
                    Some(Message { scan: self.scanner.message(None), announced: 0, scanned: 0, small: Vec::new(), marks: VecDeque::new() });
                false
            }
            (0, Some(_)) => false,
            (0, None) => return Err(violation("it continues nothing")),
            (1 | 2, Some(_)) => return Err(violation("it starts a message within a message")),
            _ => return Err(violation("its opcode is not known")),
        };
        if let (false, Some(message)) = (is_control, &mut self.message) {
            message.announced = message.announced.saturating_add(left);
            if message.announced > self.limit {
                let message = format!("a WebSocket message is longer than {} bytes", self.limit);
                return Err(Refused::new(Reason::TooLarge, message).place(Place::WebSocket));
            }
        }
        Ok(Some(State::Payload { left, at: 0, mask, is_control, is_last }))
    }

    fn payload(&mut self, payload: &[u8], at: usize, mask: [u8; 4], is_control: bool) -> Result<(), Refused> {
        self.plain.clear();
        self.plain.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[(at + i) % 4]));
        if is_control {
            self.control.extend_from_slice(&self.plain);
            return Ok(());
        }
        let message = self.message.as_mut().ok_or_else(|| violation("it continues nothing"))?;
        if message.marks.back().is_none_or(|(scanned, _)| message.scanned >= scanned + MARK_INTERVAL) {
            message.marks.push_back((message.scanned, self.released + self.held.len() as u64));
        }
        message.scanned += self.plain.len() as u64;
        let room = (MAX_SMALL_BODY + 1).saturating_sub(message.small.len()).min(self.plain.len());
        message.small.extend_from_slice(&self.plain[..room]);
        message.scan.push(&self.plain).map_or(Ok(()), |found| Err(leak(found)))
    }

    /// Joins a small message to those before it, as a whole and by what it says.
    fn follow(&self, place: &str, small: &[u8]) -> Result<(), Refused> {
        let said = Scanner::said(None, small);
        let mut fragments = Fragments::default();
        fragments.add(place, "", small);
        fragments.add_each(&[place, ":"].concat(), said.iter().map(Vec::as_slice));
        self.trails.follow(&self.scanner, &fragments)
    }

    /// Lets out what is held when the frame that has just ended completes something.
    fn end_of_payload(&mut self, out: &mut Vec<u8>) -> Result<(), Refused> {
        let State::Payload { left: 0, is_control, is_last, .. } = self.state else { return Ok(()) };
        self.state = State::Header;
        if is_control {
            let payload = std::mem::take(&mut self.control);
            self.scanner.scan(&payload).map_or(Ok(()), |found| Err(leak(found)))?;
            self.follow("websocket control", &payload)?;
        } else if is_last && let Some(message) = self.message.take() {
            message.scan.finish().map_or(Ok(()), |found| Err(leak(found)))?;
            if message.small.len() <= MAX_SMALL_BODY {
                self.follow("websocket", &message.small)?;
            }
        }
        if self.message.is_none() {
            self.released += self.held.len() as u64;
            out.append(&mut self.held);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SECRET, scanner};

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            medium @ 126..65536 => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ MASK[i % 4]));
        frame
    }

    /// Sends bytes in chunks of `size`: what passed, and the verdict if there was one.
    fn send(bytes: &[u8], size: usize) -> (Vec<u8>, Option<Reason>) {
        let mut frames = Frames::new(scanner(), 8 << 20, Trails::default());
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            if let Err(refused) = frames.push(chunk, &mut out) {
                return (out, Some(refused.reason));
            }
        }
        (out, None)
    }

    // covers: D01
    #[test]
    fn whole_messages_pass_as_they_came() {
        let message = [frame(0x01, b"hello "), frame(0x89, b"ping"), frame(0x00, b"wor"), frame(0x80, b"ld")].concat();
        let big = frame(0x82, &vec![7; 3 << 20]);
        let all = [frame(0x81, b""), message, big, frame(0x88, b"\x03\xe8bye")].concat();
        for size in [61, 1000, usize::MAX] {
            assert_eq!(send(&all, size), (all.clone(), None), "in chunks of {size}");
        }
    }

    // covers: D01 D11
    #[test]
    fn a_secret_in_a_message_stops_it_before_its_first_byte() {
        let first = frame(0x81, b"fine");
        let (head, tail) = SECRET.split_at(SECRET.len() / 2);
        for (name, bytes) in [
            ("one frame", frame(0x81, format!("my {SECRET} .").as_bytes())),
            ("fragments", [frame(0x01, head.as_bytes()), frame(0x80, tail.as_bytes())].concat()),
            ("around a ping", [frame(0x01, head.as_bytes()), frame(0x89, b""), frame(0x80, tail.as_bytes())].concat()),
            ("a ping's payload", frame(0x89, SECRET.as_bytes())),
        ] {
            for size in [1, 5, usize::MAX] {
                let (out, verdict) = send(&[first.clone(), bytes.clone()].concat(), size);
                assert_eq!(verdict, Some(Reason::SecretDetected), "{name}");
                assert!(out.is_empty() || out == first, "{name}: {} bytes", out.len());
            }
        }
    }

    // covers: D04 H28
    #[test]
    fn a_secret_in_pieces_over_messages_is_not_completed() {
        let (head, tail) = SECRET.split_at(SECRET.len() / 2);
        let list = |text: &str| frame(0x81, format!("[\"{text}\"]").as_bytes());
        for (one, two) in [(frame(0x81, head.as_bytes()), frame(0x82, tail.as_bytes())), (list(head), list(tail))] {
            let (out, verdict) = send(&[one.clone(), two].concat(), usize::MAX);
            assert_eq!((out, verdict), (one, Some(Reason::SecretDetected)));
        }
    }

    #[test]
    fn a_secret_deep_in_a_long_message_has_not_begun_to_leave() {
        let mut payload = vec![b' '; 4 << 20];
        let at = (3 << 20) + 5;
        payload[at..at + SECRET.len()].copy_from_slice(SECRET.as_bytes());
        let bytes = frame(0x82, &payload);
        let (out, verdict) = send(&bytes, 10_000);
        assert_eq!(verdict, Some(Reason::SecretDetected));
        assert!(out.len() < at, "{} bytes left", out.len());
        assert_eq!(out, bytes[..out.len()]);
    }

    #[test]
    fn what_is_no_masked_plain_frame_is_a_violation() {
        for (name, bytes) in [
            ("unmasked", vec![0x81, 0x01, b'a']),
            ("compressed", frame(0xc1, b"a")),
            ("unknown opcode", frame(0x83, b"a")),
            ("continues nothing", frame(0x80, b"a")),
            ("message in a message", [frame(0x01, b"a"), frame(0x81, b"a")].concat()),
            ("cut ping", frame(0x09, b"a")),
            ("long ping", frame(0x89, &[0; 126])),
            ("long form of a short length", vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0]),
            ("negative length", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(send(&bytes, 1).1, Some(Reason::MalformedRequest), "{name}");
        }
        let huge = [&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0][..], &MASK].concat();
        assert_eq!(send(&huge, 1).1, Some(Reason::TooLarge), "a gigabyte");
    }
}
