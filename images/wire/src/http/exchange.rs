//! One request and its answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bottle_contract::Untrusted;
use bottle_contract::event::{Event, Level};
use bottle_contract::reason::Reason;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::Forward;
use crate::http::access_log::Notes;
use crate::http::body::{self, Body, BodyError, Downlink};
use crate::http::connection::Context;
use crate::http::forwarding::{ask_for_websocket, clean, end_to_end, uplink};
use crate::http::headers::{HTTP_2, REASON, REQUEST_ID};
use crate::http::refusal::{Refused, refusal_response};
use crate::http::request::Asked;
use crate::http::slots::{Beat, Slot};
use crate::http::tunnel;
use crate::process::events::Events;
use bottle_policy::target::{self, Channel, Named, Target};

/// Gives each request a name: random for each process, then counted.
pub(crate) struct RequestIds {
    /// Of the process, with the hyphen behind it.
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> io::Result<Self> {
        let mut random = [0; 4];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the kernel gives no randomness"))?;
        Ok(Self { prefix: format!("{:08x}-", u32::from_ne_bytes(random)), next: AtomicU64::new(1) })
    }

    pub(crate) fn next(&self) -> String {
        [self.prefix.as_str(), &self.next.fetch_add(1, Ordering::Relaxed).to_string()].concat()
    }
}

/// The event of an exchange, written when the exchange is over.
pub(crate) struct Record {
    events: Events,
    event: Event,
    notes: Notes,
    started: Instant,
    silent: bool,
    _beat: Option<Beat>,
}

impl Record {
    pub(crate) fn new(events: Events, id: &str, notes: Notes, beat: Option<Beat>) -> Self {
        let mut event = Events::event(Level::Info, "request");
        event.request_id = Some(id.to_owned());
        Self { events, event, notes, started: Instant::now(), silent: false, _beat: beat }
    }

    fn named(&mut self, method: &str, origin: String, path: String) {
        self.event.method = Some(method.to_owned());
        self.event.origin = Some(origin);
        self.event.path = Some(path);
    }

    pub(crate) fn origin(&mut self, method: &str, origin: String) {
        self.event.method = Some(method.to_owned());
        self.event.origin = Some(origin);
    }

    pub(crate) fn slug(&mut self, slug: &str) {
        self.event.event = slug.to_owned();
    }

    pub(crate) fn status(&mut self, status: StatusCode) {
        self.event.status = Some(status.as_u16());
    }

    /// The exchange was refused, before or while its answer was under way.
    pub(crate) fn broke(&mut self, refused: &Refused) {
        self.event.level = Level::Warn;
        self.event.event = "refused".to_owned();
        self.event.reason = Some(refused.reason);
        self.event.rule = refused.rule.clone();
        self.event.place = refused.place.clone();
        self.event.message = Some(Untrusted::new(&refused.message).to_string());
        if refused.reason == Reason::SecretDetected {
            self.forget_secret();
        }
    }

    /// No event holds the secret that was found. Where the place is not known, as of a sibling's verdict, it may be
    /// anywhere in the target; the sibling's own event, by the same request id, says what can be said.
    fn forget_secret(&mut self) {
        let (method, origin, path) = match self.event.place.as_deref() {
            None => (true, true, true),
            Some(place) => (place == "method", place.starts_with("host"), place.starts_with("path")),
        };
        self.event.method.take_if(|_| method);
        self.event.origin.take_if(|_| origin);
        self.event.path.take_if(|_| path);
    }

    /// The answer ended before its end.
    pub(crate) fn broken(&mut self, error: &BodyError) {
        match body::refusal_in(error) {
            Some(refused) => self.broke(refused),
            None => self.message(Untrusted::new(&error.to_string()).to_string()),
        }
    }

    /// Writes nothing: what this exchange leads to is recorded on its own.
    pub(crate) fn forget(mut self) {
        self.silent = true;
    }

