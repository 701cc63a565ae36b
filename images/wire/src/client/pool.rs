//! Connections to next hops: unused ones of HTTP/1.1 are kept for the next request, one of HTTP/2 is shared.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::retry::{ReplayableRequest, connection_was_lost, note_retry};
use crate::client::sender::{MAX_FIELDS, MAX_HEAD_BYTES, NewConnection, Sender};
use crate::http::access_log::AccessLog;
use crate::http::body::{self, Body, BodyError};
use crate::http::headers;

/// Unused connections to one target: an agent that runs that many tools at once is busy.
const MAX_UNUSED: usize = 256;
/// Targets to which unused connections are kept.
const MAX_TARGETS: usize = 256;

/// Connections by target. `B` is the body of requests; its default is an empty one.
pub struct Pool<K, B> {
    unused: Mutex<Unused<K, B>>,
    /// A connection that is unused for so long is closed.
    idle_timeout: Duration,
}

struct Unused<K, B> {
    by_target: HashMap<K, Vec<Idle<B>>>,
    /// A task closes what is unused too long.
    swept: bool,
}

struct Idle<B> {
    sender: Sender<B>,
    since: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// A verdict.
    Refused(Refused),
    /// The connection or the protocol broke.
    Broken(hyper::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        match error.is_parse_too_large() {
            true => Self::Refused(head_too_large()),
            false => Self::Broken(error),
        }
    }
}

fn head_too_large() -> Refused {
    let message = format!("the head of the answer has more than {MAX_HEAD_BYTES} bytes or {MAX_FIELDS} fields");
    Refused::new(Reason::UpstreamProtocol, message).place(Place::Upstream)
}

/// What no answer may have, in either version of HTTP.
fn check<B>(response: &Response<B>) -> Result<(), Refused> {
    let fields = response.headers();
    if fields.len() > MAX_FIELDS || headers::size(fields) > MAX_HEAD_BYTES {
        return Err(head_too_large());
    }
    // Inside of another coding, nothing could be found and nothing be blanked; none was asked for (RFC 9112, section 6.1).
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refused::new(Reason::UpstreamProtocol, "the answer has a transfer coding other than chunked").place(Place::Upstream)),
    }
}

