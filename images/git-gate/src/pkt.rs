//! The pkt-line framing of git's protocols (gitprotocol-common(5)): four hexadecimal digits of length, then the line.

use std::fmt;

use bottle_wire::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

/// The longest packet, its length field included.
pub const MAX_PACKET_BYTES: usize = 65_520;

/// One line, or one of the marks between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A line, as it came.
    Data(Bytes),
    /// `0000`: the end of a list, or of a message.
    Flush,
    /// `0001`: between the parts of a message of protocol v2.
    Delimiter,
    /// `0002`: the end of a response on a stateless connection.
    ResponseEnd,
}

/// Why the stream has no next packet.
#[derive(Debug)]
pub enum Broken {
    /// Its framing is invalid.
    Malformed(&'static str),
    /// The stream ended inside a packet.
    CutOff,
    /// The stream itself failed.
    Stream(bottle_wire::BodyError),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::CutOff => f.write_str("it ended in the middle of a packet"),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

/// Removes the packet at the start of `bytes`; none if more bytes are needed.
pub fn take(bytes: &mut BytesMut) -> Result<Option<Packet>, Broken> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let mut length = 0;
    for digit in head {
        let value = char::from(*digit).to_digit(16).ok_or(Broken::Malformed("a packet's length is not four hexadecimal digits"))?;
        length = length * 16 + value as usize;
    }
    let packet = match length {
        0 => Packet::Flush,
        1 => Packet::Delimiter,
        2 => Packet::ResponseEnd,
        3 => return Err(Broken::Malformed("no packet has the length 3")),
        _ if length > MAX_PACKET_BYTES => return Err(Broken::Malformed("a packet is longer than 65520 bytes")),
        _ if bytes.len() < length => return Ok(None),
        _ => {
            let mut line = bytes.split_to(length);
            line.advance(4);
            return Ok(Some(Packet::Data(line.freeze())));
        }
    };
    bytes.advance(4);
    Ok(Some(packet))
}

/// Appends a line. It must fit one packet.
pub fn line(out: &mut Vec<u8>, line: &[u8]) {
    debug_assert!(line.len() <= MAX_PACKET_BYTES - 4, "a line of {} bytes", line.len());
    out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
    out.extend_from_slice(line);
}

/// Appends the mark at the end of a list.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends any packet.
pub fn put(out: &mut Vec<u8>, packet: &Packet) {
    match packet {
        Packet::Data(bytes) => line(out, bytes),
        Packet::Flush => flush(out),
        Packet::Delimiter => out.extend_from_slice(b"0001"),
        Packet::ResponseEnd => out.extend_from_slice(b"0002"),
    }
}

/// A line without its newline, if it has one.
pub fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Reads a body packet by packet.
pub struct Packets {
    body: Body,
    buffer: BytesMut,
    next: Option<Packet>,
}

impl Packets {
    /// From the beginning of a body.
    pub fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), next: None }
    }

    /// The next packet; none at the end of the body.
    pub async fn next(&mut self) -> Result<Option<Packet>, Broken> {
        if let Some(packet) = self.next.take() {
            return Ok(Some(packet));
        }
        loop {
            if let Some(packet) = take(&mut self.buffer)? {
                return Ok(Some(packet));
            }
            match self.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Broken::CutOff),
            }
        }
    }

    /// The next packet, without consuming it.
    pub async fn peek(&mut self) -> Result<Option<Packet>, Broken> {
        self.next = self.next().await?;
        Ok(self.next.clone())
    }

    /// True when a pack follows instead of a packet.
    pub async fn is_at_pack(&mut self) -> Result<bool, Broken> {
        while self.next.is_none() && self.buffer.len() < 4 {
            match self.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(self.next.is_none() && self.buffer.starts_with(b"PACK"))
    }

    /// The next raw chunk, for what follows the packets.
    pub async fn raw(&mut self) -> Result<Option<Bytes>, Broken> {
        if !self.buffer.is_empty() {
            return Ok(Some(self.buffer.split().freeze()));
        }
        self.chunk().await
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(Broken::Stream)?.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Packet>, String> {
        let mut buffer = BytesMut::from(bytes);
        let mut packets = Vec::new();
        loop {
            match take(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) if buffer.is_empty() => return Ok(packets),
                Ok(None) => return Err("cut off".into()),
                Err(broken) => return Err(broken.to_string()),
            }
        }
    }

    fn data(line: &'static str) -> Packet {
        Packet::Data(Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn a_line_and_each_mark_is_read_as_what_it_is() {
        assert_eq!(
            all(b"0006a\n0005a000bfoobar\n0004000100020000"),
            Ok(vec![data("a\n"), data("a"), data("foobar\n"), data(""), Packet::Delimiter, Packet::ResponseEnd, Packet::Flush])
        );
        assert_eq!(all(b"000Aabcdef"), Ok(vec![data("abcdef")]));
    }

    // covers: G12
    #[test]
    fn what_is_no_length_is_refused() {
        for bytes in [&b"0003"[..], b"fff1", b"zzzz", b"+005a", b"0x05", b"  05a", b"\0\0\0\0"] {
            assert!(all(bytes).unwrap_err().contains("packet"), "{bytes:?}");
        }
        assert_eq!(all(b"0009abc"), Err("cut off".into()));
        assert_eq!(all(b"00"), Err("cut off".into()));
    }

    proptest! {
        // covers: G12
        #[test]
        fn any_bytes_are_packets_or_refused_and_what_is_written_is_read(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let _ = all(&noise);
            let mut out = Vec::new();
            let mut expected = Vec::new();
            for text in &lines {
                line(&mut out, text);
                expected.push(Packet::Data(Bytes::copy_from_slice(text)));
            }
            flush(&mut out);
            expected.push(Packet::Flush);
            prop_assert_eq!(all(&out), Ok(expected));
        }
    }
}
