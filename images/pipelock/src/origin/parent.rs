//! `CONNECT` through an ordinary proxy (RFC 9110, section 9.3.6).

use bottle_contract::Reason;
use bottle_contract::host::Host;
use bottle_wire::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that a proxy's answer may hold.
const HEAD: usize = 16 * 1024;

/// Asks the proxy at the other end of `stream` for a tunnel.
pub(super) async fn connect(stream: &mut TcpStream, host: &Host, port: u16) -> Result<(), Refused> {
    let broke = |e: std::io::Error| unreachable(format!("the parent proxy broke off: {e}"));
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD {
            return Err(unreachable("the parent proxy's answer is too long".into()));
        }
        // Byte by byte: what follows the head belongs to the origin. It is one short message for each connection.
        head.push(stream.read_u8().await.map_err(broke)?);
    }
    let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..5)).unwrap_or_default();
    match status {
        [b' ', b'2', _, _] => Ok(()),
        _ => {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            Err(unreachable(format!("the parent proxy answered {:?}", bottle_contract::Untrusted::new(line))))
        }
    }
}

fn unreachable(message: String) -> Refused {
    Refused::new(Reason::UpstreamUnreachable, message).place("upstream")
}
