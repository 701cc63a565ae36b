//! MCP over streamable HTTP, without sessions: each POST is answered by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bottle_contract::host::Host;
use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_contract::supervise::{AskState, Reply};
use bottle_wire::{Admission, Body, Handled, Handler, Peer, Refused, RequestContext, body};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};

use crate::json_rpc::{self, Fault, INVALID_PARAMS, INVALID_REQUEST, Incoming, METHOD_NOT_FOUND, Message, PARSE_ERROR};
use crate::progress;
use crate::rate::Rate;
use crate::revision::{self, Era, Headers, SUPPORTED};
use crate::supervisor_link::Link;
use crate::tools::{self, Call, Misuse};

/// Bytes of what is posted.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// How long the supervisor may take for a reply that needs no person.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may keep the list of tools, in milliseconds: it never changes while the bottle runs.
const TTL_MS: u64 = 3_600_000;

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    link: Link,
    rate: Arc<Rate>,
}

/// What a message is answered with.
enum Answer {
    /// Nothing.
    Accepted,
    /// One JSON value.
    Json(StatusCode, Value),
    /// A stream that ends with it.
    Stream(Response<Body>),
}

impl Server {
    /// Asks over this link.
    pub fn new(link: Link) -> Self {
        Self { link, rate: Arc::new(Rate::new(Instant::now())) }
    }

    async fn respond(&self, context: &RequestContext, request: Request<Body>) -> Response<Body> {
        if let Err(status) = admissible(request.method(), request.headers()) {
            let fault = Fault::new(INVALID_REQUEST, "this server takes a POST of application/json from inside the bottle");
            let mut response = plain(status, &fault.answer(&Value::Null));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            return response;
        }
        let (parts, posted) = request.into_parts();
        let Ok(posted) = Limited::new(posted, MAX_MESSAGE_BYTES).collect().await else {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                &Fault::new(PARSE_ERROR, "the body broke off, or is too large").answer(&Value::Null),
            );
        };
        let incoming = match json_rpc::parse(&posted.to_bytes()) {
            Ok(incoming) => incoming,
            Err(fault) => return plain(StatusCode::BAD_REQUEST, &fault.answer(&Value::Null)),
        };
        let headers = &parts.headers;
        match incoming {
            Incoming::One(message) => match self.answer(context, headers, message).await {
                Answer::Accepted => empty(StatusCode::ACCEPTED),
                Answer::Json(status, answer) => plain(status, &answer),
                Answer::Stream(response) => response,
            },
            // Only 2025-03-26 has batches, and no later one has it without its header.
            Incoming::Batch(_) if text(headers, "mcp-protocol-version").is_some_and(|version| version != "2025-03-26") => {
                plain(StatusCode::BAD_REQUEST, &Fault::new(INVALID_REQUEST, "this revision has no batches").answer(&Value::Null))
            }
            Incoming::Batch(messages) => {
                let mut answers = Vec::new();
                for message in messages {
                    match message {
                        Err(fault) => answers.push(fault.answer(&Value::Null)),
                        Ok(message) => match self.answer(context, &without_streams(headers), message).await {
                            Answer::Json(_, answer) => answers.push(answer),
                            Answer::Accepted | Answer::Stream(_) => {}
                        },
                    }
                }
                if answers.is_empty() { empty(StatusCode::ACCEPTED) } else { plain(StatusCode::OK, &Value::Array(answers)) }
            }
        }
    }

    async fn answer(&self, context: &RequestContext, headers: &HeaderMap, message: Message) -> Answer {
        let Message::Request { id, method, params } = message else { return Answer::Accepted };
        let said = Headers {
            version: text(headers, "mcp-protocol-version"),
            method: text(headers, "mcp-method"),
            name: text(headers, "mcp-name"),
        };
        let era = match revision::era(&said, &method, &params) {
            Ok(era) => era,
            Err(fault) => return Answer::Json(StatusCode::BAD_REQUEST, fault.answer(&id)),
        };
        let done = |result| Answer::Json(StatusCode::OK, json_rpc::result(&id, complete(era, result)));
        match (method.as_str(), era) {
            ("initialize", Era::Legacy) => done(json!({
                "protocolVersion": revision::negotiated(&params),
                "capabilities": { "tools": {} },
                "serverInfo": server_info(),
                "instructions": tools::INSTRUCTIONS,
            })),
            ("ping", Era::Legacy) => done(json!({})),
            ("server/discover", Era::Modern) => done(json!({
                "supportedVersions": SUPPORTED,
                "capabilities": { "tools": {} },
                "serverInfo": server_info(),
                "instructions": tools::INSTRUCTIONS,
                "ttlMs": TTL_MS,
                "cacheScope": "private",
            })),
            ("tools/list", Era::Legacy) => done(json!({ "tools": tools::definitions() })),
            ("tools/list", Era::Modern) => done(json!({ "tools": tools::definitions(), "ttlMs": TTL_MS, "cacheScope": "private" })),
            ("tools/call", _) => self.call(context, headers, era, id, &params).await,
            (_, era) => {
                let status = if era == Era::Modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
                Answer::Json(status, Fault::new(METHOD_NOT_FOUND, "this server has no such method").answer(&id))
            }
        }
    }

    async fn call(&self, context: &RequestContext, headers: &HeaderMap, era: Era, id: Value, params: &Map<String, Value>) -> Answer {
        let invalid = |why: &str| Answer::Json(StatusCode::OK, Fault::new(INVALID_PARAMS, why).answer(&id));
        let Some(name) = params.get("name").and_then(Value::as_str) else { return invalid("`name` must be a tool's") };
        let nothing = Map::new();
        let arguments = match params.get("arguments") {
            None => &nothing,
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return invalid("`arguments` must be an object"),
        };
        let done = |result| Answer::Json(StatusCode::OK, json_rpc::result(&id, complete(era, result)));
        let call = match tools::call(name, arguments) {
            Ok(call) => call,
            Err(Misuse::UnknownTool) => return invalid("there is no such tool"),
            Err(Misuse::Arguments(why)) => return done(tools::error(&why)),
        };
        context.log.update(|entry| entry.rule = Some(name.to_owned()));
        if !self.rate.take(Instant::now()) {
            return done(tools::error("too many calls: wait a second"));
        }
        let waits = matches!(&call, Call::Wait { seconds, .. } if *seconds > 0);
        let token = params.get("_meta").and_then(|meta| meta.get("progressToken")).filter(|token| token.is_string() || token.is_number());
        let Some(token) = token.filter(|_| waits && accepts_streams(headers)) else {
            return done(tools::answer(&ask(self.link.clone(), call).await));
        };
        let link = self.link.clone();
        let answer = async move { json_rpc::result(&id, complete(era, tools::answer(&ask(link, call).await))) };
        Answer::Stream(progress::stream(token.clone(), answer))
    }
}

