//! Lines of JSON, bounded. Pure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{MAX_FRAME_BYTES, VERSION};

#[derive(Serialize)]
struct Written<'b, B> {
    version: u32,
    body: &'b B,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<B> {
    #[expect(dead_code, reason = "checked before the body is read")]
    version: u32,
    body: B,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A message as a line.
pub(super) fn write(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Written { version: VERSION, body })?;
    line.push(b'\n');
    Ok(line)
}

/// The message of a line; the error says why it is none.
pub(super) fn read<B: DeserializeOwned>(line: &[u8]) -> Result<B, String> {
    let Versioned { version } = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    if version != VERSION {
        return Err(format!("version {version} of the protocol, and this program speaks version {VERSION}"));
    }
    serde_json::from_slice::<Read<B>>(line).map(|read| read.body).map_err(|e| e.to_string())
}

/// Lines that arrive in chunks.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes the next chunk, and returns the lines that it completes; an error if one is longer than it may be.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            self.add(&chunk[..end])?;
            lines.push(std::mem::take(&mut self.0));
            chunk = &chunk[end + 1..];
        }
        self.add(chunk)?;
        Ok(lines)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.0.len() + bytes.len() > MAX_FRAME_BYTES {
            return Err(format!("a message is longer than {MAX_FRAME_BYTES} bytes"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_socket::Request;
    use crate::control_socket::reload_command::Reload;

    #[test]
    fn messages_do_not_depend_on_the_chunking() {
        let requests = [Request::Policy, Request::Reload(Reload { agreed: Some("ab".into()) })];
        let text: Vec<u8> = requests.iter().flat_map(|request| write(request).unwrap()).collect();
        assert_eq!(text, b"{\"version\":1,\"body\":\"policy\"}\n{\"version\":1,\"body\":{\"reload\":{\"agreed\":\"ab\"}}}\n");
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let found: Vec<_> = [&text[..cut], &text[cut..]].into_iter().flat_map(|chunk| lines.push(chunk).unwrap()).collect();
            let read: Vec<Request> = found.iter().map(|line| read(line).unwrap()).collect();
            assert_eq!(read, requests, "{cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        let why = |line: &str| read::<Request>(line.as_bytes()).unwrap_err();
        assert_eq!(why("{\"version\":2,\"body\":\"new\"}"), "version 2 of the protocol, and this program speaks version 1");
        assert!(why("{\"version\":1,\"body\":\"new\"}").contains("unknown variant"));
        assert!(why("{\"version\":1,\"body\":\"policy\",\"more\":1}").contains("unknown field"));
        assert!(why("[").contains("EOF") && why("").contains("EOF"));
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; MAX_FRAME_BYTES]), Ok(Vec::new()));
        assert!(lines.push(b"x").is_err());
    }
}
