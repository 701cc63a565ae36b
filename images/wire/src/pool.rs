//! Idle HTTP/1.1 connections to a next hop, kept for the next request.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::again::{self, Again, lost};
use crate::body::{self, Body, BodyError};
use crate::notes::Notes;
use crate::refusal::Refused;

/// Connections kept for one target: an agent that runs that many tools at once is busy.
const KEPT: usize = 256;
/// Targets for which connections are kept.
const TARGETS: usize = 256;
/// What hyper reads ahead of a slow agent.
const READ_AHEAD: usize = 64 << 10;

/// Connections by target. `B` is the body of requests; its default is an empty one.
pub struct Pool<K, B> {
    idle: Mutex<Kept<K, B>>,
    /// An unused connection is kept for so long.
    fresh: Duration,
}

struct Kept<K, B> {
    by_target: HashMap<K, Vec<Idle<B>>>,
    /// A task closes what is kept too long.
    swept: bool,
}

/// What a connection ends at, if that is worth a note.
pub type Address = Option<Arc<str>>;

struct Connection<B> {
    sender: SendRequest<B>,
    address: Address,
}

struct Idle<B> {
    connection: Connection<B>,
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
        Self::Broken(error)
    }
}

impl<K, B> Pool<K, B>
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    /// Of connections that stay usable for `fresh` when they are not used. The other end should keep them for longer.
    pub fn new(fresh: Duration) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::new(Kept { by_target: HashMap::new(), swept: false }), fresh })
    }

    /// Sends a request over a connection to `target`: one that is idle, else one that `dial` makes. `notes` learns the address of the
    /// connection before the request is on its way, and that a request was sent again.
    pub async fn send<S, D>(self: &Arc<Self>, target: K, mut request: Request<B>, notes: &Notes, dial: D) -> Result<Response<Body>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        D: AsyncFnOnce() -> Result<(S, Address), Failure>,
    {
        let bodyless = request.body().is_end_stream();
        let again = Again::of(&request);
        while let Some(mut connection) = self.take(&target) {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            connection.note(notes);
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(target, response, connection, bodyless)),
                // It had been closed before anything was sent: nobody has seen the request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        request = unsent;
                        notes.note(|noted| noted.dialled = None);
                    }
                    None => {
                        let error = error.into_error();
                        let Some(again) = again.filter(|_| lost(&error)) else { return Err(error.into()) };
                        again::told(notes);
                        request = again.request(B::default());
                        // The others may be as old.
                        break;
                    }
                },
            }
        }
        // A connection is made for the first of many requests; its future is large.
        let mut connection = Box::pin(connect(dial)).await?;
        connection.note(notes);
        let response = connection.sender.send_request(request).await?;
        Ok(self.pooled(target, response, connection, bodyless))
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, target: &K) -> Option<Connection<B>> {
        let mut idle = self.lock();
        let kept = idle.by_target.get_mut(target)?;
        while let Some(last) = kept.pop() {
            if last.is_usable(self.fresh) {
                return Some(last.connection);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, target: K, connection: Connection<B>) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if !idle.swept {
            idle.swept = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.fresh));
        }
        let idle = &mut idle.by_target;
        if idle.len() >= TARGETS && !idle.contains_key(&target) {
            idle.clear();
        }
        let kept = idle.entry(target).or_default();
        if kept.len() < KEPT {
            kept.push(Idle { connection, since: Instant::now() });
        }
    }

    fn pooled(self: &Arc<Self>, target: K, response: Response<Incoming>, connection: Connection<B>, bodyless: bool) -> Response<Body> {
        response.map(|body| {
            let mut body = Pooled { body, loan: Some(Loan { pool: self.clone(), target, connection, bodyless }) };
            body.settle();
            if body.loan.is_none() && body.body.is_end_stream() { body::empty() } else { body.boxed() }
        })
    }
}

impl<B> Connection<B> {
    fn note(&self, notes: &Notes) {
        if let Some(address) = &self.address {
            notes.note(|noted| noted.dialled = Some(address.as_ref().to_owned()));
        }
    }
}

impl<B> Idle<B> {
    fn is_usable(&self, fresh: Duration) -> bool {
        self.since.elapsed() < fresh && !self.connection.sender.is_closed()
    }
}

async fn connect<B, S, D>(dial: D) -> Result<Connection<B>, Failure>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: AsyncFnOnce() -> Result<(S, Address), Failure>,
{
    let (stream, address) = dial().await?;
    let (sender, connection) = Builder::new().max_buf_size(READ_AHEAD).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its error reaches whoever waits for an answer.
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection { sender, address })
}

/// Closes what nobody has used for long, until nothing is kept.
async fn sweep<K, B>(pool: Weak<Pool<K, B>>, fresh: Duration)
where
    K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error = BodyError> + Default + Send + Unpin + 'static,
{
    loop {
        tokio::time::sleep(fresh / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.lock();
        idle.by_target.retain(|_, kept| {
            kept.retain(|idle| idle.is_usable(fresh));
            !kept.is_empty()
        });
        if idle.by_target.is_empty() {
            idle.swept = false;
            return;
        }
    }
}

/// A connection that goes back when its answer has been read. Dropped before, it is closed.
struct Loan<K, B> {
    pool: Arc<Pool<K, B>>,
    target: K,
    connection: Connection<B>,
    /// The request had no body, so that the end of the answer is the end of the exchange.
    bodyless: bool,
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
        let Some(Loan { pool, target, mut connection, bodyless }) = self.loan.take() else { return };
        if bodyless {
            pool.put(target, connection);
        } else {
            // An answer may end before the request's body has been sent.
            tokio::spawn(async move {
                if connection.sender.ready().await.is_ok() {
                    pool.put(target, connection);
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
