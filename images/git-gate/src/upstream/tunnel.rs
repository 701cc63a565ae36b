//! The way out: a tunnel through pipelock, which alone reaches the network and opens tunnels to declared targets only.

use std::path::PathBuf;

use bottle_contract::host::Host;
use bottle_contract::reason::{HEADER, Reason};
use bottle_wire::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Patience, unreachable};

/// The head of an answer to `CONNECT`.
const MOST_HEAD: usize = 16 << 10;

/// The link to pipelock.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    /// How long upstreams may take.
    pub patience: Patience,
}

impl Link {
    /// Through this socket.
    pub fn new(socket: PathBuf, patience: Patience) -> Self {
        Self { socket, patience }
    }

    /// Opens a tunnel.
    pub async fn tunnel(&self, host: &Host, port: u16) -> Result<UnixStream, Refused> {
        let gone = |error: std::io::Error| {
            Refused::new(Reason::SidecarGone, format!("pipelock cannot be reached: {}", error.kind())).place("upstream")
        };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(gone)?;
        let asked = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.map_err(gone)?;
        let mut head = Vec::with_capacity(512);
        // Byte by byte: what follows the head belongs to the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MOST_HEAD {
                return Err(unreachable("pipelock's answer is too long"));
            }
            head.push(stream.read_u8().await.map_err(gone)?);
        }
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.split("\r\n");
        if lines.next().is_some_and(|line| line.split(' ').nth(1) == Some("200")) {
            return Ok(stream);
        }
        let slug = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case(HEADER));
        let reason = slug.and_then(|(_, slug)| Reason::ALL.iter().copied().find(|reason| reason.slug() == slug.trim()));
        Err(Refused::new(reason.unwrap_or(Reason::UpstreamUnreachable), "pipelock opens no tunnel to upstream").place("upstream"))
    }
}
