//! `aws-chunked`: what AWS's SDKs send by default as a content coding, chunks of a body with a signature or a checksum behind them.

/// The line before a chunk: its size, and a signature of 64 hexadecimal digits with its name.
const MAX_SIZE_LINE: usize = 256;
/// All lines behind the last chunk.
const MAX_TRAILER_BYTES: usize = 4096;

/// Where in the chunks we are.
#[derive(Debug, Default)]
pub(super) struct AwsChunked {
    at: At,
    line: Vec<u8>,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In the line before a chunk.
    #[default]
    Size,
    /// So much of the chunk is to come.
    Data(u64),
    /// Behind a chunk, before the end of its line.
    DataEnd,
    Trailer,
    End,
}

impl AwsChunked {
    /// Takes some of `input`, and writes some of what the chunks hold: how much of each.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), &'static str> {
        let (mut read, mut written) = (0, 0);
        while read < input.len() && written < output.len() {
            if let At::Data(left) = self.at {
                let room = (input.len() - read).min(output.len() - written);
                let taken = room.min(usize::try_from(left).unwrap_or(usize::MAX));
                output[written..written + taken].copy_from_slice(&input[read..read + taken]);
                (read, written) = (read + taken, written + taken);
                self.at = if left == taken as u64 { At::DataEnd } else { At::Data(left - taken as u64) };
                continue;
            }
            self.line.push(input[read]);
            read += 1;
            if self.line.len() > MAX_SIZE_LINE || self.trailers > MAX_TRAILER_BYTES || self.at == At::End {
                return Err("the body is not made of chunks as AWS has them");
            }
            if self.line.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok((read, written))
    }

    /// Whether the body may end here. The empty line behind the last chunk is left out by some.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.at, At::Trailer | At::End) && self.line.is_empty()
    }

    fn end_line(&mut self) -> Result<(), &'static str> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r\n").ok_or("a chunk's line does not end with CR LF")?;
        self.at = match self.at {
            At::Size => {
                let digits = line.split(|b| *b == b';').next().unwrap_or_default();
                let plain = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
                let size = std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| u64::from_str_radix(digits, 16).ok());
                match size.ok_or("a chunk's size is not a plain hexadecimal number")? {
                    0 => At::Trailer,
                    size => At::Data(size),
                }
            }
            At::DataEnd if line.is_empty() => At::Size,
            At::Trailer if line.is_empty() => At::End,
            At::Trailer => {
                self.trailers += line.len();
                At::Trailer
            }
            _ => return Err("a chunk does not end where its size says"),
        };
        Ok(())
    }
}