    pub(crate) fn message(&mut self, message: String) {
        self.event.message = Some(message);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let noted = self.notes.take();
        let event = &mut self.event;
        event.generation = noted.generation;
        event.rule = event.rule.take().or(noted.rule);
        event.injected = noted.injected;
        event.dialled = noted.dialled;
        event.message = event.message.take().or(noted.message);
        if event.event == "request" && event.status.is_none() {
            event.level = Level::Warn;
            event.message.get_or_insert_with(|| "broken off before there was an answer".to_owned());
        }
        event.sent = Some(self.notes.sent());
        event.received = Some(self.notes.received());
        event.micros = Some(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.events.write(event);
    }
}

/// Writes a refusal that has no exchange.
pub(crate) fn log_refusal(events: &Events, id: &str, method: Option<&str>, origin: Option<String>, refused: &Refused) {
    let mut event = Events::event(Level::Warn, "refused");
    event.request_id = Some(id.to_owned());
    event.method = method.map(str::to_owned);
    event.origin = origin;
    event.status = Some(refused.status().as_u16());
    event.reason = Some(refused.reason);
    event.rule = refused.rule.clone();
    event.place = refused.place.clone();
    event.message = Some(Untrusted::new(&refused.message).to_string());
    events.write(&event);
}

/// Answers one request, whatever comes.
pub(crate) async fn answer<F: Forward>(context: Arc<Context<F>>, mut request: Request<Incoming>) -> Response<Downlink> {
    let serving = &context.shared.serving;
    let notes = Notes::default();
    let id = siblings_id(&context.channel, request.headers()).unwrap_or_else(|| context.shared.ids.next());
    let mut record = Record::new(serving.events.clone(), &id, notes.clone(), Some(context.slot.beat()));
    let idle = Duration::from_millis(serving.limits.idle_ms);

    let http_1 = request.version() < Version::HTTP_2;
    let upgrade = http_1 && request.headers().contains_key(header::UPGRADE);
    let agent = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let malformed = crate::framing::violation(&parts);
    let ends = upgrade || malformed.is_some();
    if incoming.is_end_stream() {
        notes.all_read();
    }

    let outcome = match malformed {
        Some(refused) => Err(refused),
        None => respond(&context, parts, incoming, &id, &notes, &mut record, idle).await,
    };
    let (mut response, websocket) = match outcome {
        Ok(Outcome::Page(response)) => (response, None),
        Ok(Outcome::Answer(response)) => (response, None),
        Ok(Outcome::WebSocket(response, stream)) => (response, Some(stream)),
        Err(refused) => {
            record.broke(&refused);
            (refusal_response(&refused, serving.piece, &id), None)
        }
    };
    record.status(response.status());
    if let (Some(stream), Some(agent)) = (websocket, agent) {
        tokio::spawn(splice(agent, stream, notes.clone(), idle, record, context.slot.clone()));
        return response.map(|_| Downlink::new(body::empty(), notes, idle, None));
    }
    // Nobody reads what is left of a refused body, so the connection ends with the answer, and whoever keeps it must know.
    let left_over = response.headers().contains_key(&REASON) && !notes.read();
    if http_1 && (ends || left_over) {
        // Nor is what follows an upgrade that did not happen, or a broken head, read as a message.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Downlink::new(body, notes, idle, Some(record)))
}

enum Outcome {
    Page(Response<Body>),
    Answer(Response<Body>),
    WebSocket(Response<Body>, Box<dyn tunnel::Duplex>),
}

async fn respond<F: Forward>(
    context: &Context<F>,
    parts: Parts,
    incoming: Incoming,
    id: &str,
    notes: &Notes,
    record: &mut Record,
    idle: Duration,
) -> Result<Outcome, Refused> {
    let limits = &context.shared.serving.limits;
    let method = parts.method.as_str();
    let named = target::named(&parts, &context.channel).inspect_err(|_| {
        // Refused before it was read in full: the event still says what it seemed to ask for.
        record.origin(&Untrusted::new(method).to_string(), seemed(&context.channel, &parts));
    })?;
    let target = match named {
        Named::Own(target) if context.shared.forward.serves(&target.host) => target,
        Named::Own(Target { host, path, .. }) => {
            let host = host.to_string();
            record.named(method, format!("http://{host}"), path.clone());
            let page = context.shared.forward.own_page(&host, &path);
            return page.map(Outcome::Page).ok_or_else(|| target::self_request(&host));
        }
        Named::Origin(target) => target,
    };
    record.named(method, target.origin(), target.path.clone());
    if parts.version == Version::HTTP_2 && parts.headers.len() > limits.headers {
        // HTTP/1 was counted as it came; HTTP/2 bounds only the sum of sizes.
        return Err(Refused::new(Reason::TooLarge, "the request has more header fields than this bottle allows").place("head"));
    }
    let websocket = target::websocket(&parts, incoming.is_end_stream())?;
    let length = incoming.size_hint().lower();
    if length > limits.body_bytes {
        return Err(body::too_large(limits.body_bytes));
    }
    if parts.headers.get_all(header::EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refused::new(Reason::MalformedRequest, "the only expectation known is 100-continue").place("header:expect"));
    }
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| websocket).cloned();
    let sibling = matches!(context.channel, Channel::Sibling);
    let http_2 = if sibling { parts.headers.contains_key(&HTTP_2) } else { parts.version == Version::HTTP_2 };
    let asked = Asked { target, request_id: id.to_owned(), websocket, http_2, notes: notes.clone() };
    let request = end_to_end(parts, &asked, sibling, uplink(incoming, limits.body_bytes, notes))?;

