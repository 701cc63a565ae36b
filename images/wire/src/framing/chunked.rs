//! The chunked coding (RFC 9112, section 7.1), recognised without leniency.

use std::io;

/// More hexadecimal digits than this cannot be a length that anybody sends.
const MAX_DIGITS: u8 = 15;
/// Extensions have no use; a few bytes are let through, to be dropped by hyper.
const MAX_EXTENSION_BYTES: u16 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    TrailerLine,
    TrailerLineEnd,
    LastLf,
}

/// Where in a chunked body we are.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    at: At,
    size: u64,
    digits: u8,
    extension: u16,
    trailers: usize,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::Size, size: 0, digits: 0, extension: 0, trailers: 0 }
    }
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Chunked {
    /// Follows `bytes`: how many belong to this body, and whether it ended with them.
    pub(super) fn follow(&mut self, bytes: &[u8], max_trailer_bytes: usize) -> io::Result<(usize, bool)> {
        let mut next = 0;
        while let Some(&byte) = bytes.get(next) {
            if self.at == At::Data {
                let taken = (bytes.len() - next).min(usize::try_from(self.size).unwrap_or(usize::MAX));
                self.size -= taken as u64;
                next += taken;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            next += 1;
            if self.step(byte, max_trailer_bytes)? {
                return Ok((next, true));
            }
        }
        Ok((next, false))
    }

    /// Takes one byte outside of data; true when it is the last of the body.
    fn step(&mut self, byte: u8, max_trailer_bytes: usize) -> io::Result<bool> {
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < MAX_DIGITS => {
                self.size = self.size * 16 + u64::from(char::from(byte).to_digit(16).unwrap_or(0));
                self.digits += 1;
                At::Size
            }
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Size, b'\r') if self.digits > 0 => At::SizeEnd,
            (At::Size, _) => return Err(bad("a chunk's size is not a plain hexadecimal number")),
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, b'\t' | b' '..=b'~') if self.extension < MAX_EXTENSION_BYTES => {
                self.extension += 1;
                At::Extension
            }
            (At::Extension, _) => return Err(bad("a chunk's extension is not plain text")),
            (At::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.size == 0 { At::Trailer } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => return Ok(true),
            (At::Trailer, b' ' | b'\t') => return Err(bad("a trailer is folded over lines")),
            (At::TrailerLine, b'\r') => At::TrailerLineEnd,
            (At::Trailer | At::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) if self.trailers < max_trailer_bytes => {
                self.trailers += 1;
                At::TrailerLine
            }
            (At::TrailerLineEnd, b'\n') => At::Trailer,
            _ => return Err(bad("the chunked coding is broken")),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(bytes: &[u8]) -> Result<(usize, bool), String> {
        // Whole and byte by byte must agree.
        let whole = Chunked::default().follow(bytes, 64).map_err(|e| e.to_string());
        let mut chunked = Chunked::default();
        let mut taken = 0;
        let mut split = Ok((0, false));
        for byte in bytes {
            match chunked.follow(&[*byte], 64) {
                Ok((n, done)) => {
                    taken += n;
                    split = Ok((taken, done));
                    if done {
                        break;
                    }
                }
                Err(error) => {
                    split = Err(error.to_string());
                    break;
                }
            }
        }
        assert_eq!(whole, split);
        whole
    }

    // covers: H04
    #[test]
    fn a_chunked_body_ends_in_exactly_one_place() {
        for (bytes, taken) in [
            (&b"0\r\n\r\n"[..], 5),
            (b"3\r\nabc\r\n0\r\n\r\nGET", 13),
            (b"00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", 28),
            (b"1\r\na\r\n0\r\nx-sum: 1\r\n\r\nrest", 21),
        ] {
            assert_eq!(follow(bytes), Ok((taken, true)), "{}", bytes.escape_ascii());
        }
        for bytes in [
            &b"\r\n"[..],
            b"+3\r\nabc",
            b"0x3\r\nabc",
            b" 3\r\nabc",
            b"3 \r\nabc",
            b"3\nabc",
            b"3\r\rabc",
            b"3;a\nb\r\nabc",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\na: b\nc: d\r\n\r\n",
            b"0\r\n\n",
            b"10000000000000003\r\nabc",
            b"-1\r\n",
            b"g\r\n",
        ] {
            assert!(follow(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(follow(format!("0\r\nx: {}\r\n\r\n", "y".repeat(64)).as_bytes()).is_err());
    }
}