/// Makes a call: says it to the supervisor, and waits as long as it says.
async fn ask(link: Link, call: Call) -> Reply {
    let gone = || Reply::Refused("the supervisor does not answer".to_owned());
    let mut client = link.client();
    client.say(call.message());
    let Ok(Some(first)) = tokio::time::timeout(REPLY_TIMEOUT, client.hear()).await else { return gone() };
    let Call::Wait { seconds, .. } = call else { return first };
    let is_over = |reply: &Reply| !matches!(reply, Reply::State { state: AskState::Open | AskState::Granting, .. });
    if is_over(&first) {
        return first;
    }
    match tokio::time::timeout(Duration::from_secs(seconds), client.hear()).await {
        Ok(Some(last)) => last,
        Ok(None) => gone(),
        // Not an error: the question is still open.
        Err(_) => first,
    }
}

impl Handler for Server {
    async fn admit(&self, _: &Peer, _: &Host, _: u16) -> Result<Admission, Refused> {
        Err(Refused::new(Reason::OpaqueTunnel, "supervise is no proxy"))
    }

    async fn handle(&self, context: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        // Whoever rebinds a name to this address still sends its own name.
        if !self.serves(&context.host) || context.port != names::SUPERVISE.1 {
            return Err(Refused::new(Reason::HostNotListed, "supervise is no proxy"));
        }
        Ok(self.respond(&context, request).await.into())
    }

    fn serves(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => name == names::SUPERVISE.0 || name == "localhost",
            Host::Ip(address) => address.is_loopback(),
        }
    }
}

/// Method, origin and content type of a request that is answered (MCP, "Streamable HTTP": Security Warning).
fn admissible(method: &Method, headers: &HeaderMap) -> Result<(), StatusCode> {
    let is_own = |origin: &HeaderValue| {
        let host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")?.strip_suffix(":9100"));
        host.is_some_and(|host| [names::SUPERVISE.0, "localhost", "127.0.0.1", "[::1]"].contains(&host))
    };
    if !headers.get_all(header::ORIGIN).iter().all(is_own) {
        return Err(StatusCode::FORBIDDEN);
    }
    if method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = text(headers, "content-type").and_then(|kind| kind.split(';').next()).map(|kind| kind.trim().to_ascii_lowercase());
    if kind.as_deref() == Some("application/json") { Ok(()) } else { Err(StatusCode::UNSUPPORTED_MEDIA_TYPE) }
}

fn accepts_streams(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/event-stream"))
}

/// In a batch, each answer is one value of a list.
fn without_streams(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::ACCEPT);
    headers
}

/// A result of the newest revision says that it is one, and who gives it.
fn complete(era: Era, mut result: Value) -> Value {
    if era == Era::Modern {
        result["resultType"] = Value::from("complete");
        result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
    }
    result
}

fn server_info() -> Value {
    json!({ "name": "bottle", "title": "bottle", "version": env!("CARGO_PKG_VERSION") })
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn plain(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}