    let forwarded = tokio::select! {
        biased;
        forwarded = context.shared.forward.forward(asked, request) => forwarded,
        () = body::stalled(notes, idle) => Err(body::too_slow(idle)),
    };
    let mut response = forwarded?;
    let from_sibling = notes.is_siblings();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let not_asked =
            || Refused::new(Reason::UpstreamProtocol, "the origin switched to a protocol that was not asked for").place("upstream");
        let key = key.filter(|key| tunnel::agrees(&response, key.as_bytes())).ok_or_else(not_asked)?;
        drop(key);
        let patience = Duration::from_millis(limits.handshake_ms);
        let stream = tokio::time::timeout(patience, tunnel::carried(&mut response)).await.ok().flatten().ok_or_else(not_asked)?;
        clean(&mut response, from_sibling);
        ask_for_websocket(response.headers_mut());
        return Ok(Outcome::WebSocket(response, stream));
    }
    if response.status().is_informational() {
        return Err(Refused::new(Reason::UpstreamProtocol, "the origin's answer has no final status").place("upstream"));
    }
    clean(&mut response, from_sibling);
    if from_sibling && let Some(reason) = sibling_refused(&response) {
        record.broke(&Refused::new(reason, "refused by the next sidecar"));
    }
    Ok(Outcome::Answer(response))
}

/// The reason that a sibling gave, if it refused.
fn sibling_refused(response: &Response<Body>) -> Option<Reason> {
    let slug = response.headers().get(&REASON)?.to_str().ok()?;
    Reason::ALL.iter().copied().find(|reason| reason.slug() == slug)
}

/// The id that our sibling gave this request.
pub(crate) fn siblings_id(channel: &Channel, headers: &HeaderMap) -> Option<String> {
    if !matches!(channel, Channel::Sibling) {
        return None;
    }
    let id = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| id.to_owned())
}

/// The origin as far as it can be told, for the event of a request whose target was refused.
fn seemed(channel: &Channel, parts: &Parts) -> String {
    match channel {
        Channel::Intercepted { host, port, .. } => target::origin(true, host, *port),
        _ => match parts.uri.authority().map(|a| target::split_authority(a.as_str())) {
            Some(Ok((host, port))) => target::origin(false, &host, port.unwrap_or(80)),
            _ => "-".to_owned(),
        },
    }
}

pub(crate) async fn splice(
    agent: OnUpgrade,
    stream: Box<dyn tunnel::Duplex>,
    notes: Notes,
    idle: Duration,
    mut record: Record,
    slot: Slot,
) {
    match agent.await {
        Ok(agent) => {
            if let Some(why) = tunnel::splice(TokioIo::new(agent), stream, &notes, idle).await {
                record.message(why);
            }
        }
        Err(_) => record.message("the agent left before the upgrade".to_owned()),
    }
    drop(record);
    drop(slot);
}
