//! A connection of a program that knows no proxy: it dialled the local address of a name, and speaks as to the origin itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::target::Peer;
use bottle_policy::{Place, Refused};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::connection::{serve_intercepted, serve_requests};
use crate::http::context::{Context, Shared};
use crate::http::handler::Handler;
use crate::http::intercept::{self, HTTPS, Named, Tunnel};
use crate::http::slots::Slot;
use crate::http::sniff::{self, Protocol};

/// Serves a connection that arrived at this local address.
pub(crate) async fn serve<S, H>(stream: S, address: SocketAddr, shared: Arc<Shared<H>>, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let head_timeout = Duration::from_millis(shared.serving.limits.head_ms);
    let stop = shared.serving.stop.clone();
    let detected = tokio::select! {
        detected = tokio::time::timeout(head_timeout, sniff::detect_protocol(stream)) => detected,
        () = stop.cancelled() => return,
    };
    // Neither silence nor a reset is worth an event: nothing was asked for.
    let Ok(Ok((protocol, stream))) = detected else { return };
    let (ip, port, name) = (address.ip().to_canonical(), address.port(), slot.name().cloned());
    match protocol {
        Protocol::Nothing => {}
        // What is no TLS is refused there, on the port where it must be.
        Protocol::Tls | Protocol::Http1 | Protocol::Http2 if protocol == Protocol::Tls || port == HTTPS => {
            let id = shared.ids.next();
            let context = Arc::new(Context { peer: shared.serving.peer.clone(), shared, slot, unanswered: Mutex::default() });
            let tunnel = Tunnel { named: Named::ByAddress(ip, name), port, id };
            intercept::terminate(stream, context, tunnel, serve_intercepted).await;
        }
        _ => {
            let refused = name.is_none().then(|| Refused::new(Reason::OriginMismatch, intercept::no_name(ip)).place(Place::Head));
            let peer = Peer::Intercepted { https: false, host: name.unwrap_or(Host::Ip(ip)), port, refused };
            let context = Arc::new(Context { peer, shared, slot, unanswered: Mutex::default() });
            serve_requests(stream, protocol == Protocol::Http2, context).await;
        }
    }
}
