//! Idle HTTP/1.1 connections to a next hop, kept for the next request.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bottle_wire::again::{Again, lost};
use bottle_wire::{Body, BodyError, body};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Connections kept for one target.
const KEPT: usize = 256;
/// Targets for which connections are kept.
const TARGETS: usize = 256;
/// Well below the 30 s after which our own proxies, and most others, end an idle connection.
const FRESH: Duration = Duration::from_secs(15);
/// What hyper reads ahead of a slow agent.
const READ_AHEAD: usize = 64 << 10;

/// Connections by target.
pub(crate) struct Pool<K>(Mutex<HashMap<K, Vec<Idle>>>);

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl<K: Clone + Eq + Hash + Send + Sync + Unpin + 'static> Pool<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(HashMap::new())))
    }

    /// Sends a request over a connection to `target`: one that is idle, else one that `dial` makes.
    pub(crate) async fn send<S, E, D>(self: &Arc<Self>, target: K, mut request: Request<Body>, dial: D) -> Result<Response<Body>, E>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: From<hyper::Error>,
        D: AsyncFnOnce() -> Result<S, E>,
    {
        let bodyless = request.body().is_end_stream();
        let again = Again::of(&request);
        while let Some(mut sender) = self.take(&target) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(target, response, sender, bodyless)),
                // It had been closed before anything was sent: nobody has seen the request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        let error = error.into_error();
                        let Some(again) = again.filter(|_| lost(&error)) else { return Err(error.into()) };
                        request = again.request(body::empty());
                        // The others may be as old.
                        break;
                    }
                },
            }
        }
        let stream = dial().await?;
        let (mut sender, connection) = Builder::new().max_buf_size(READ_AHEAD).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its error reaches whoever waits for an answer.
            let _ = connection.with_upgrades().await;
        });
        let response = sender.send_request(request).await?;
        Ok(self.pooled(target, response, sender, bodyless))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Vec<Idle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, target: &K) -> Option<SendRequest<Body>> {
        let mut idle = self.lock();
        let kept = idle.get_mut(target)?;
        while let Some(last) = kept.pop() {
            if last.since.elapsed() < FRESH && !last.sender.is_closed() {
                return Some(last.sender);
            }
        }
        idle.remove(target);
        None
    }

    fn put(&self, target: K, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() >= TARGETS && !idle.contains_key(&target) {
            idle.clear();
        }
        let kept = idle.entry(target).or_default();
        if kept.len() < KEPT {
            kept.push(Idle { sender, since: Instant::now() });
        }
    }

    fn pooled(self: &Arc<Self>, target: K, response: Response<Incoming>, sender: SendRequest<Body>, bodyless: bool) -> Response<Body> {
        response.map(|body| {
            let mut body = Pooled { body, loan: Some(Loan { pool: self.clone(), target, sender, bodyless }) };
            body.settle();
            if body.loan.is_none() && body.body.is_end_stream() { body::empty() } else { body.boxed() }
        })
    }
}

/// A connection that goes back when its answer has been read. Dropped before, it is closed.
struct Loan<K> {
    pool: Arc<Pool<K>>,
    target: K,
    sender: SendRequest<Body>,
    /// The request had no body, so that the end of the answer is the end of the exchange.
    bodyless: bool,
}

/// An answer's body that holds on to its connection.
struct Pooled<K> {
    body: Incoming,
    loan: Option<Loan<K>>,
}

impl<K: Clone + Eq + Hash + Send + Sync + Unpin + 'static> Pooled<K> {
    fn settle(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let Some(Loan { pool, target, mut sender, bodyless }) = self.loan.take() else { return };
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

impl<K: Clone + Eq + Hash + Send + Sync + Unpin + 'static> http_body::Body for Pooled<K> {
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
