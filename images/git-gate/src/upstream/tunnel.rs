//! Tunnels through pipelock, the only sidecar with network access. It opens tunnels to declared targets only.

use std::path::PathBuf;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::Refused;
use bottle_wire::client::connect::connect_through;
use tokio::net::UnixStream;

use super::Timeouts;

/// Opens tunnels through pipelock.
#[derive(Debug)]
pub struct TunnelDialer {
    socket: PathBuf,
    /// Timeouts towards upstreams.
    pub timeouts: Timeouts,
}

impl TunnelDialer {
    /// Through this socket.
    pub fn new(socket: PathBuf, timeouts: Timeouts) -> Self {
        Self { socket, timeouts }
    }

    /// Opens a tunnel.
    pub async fn tunnel(&self, host: &Host, port: u16) -> Result<UnixStream, Refused> {
        let gone = |error: std::io::Error| {
            Refused::new(Reason::SidecarGone, format!("pipelock cannot be reached: {}", error.kind())).place(Place::Upstream)
        };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(gone)?;
        connect_through(&mut stream, host, port, "pipelock", Reason::SidecarGone).await?;
        Ok(stream)
    }
}
