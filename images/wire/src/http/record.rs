//! The record of an exchange: the event that is written when it is over, and the ids that name requests.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bottle_contract::Untrusted;
use bottle_contract::event::{Event, Level};
use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use bottle_policy::target::Peer;
use http::{HeaderMap, StatusCode};

use crate::http::access_log::AccessLog;
use crate::http::body::{self, BodyError};
use crate::http::conceal::conceal;
use crate::http::headers::REQUEST_ID;
use crate::http::slots::InFlight;
use crate::process::events::Events;

/// What an event has for a method where a program without a proxy sent none.
pub(crate) const DIRECT: &str = "-";

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

    /// The id of a request: the one that a sibling gave it, else the next of our own.
    pub(crate) fn of(&self, peer: &Peer, headers: &HeaderMap) -> String {
        let given = headers.get(&REQUEST_ID).filter(|_| matches!(peer, Peer::Sibling)).and_then(|id| id.to_str().ok());
        let is_plain = |id: &&str| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        given.filter(is_plain).map_or_else(|| self.next(), str::to_owned)
    }

    pub(crate) fn next(&self) -> String {
        [self.prefix.as_str(), &self.next.fetch_add(1, Ordering::Relaxed).to_string()].concat()
    }
}

/// The event of an exchange, written when the exchange is over.
pub(crate) struct Record {
    events: Events,
    event: Event,
    log: AccessLog,
    started: Instant,
    silent: bool,
    _in_flight: Option<InFlight>,
}

impl Record {
    pub(crate) fn new(events: Events, id: &str, log: AccessLog, in_flight: Option<InFlight>) -> Self {
        let mut event = Events::event(Level::Info, "request");
        event.request_id = Some(id.to_owned());
        Self { events, event, log, started: Instant::now(), silent: false, _in_flight: in_flight }
    }

    pub(crate) fn named(&mut self, method: &str, origin: String, path: String) {
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
        self.event.place = refused.place.as_ref().map(ToString::to_string);
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

    /// Waits for what comes of it, without keeping its connection from being idle.
    pub(crate) fn waiting(mut self) -> Self {
        self._in_flight = None;
        self
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
        let entry = self.log.take();
        let event = &mut self.event;
        event.generation = entry.generation;
        event.rule = event.rule.take().or(entry.rule);
        event.injected = entry.injected;
        event.dialled = entry.dialled;
        event.message = event.message.take().or(entry.message);
        if event.event == "request" && event.status.is_none() {
            event.level = Level::Warn;
            event.message.get_or_insert_with(|| "broken off before there was an answer".to_owned());
        }
        if event.event == "refused" || event.status.is_none() {
            conceal_secrets(event);
        }
        event.sent = Some(self.log.sent());
        event.received = Some(self.log.received());
        event.micros = Some(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.events.write(event);
    }
}

/// What was refused may never have been scanned: text of the peer's own choosing that may be a secret is not written.
fn conceal_secrets(event: &mut Event) {
    if matches!(event.reason, Some(Reason::HostNotListed | Reason::PortNotListed | Reason::SelfRequest)) {
        // A path at a host that may not be reached explains nothing.
        event.path = None;
    }
    for text in [&mut event.method, &mut event.origin, &mut event.path, &mut event.place, &mut event.message].into_iter().flatten() {
        *text = conceal(text);
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
    event.place = refused.place.as_ref().map(ToString::to_string);
    event.message = Some(Untrusted::new(&refused.message).to_string());
    conceal_secrets(&mut event);
    events.write(&event);
}
