//! The way out: a tunnel through pipelock, which alone reaches the network and opens tunnels to declared targets only.

use std::path::PathBuf;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_wire::Refused;
use bottle_wire::client::connect::connect_through;
use tokio::net::UnixStream;

use super::Patience;

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
        connect_through(&mut stream, host, port, "pipelock", Reason::SidecarGone).await?;
        Ok(stream)
    }
}
