//! One request and its answer: choose the site, take in the body, record, answer.

use std::io;
use std::sync::Arc;

use bottle_test_support::origin::Request;
use data_encoding::HEXLOWER;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};

use crate::journal::MAX_SAVED_BODY_BYTES;
use crate::origin::World;
use crate::site::{self, Site, echo, git, websocket};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of each body a record shows.
const HEAD: usize = 4 << 10;

/// The connection that a request came on.
pub(crate) struct Channel {
    pub(crate) connection: u64,
    pub(crate) scheme: &'static str,
    pub(crate) server_name: Option<String>,
}

/// A request whose body is in.
pub(crate) struct Arrival {
    pub(crate) parts: Parts,
    pub(crate) host: String,
    /// The body, or its beginning if it is larger than the site wants.
    pub(crate) body: Vec<u8>,
    pub(crate) record: Request,
}

impl Arrival {
    /// The value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The same as a number, if it is one.
    pub(crate) fn query_number(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }
}

pub(crate) async fn answer(world: Arc<World>, channel: &Channel, mut request: hyper::Request<Incoming>) -> Response<Body> {
    if world.options.bench
        && let Some(response) = echo::fixed(&request)
    {
        return response;
    }
    let upgrade = websocket::is_asked(&request).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let host = host(&parts);
    let site = site::choose(&world.options.serve, &host, parts.uri.path());

    let mut backend = match &site {
        Site::Git(root) => match git::start(&world, root.as_deref(), &parts) {
            Ok(child) => Some(child),
            Err(error) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("git http-backend: {error}")),
        },
        _ => None,
    };
    let keep = if echo::only_counts(parts.uri.path()) && !world.options.bodies { HEAD } else { MAX_SAVED_BODY_BYTES };
    let drained = drain(body, keep, !world.options.bench, backend.as_mut().and_then(|child: &mut Child| child.stdin.take())).await;

    let mut record = Request {
        n: 0,
        connection: channel.connection,
        server_name: channel.server_name.clone(),
        scheme: channel.scheme.to_owned(),
        version: format!("{:?}", parts.version),
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        host: parts.headers.get(HOST).map(|value| lossy(value.as_bytes())).or_else(|| parts.uri.authority().map(ToString::to_string)),
        headers: fields(&parts.headers),
        trailers: drained.trailers,
        body_sha256: drained.sha256,
        body_len: drained.length,
        body_head: lossy(&drained.kept[..drained.kept.len().min(HEAD)]),
        complete: drained.complete,
    };
    if !world.options.bench {
        match world.journal.record(record.clone(), &drained.kept) {
            Ok(n) => record.n = n,
            Err(error) => return failure(StatusCode::INSUFFICIENT_STORAGE, &format!("not recorded: {error}")),
        }
    }
    let arrival = Arrival { parts, host, body: drained.kept, record };
    match (site, backend) {
        (Site::Git(_), Some(child)) => git::answer(child).await,
        (site, _) => site.answer(&world, arrival, upgrade).await,
    }
}

/// What a body was, and the part of it that was kept.
struct Drained {
    kept: Vec<u8>,
    length: u64,
    sha256: String,
    trailers: Vec<(String, String)>,
    complete: bool,
}

/// `digest`: measuring goes without, as hashing would be what is measured.
async fn drain(mut body: Incoming, keep: usize, digest: bool, mut pipe: Option<ChildStdin>) -> Drained {
    let (mut kept, mut length, mut hash, mut trailers) = (Vec::new(), 0, Sha256::new(), Vec::new());
    let complete = loop {
        if body.is_end_stream() {
            break true;
        }
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    length += data.len() as u64;
                    if digest {
                        hash.update(&data);
                    }
                    kept.extend_from_slice(&data[..data.len().min(keep - kept.len())]);
                    // A backend that stops reading has its own reasons, and its answer tells them.
                    if let Some(writer) = &mut pipe
                        && writer.write_all(&data).await.is_err()
                    {
                        pipe = None;
                    }
                }
                Err(frame) => trailers = frame.into_trailers().map(|map| fields(&map)).unwrap_or_default(),
            },
        }
    };
    Drained { kept, length, sha256: HEXLOWER.encode(&hash.finalize()), trailers, complete }
}

/// The virtual host: lower case, without a port.
fn host(parts: &Parts) -> String {
    let named = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let named = named.or_else(|| parts.headers.get(HOST).map(|value| lossy(value.as_bytes()))).unwrap_or_default();
    let name = named.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(&*named, |(name, _)| name);
    name.to_ascii_lowercase()
}

fn fields(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), lossy(value.as_bytes()))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of one content type.
pub(crate) fn reply(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
    }
    response
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    reply(status, "application/json", value.to_string())
}

/// An answer that says what went wrong.
pub(crate) fn failure(status: StatusCode, message: &str) -> Response<Body> {
    reply(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_host_has_no_port_and_no_capitals() {
        let host_of = |uri: &str, header: Option<&str>| {
            let mut request = hyper::Request::builder().uri(uri);
            if let Some(value) = header {
                request = request.header(HOST, value);
            }
            host(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(host_of("/", Some("Echo.TEST:8443")), "echo.test");
        assert_eq!(host_of("/", Some("[::1]:443")), "[::1]");
        assert_eq!(host_of("/", Some("[::1]")), "[::1]");
        assert_eq!(host_of("http://Other.test:80/", Some("echo.test")), "other.test");
        assert_eq!(host_of("/", None), "");
    }
}
