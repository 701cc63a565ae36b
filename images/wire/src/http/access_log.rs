//! What is learned about one exchange while it is under way, for its event.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a proxy may add to the event of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessEntry {
    /// The generation of the policy that judged.
    pub generation: Option<u64>,
    /// The rule that allowed it.
    pub rule: Option<String>,
    /// The header that a credential was put in.
    pub injected: Option<String>,
    /// The address that was dialled.
    pub dialled: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
}

/// Shared by the exchange, its bodies and its handler.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entry: Mutex<AccessEntry>,
    sent: AtomicU64,
    received: AtomicU64,
    /// All of the request's body was read, or there is none.
    read: AtomicBool,
    /// Milliseconds from [`EPOCH`] to the moment when a byte last moved.
    moved: AtomicU64,
    /// Dropped with the exchange.
    guard: Mutex<Option<Guard>>,
}

/// What lasts as long as an exchange.
type Guard = Box<dyn Any + Send>;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn millis_now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Default for AccessLog {
    fn default() -> Self {
        let now = millis_now();
        Self(Arc::new(Inner {
            entry: Mutex::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            read: AtomicBool::new(false),
            moved: AtomicU64::new(now),
            guard: Mutex::default(),
        }))
    }
}

impl AccessLog {
    /// Adds to the entry.
    pub fn update(&self, change: impl FnOnce(&mut AccessEntry)) {
        change(&mut self.0.entry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Drops `guard` when the exchange is over, with its bodies and streams.
    pub fn guard(&self, guard: impl Any + Send) {
        *self.0.guard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(guard));
    }

    /// The entry so far.
    pub fn entry(&self) -> AccessEntry {
        self.0.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The entry, for the event that ends the exchange.
    pub(crate) fn take(&self) -> AccessEntry {
        std::mem::take(&mut self.0.entry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of the request's body that were read from the client so far.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes of the response's body that came from the next hop so far.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Counts bytes of the request's body, and returns the new total.
    pub(crate) fn add_sent(&self, bytes: usize) -> u64 {
        self.touch();
        let bytes = bytes as u64;
        self.0.sent.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Whether all of the request's body was read, or there is none.
    pub(crate) fn is_request_read(&self) -> bool {
        self.0.read.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_request_read(&self) {
        self.0.read.store(true, Ordering::Relaxed);
    }

    /// Counts bytes of the response's body.
    pub(crate) fn add_received(&self, bytes: usize) {
        self.touch();
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.0.moved.store(millis_now(), Ordering::Relaxed);
    }

    /// Returns when nothing has moved in either direction for `idle`.
    pub(crate) async fn stalled(&self, idle: Duration) {
        loop {
            let due = self.moved() + idle;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// When a byte last moved, or when the exchange began.
    pub(crate) fn moved(&self) -> Instant {
        *EPOCH + Duration::from_millis(self.0.moved.load(Ordering::Relaxed))
    }
}
