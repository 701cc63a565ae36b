//! The command's side: one request, one response.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::frame::{self, Lines};
use super::{FILE, Request, Response};
use crate::error::{Error, Result};

/// How long the supervisor may take for a part of a response. A change waits for every sidecar, and for those before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes read at one time.
const CHUNK_BYTES: usize = 16 << 10;

/// Asks the bottle whose runtime directory this is. An error of the supervisor's is the error.
pub fn ask(runtime: &Path, request: &Request) -> Result<Response> {
    let failed = |e: io::Error| {
        let what = "the bottle does not answer";
        Error::failed(what, format!("{}: {e}", runtime.join(FILE).display()), "`bottle list` shows whether it runs, and since when")
    };
    let line = frame::write(request).map_err(|e| Error::bug("the request cannot be written", e))?;
    let mut socket = UnixStream::connect(runtime.join(FILE)).map_err(failed)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    socket.write_all(&line).map_err(failed)?;
    let mut lines = Lines::default();
    let mut buffer = [0; CHUNK_BYTES];
    let unclear = |why: String| Error::failed("the bottle's answer is not understood", why, "use the `bottle` that started it");
    loop {
        let count = match socket.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        if count == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(line) = lines.push(&buffer[..count]).map_err(unclear)?.first() {
            return match frame::read(line).map_err(unclear)? {
                Response::Failed(failure) => Err(failure.into_error()),
                response => Ok(response),
            };
        }
    }
}
