//! The general site: says back what arrived, and does what the path asks for. Any other path is an echo.

use std::sync::{Arc, LazyLock};

use bottle_test_support::origin::Request;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderValue, LOCATION};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use std::io::{self, Write};

use crate::exchange::{Arrival, Body, failure, full, json, reply};
use crate::origin::World;
use crate::site::{stream, websocket};

/// What benches fetch: as large as a typical API answer, and made once.
static KIBIBYTE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'k'; 1024]));

/// The answers that need nothing but the path, for measuring.
pub(crate) fn fixed<B>(request: &hyper::Request<B>) -> Option<Response<Body>> {
    (request.method() == Method::GET && request.uri().path() == "/1k").then(|| Response::new(full(KIBIBYTE.clone())))
}

/// Whether a path takes a body of any length and answers with its length and digest alone.
pub(crate) fn only_counts(path: &str) -> bool {
    matches!(path, "/upload" | "/sink")
}

pub(crate) async fn answer(world: &Arc<World>, arrival: Arrival, upgrade: Option<OnUpgrade>) -> Response<Body> {
    let path = arrival.parts.uri.path().to_owned();
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let number = |text: Option<&str>| text.unwrap_or_default().parse::<u64>().ok();
    match segments.next().unwrap_or_default() {
        "1k" => Response::new(full(KIBIBYTE.clone())),
        "status" => status(number(segments.next())),
        "bytes" => match number(segments.next()) {
            Some(length) => stream::pattern(length),
            None => failure(StatusCode::BAD_REQUEST, "/bytes/N, where N is a number"),
        },
        "upload" => json(StatusCode::OK, &json!({"bytes": arrival.record.body_len, "sha256": arrival.record.body_sha256})),
        "sink" => reply(StatusCode::OK, "text/plain", "ok\n"),
        "redirect" => redirect(&arrival),
        "slow" => stream::slow(&arrival).await,
        "sse" => stream::events(&arrival, world.releases.clone()),
        "ws" => websocket::answer(world, arrival, upgrade),
        "reflect-token" => reflect_token(&arrival),
        "gzip" => gzip(arrival).await,
        "trailers" => stream::trailers(),
        _ => json(StatusCode::OK, &echoed(&arrival.record, &arrival.body)),
    }
}

/// The record, with the body as far as it was kept.
fn echoed(record: &Request, body: &[u8]) -> serde_json::Value {
    let mut value = json!(record);
    value["body"] = String::from_utf8_lossy(body).into();
    value
}

fn status(code: Option<u64>) -> Response<Body> {
    let code = code.and_then(|code| u16::try_from(code).ok()).and_then(|code| StatusCode::from_u16(code).ok());
    match code.filter(|code| !code.is_informational()) {
        Some(code) if code == StatusCode::NO_CONTENT || code == StatusCode::NOT_MODIFIED => {
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = code;
            response
        }
        Some(code) => failure(code, code.canonical_reason().unwrap_or("status")),
        None => failure(StatusCode::BAD_REQUEST, "/status/N, where N is from 200 to 999"),
    }
}

fn redirect(arrival: &Arrival) -> Response<Body> {
    let to = arrival.query("to").and_then(|to| HeaderValue::from_str(&to).ok());
    let code = arrival.query_number("status").unwrap_or(302);
    match (to, u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok())) {
        (Some(to), Some(code)) if code.is_redirection() => {
            let mut response = failure(code, "elsewhere");
            response.headers_mut().insert(LOCATION, to);
            response
        }
        _ => failure(StatusCode::BAD_REQUEST, "/redirect?to=URL&status=3xx"),
    }
}

fn reflect_token(arrival: &Arrival) -> Response<Body> {
    let token = arrival.parts.headers.get(AUTHORIZATION).cloned().unwrap_or(HeaderValue::from_static(""));
    let mut response = reply(StatusCode::OK, "text/plain", token.as_bytes().to_vec());
    response.headers_mut().insert("x-reflected-authorization", token);
    response
}

/// The echo compressed, or with `?bytes=N` that many zeros.
async fn gzip(arrival: Arrival) -> Response<Body> {
    let zeros = arrival.query_number("bytes");
    let compressed = tokio::task::spawn_blocking(move || match zeros {
        None => compress(&mut echoed(&arrival.record, &arrival.body).to_string().as_bytes()),
        Some(length) => compress(&mut io::Read::take(io::repeat(0), length)),
    });
    match compressed.await.map_err(io::Error::other).and_then(|compressed| compressed) {
        Ok(bytes) => {
            let content_type = if zeros.is_some() { "application/octet-stream" } else { "application/json" };
            let mut response = reply(StatusCode::OK, content_type, bytes);
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn compress(content: &mut dyn io::Read) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::copy(content, &mut encoder)?;
    encoder.flush()?;
    encoder.finish()
}