impl<K, B> Pool<K, B>
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    /// A pool that closes connections when they are unused for `idle_timeout`. The other end should keep them for longer.
    pub fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { unused: Mutex::new(Unused { by_target: HashMap::new(), swept: false }), idle_timeout })
    }

    /// Sends a request over a connection to `target`: an open one, else one that `dial` makes. The request's URI is whole; it is sent in the
    /// form that the connection's protocol wants. `log` learns the address of the connection before the request is on its way, and
    /// that a request was retried.
    pub async fn send<S, D>(
        self: &Arc<Self>,
        target: K,
        mut request: Request<B>,
        log: &AccessLog,
        dial: D,
    ) -> Result<Response<Body>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        D: AsyncFnOnce() -> Result<NewConnection<S>, Failure>,
    {
        let bodyless = request.body().is_end_stream();
        let replayable = ReplayableRequest::of(&request);
        let uri = request.uri().clone();
        while let Some(mut sender) = self.take(&target) {
            if sender.ready().await.is_err() {
                continue;
            }
            sender.note_address(log);
            let had_answered = sender.has_answered();
            match sender.send(request, &uri).await {
                Ok(response) => {
                    check(&response)?;
                    return Ok(self.pooled(target, response, sender, bodyless, log));
                }
                Err(mut error) => match error.take_message() {
                    // The connection had been closed before anything was sent: nobody has seen the request.
                    Some(unsent) => {
                        self.forget_shared(&target);
                        request = unsent;
                        log.update(|entry| entry.dialled = None);
                    }
                    None => {
                        let error = error.into_error();
                        let Some(replayable) = replayable.filter(|_| had_answered && connection_was_lost(&error)) else {
                            return Err(error.into());
                        };
                        note_retry(log);
                        request = replayable.request(B::default());
                        // The other connections may be as old.
                        break;
                    }
                },
            }
        }
        // A connection is made for the first of many requests; its future is large.
        let mut sender = Box::pin(async { Ok::<_, Failure>(Sender::open(dial().await?).await?) }).await?;
        if let Some(shared) = sender.shared() {
            self.put(target.clone(), shared);
        }
        sender.note_address(log);
        let response = sender.send(request, &uri).await.map_err(TrySendError::into_error)?;
        check(&response)?;
        Ok(self.pooled(target, response, sender, bodyless, log))
    }

    fn lock(&self) -> MutexGuard<'_, Unused<K, B>> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, target: &K) -> Option<Sender<B>> {
        let mut unused = self.lock();
        let idle = unused.by_target.get_mut(target)?;
        while let Some(mut last) = idle.pop() {
            if last.is_usable(self.idle_timeout) {
                let Some(shared) = last.sender.shared() else { return Some(last.sender) };
                last.since = Instant::now();
                idle.push(last);
                return Some(shared);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, target: K, sender: Sender<B>) {
        if sender.is_closed() {
            return;
        }
        let mut unused = self.lock();
        if !unused.swept {
            unused.swept = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.idle_timeout));
        }
        let by_target = &mut unused.by_target;
        if by_target.len() >= MAX_TARGETS && !by_target.contains_key(&target) {
            by_target.clear();
        }
        let idle = by_target.entry(target).or_default();
        // Of those that were dialled at the same time, one is enough to share.
        let surplus = sender.is_shared() && idle.iter().any(|idle| idle.sender.is_shared() && idle.is_usable(self.idle_timeout));
        if idle.len() < MAX_UNUSED && !surplus {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// A shared connection that takes no request is not used again.
    fn forget_shared(&self, target: &K) {
        if let Some(idle) = self.lock().by_target.get_mut(target) {
            idle.retain(|idle| !idle.sender.is_shared());
        }
    }

    fn pooled(
        self: &Arc<Self>,
        target: K,
        response: Response<Incoming>,
        sender: Sender<B>,
        bodyless: bool,
        log: &AccessLog,
    ) -> Response<Body> {
        if sender.is_shared() {
            return response.map(body::incoming);
        }
        response.map(|body| {
            let mut body = Pooled { body, loan: Some(Loan { pool: self.clone(), target, sender, bodyless, log: log.clone() }) };
            body.settle();
            if body.loan.is_none() && body.body.is_end_stream() { body::empty() } else { body.boxed() }
        })
    }
}

impl<B> Idle<B> {
    fn is_usable(&self, idle_timeout: Duration) -> bool {
        self.since.elapsed() < idle_timeout && !self.sender.is_closed()
    }
}

/// Closes what nobody has used for long, until nothing is kept.
async fn sweep<K, B>(pool: Weak<Pool<K, B>>, idle_timeout: Duration)
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    loop {
        tokio::time::sleep(idle_timeout / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut unused = pool.lock();
        unused.by_target.retain(|_, idle| {
            idle.retain(|idle| idle.is_usable(idle_timeout));
            !idle.is_empty()
        });
        if unused.by_target.is_empty() {
            unused.swept = false;
            return;
        }
    }
}

/// A connection that goes back when its answer has been read. Dropped before, it is closed.
struct Loan<K, B> {
    pool: Arc<Pool<K, B>>,
    target: K,
    sender: Sender<B>,
    /// The request had no body, so that the end of the answer is the end of the exchange.
    bodyless: bool,
    log: AccessLog,
}

/// An answer's body that holds on to its connection.
struct Pooled<K, B> {
    body: Incoming,
    loan: Option<Loan<K, B>>,
}

impl<K, B> Pooled<K, B>
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    fn settle(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let Some(Loan { pool, target, mut sender, bodyless, log }) = self.loan.take() else { return };
        if sender.was_cut_off() {
            let note = "the origin ended TLS without saying so: its answer, which has no length, may not be whole";
            log.update(|entry| entry.message = Some(note.to_owned()));
            return;
        }
        if bodyless {
            pool.put(target, sender);
        } else {
            // An answer may end before the request's body has been sent.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(target, sender);
                }
            });
        }
    }
}

impl<K, B> http_body::Body for Pooled<K, B>
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.give_back(),
            Poll::Ready(Some(Ok(_))) => self.settle(),
            Poll::Ready(Some(Err(_))) => self.loan = None,
            Poll::Pending => {}
        }
        polled.map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
