//! `CONNECT` as a client (RFC 9110, section 9.3.6): a tunnel through the proxy at the other end of a stream.

use std::io;

use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::reason::{HEADER, Reason};
use bottle_policy::{Place, Refused};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A longer answer is not read.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Asks for a tunnel to `host:port`. `proxy` names the other end in errors; `gone` is the reason if it does not answer.
pub async fn connect_through<S>(stream: &mut S, host: &Host, port: u16, proxy: &str, gone: Reason) -> Result<(), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: io::Error| Refused::new(gone, format!("{proxy} closed the connection: {}", error.kind())).place(Place::Upstream);
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::with_capacity(512);
    // Byte by byte: what follows the head belongs to the tunnel. It is one short message for each connection.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(
                Refused::new(Reason::UpstreamUnreachable, format!("{proxy}'s answer to CONNECT is too long")).place(Place::Upstream)
            );
        }
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    verdict(&String::from_utf8_lossy(&head), proxy)
}

/// Any status of the 2xx class opens the tunnel. One of our own sidecars gives the reason of a refusal.
fn verdict(head: &str, proxy: &str) -> Result<(), Refused> {
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
    if status.len() == 3 && status.starts_with('2') && status.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    let named = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case(HEADER));
    let reason = named.and_then(|(_, slug)| Reason::ALL.iter().copied().find(|reason| reason.slug() == slug.trim()));
    Err(match reason {
        Some(reason) => Refused::new(reason, format!("{proxy} refused the tunnel")),
        None => Refused::new(Reason::UpstreamUnreachable, format!("{proxy} opened no tunnel: {}", Untrusted::new(status_line))),
    }
    .place(Place::Upstream))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for, and the outcome if the proxy answers with `answer` and then closes.
    async fn asked(answer: &[u8]) -> (String, Result<(), (Reason, String)>) {
        let (mut near, mut far) = tokio::io::duplex(64 << 10);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let host = Host::parse("a.test").unwrap();
        let outcome = connect_through(&mut near, &host, 443, "the proxy", Reason::SidecarGone).await;
        let mut rest = Vec::new();
        drop((near.shutdown().await, far.read_to_end(&mut rest).await));
        (String::from_utf8(rest).unwrap(), outcome.map_err(|refused| (refused.reason, refused.message)))
    }

    #[tokio::test]
    async fn the_tunnel_is_named_twice_as_rfc_9112_wants_it() {
        let (request, outcome) = asked(b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!((request.as_str(), outcome), ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", Ok(())));
    }

    #[tokio::test]
    async fn only_a_whole_head_with_a_2xx_opens_a_tunnel() {
        let unreachable = |why: &str| Err((Reason::UpstreamUnreachable, format!("the proxy opened no tunnel: {why}")));
        for (answer, outcome) in [
            ("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", Ok(())),
            ("HTTP/1.0 200\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", unreachable("HTTP/1.1 407 Proxy Authentication Required")),
            ("HTTP/1.1 2xx\r\n\r\n", unreachable("HTTP/1.1 2xx")),
            ("HTTP/1.1 2000 OK\r\n\r\n", unreachable("HTTP/1.1 2000 OK")),
            ("SSH-2.0-x\r\n\r\n", unreachable("SSH-2.0-x")),
            ("\r\n\r\n", unreachable("")),
            (
                "HTTP/1.1 403 Forbidden\r\nX-Bottle-Reason: host_not_listed\r\n\r\n",
                Err((Reason::HostNotListed, "the proxy refused the tunnel".to_owned())),
            ),
            ("HTTP/1.1 403 Forbidden\r\nx-bottle-reason: no_such_reason\r\n\r\n", unreachable("HTTP/1.1 403 Forbidden")),
            ("HTTP/1.1 200 OK\r\n", Err((Reason::SidecarGone, "the proxy closed the connection: unexpected end of file".to_owned()))),
        ] {
            assert_eq!(asked(answer.as_bytes()).await.1, outcome, "{answer:?}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; 20_000]].concat();
        let too_long = Err((Reason::UpstreamUnreachable, "the proxy's answer to CONNECT is too long".to_owned()));
        assert_eq!(asked(&endless).await.1, too_long);
    }

    #[tokio::test]
    async fn the_bytes_behind_the_answer_are_left_to_the_tunnel() {
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
        connect_through(&mut near, &Host::parse("a.test").unwrap(), 22, "the proxy", Reason::SidecarGone).await.unwrap();
        let mut first = [0; 5];
        near.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"hello");
    }
}
