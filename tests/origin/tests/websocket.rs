//! WebSockets against the far end inside this process.

use std::time::Duration;

use bottle_origin::Origin;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn each_message_is_recorded_and_echoed() {
    let origin = Origin::start().await.unwrap();
    let stream = TcpStream::connect(origin.ready().http).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async("ws://echo.test/ws", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for message in [Message::text("héllo"), Message::binary(vec![0, 159, 1])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    while socket.next().await.is_some_and(|message| message.is_ok()) {}

    let requests = origin.wait_for(3, TIMEOUT).await;
    let seen: Vec<_> = requests.iter().map(|request| (&*request.method, &*request.target, &*request.body_head, request.body_len)).collect();
    assert_eq!(seen, [("GET", "/ws", "", 0), ("MESSAGE", "/ws", "héllo", 6), ("MESSAGE", "/ws", "\0\u{fffd}\u{1}", 3)]);
}

#[tokio::test]
async fn an_origin_may_refuse_the_upgrade() {
    let origin = Origin::start().await.unwrap();
    let stream = TcpStream::connect(origin.ready().http).await.unwrap();
    let refused = tokio_tungstenite::client_async("ws://echo.test/ws?answer=200", stream).await;
    match refused {
        Err(Error::Http(response)) => assert_eq!(response.status(), 200),
        other => panic!("{other:?}"),
    }
}
