//! WebSockets, and one that echoes. Each message is recorded as a request of the method `MESSAGE`.

use std::sync::Arc;

use bottle_test_support::origin::Request;
use data_encoding::HEXLOWER;
use futures_util::{SinkExt, StreamExt};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::exchange::{Arrival, Body, failure, full};
use crate::origin::World;

pub(crate) fn is_asked<B>(request: &hyper::Request<B>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// `/ws`; with `?answer=N` it refuses with that status, as an origin without WebSockets does.
pub(crate) fn answer(world: &Arc<World>, arrival: Arrival, upgrade: Option<OnUpgrade>) -> Response<Body> {
    if let Some(status) = arrival.query_number("answer") {
        let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        return failure(status.unwrap_or(StatusCode::BAD_REQUEST), "no upgrade");
    }
    open(world, arrival, upgrade, |_, _, message| vec![message])
}

/// What a message is answered with, from its record's number and itself.
type Answering = fn(&World, u64, Message) -> Vec<Message>;

/// Takes the upgrade, and then answers each message.
pub(crate) fn open(world: &Arc<World>, arrival: Arrival, upgrade: Option<OnUpgrade>, answering: Answering) -> Response<Body> {
    let (Some(upgrade), Some(key)) = (upgrade, arrival.parts.headers.get(SEC_WEBSOCKET_KEY)) else {
        return failure(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket");
    };
    let accept = derive_accept_key(key.as_bytes());
    let world = world.clone();
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            converse(socket, &world, arrival.record, answering).await;
        }
    });
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().expect("base64 is a header value"));
    response
}

async fn converse<S>(mut socket: WebSocketStream<S>, world: &World, opening: Request, answering: Answering)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() && !message.is_binary() {
            continue;
        }
        let data = message.clone().into_data();
        let record = Request {
            method: "MESSAGE".into(),
            headers: Vec::new(),
            body_sha256: HEXLOWER.encode(&Sha256::digest(&data)),
            body_len: data.len() as u64,
            body_head: String::from_utf8_lossy(&data[..data.len().min(4 << 10)]).into_owned(),
            ..opening.clone()
        };
        let Ok(n) = world.journal.record(record, &data) else { return };
        for answer in answering(world, n, message) {
            if socket.send(answer).await.is_err() {
                return;
            }
        }
    }
}
