//! What an open connection holds: one of so many places, and when it was last of use.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

/// A connection on which nothing was asked for this long gives way to a new one when there are no places left.
const GIVES_WAY: Duration = Duration::from_millis(100);

/// Held by whatever keeps a connection open.
pub(crate) type Slot = Arc<Seat>;

/// A connection's place.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    under_way: AtomicUsize,
    /// Milliseconds from [`START`] to the start of the connection or the end of its last exchange.
    idle_since: AtomicU64,
    /// It must give way.
    leave: Notify,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One exchange that is under way.
pub(crate) struct Beat(Slot);

impl Seat {
    pub(crate) fn take(permit: OwnedSemaphorePermit) -> Slot {
        Arc::new(Self { _permit: permit, under_way: AtomicUsize::new(0), idle_since: AtomicU64::new(now()), leave: Notify::new() })
    }

    pub(crate) fn beat(self: &Arc<Self>) -> Beat {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Beat(self.clone())
    }

    /// Returns when no exchange has been under way for `most`.
    pub(crate) async fn ceases(&self, most: Duration) {
        loop {
            let due = match self.under_way.load(Ordering::Relaxed) {
                0 => *START + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)) + most,
                _ => Instant::now() + most,
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Lets `serve` go on until the connection must give way.
    pub(crate) async fn held(self: Arc<Self>, serve: impl Future<Output = ()>) {
        let gives_way = async {
            loop {
                self.leave.notified().await;
                if self.under_way.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = serve => {}
            () = gives_way => {}
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All seats that are taken.
#[derive(Default)]
pub(crate) struct Seats(Vec<Weak<Seat>>);

impl Seats {
    pub(crate) fn add(&mut self, seat: &Slot) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|seat| seat.strong_count() > 0);
        }
        self.0.push(Arc::downgrade(seat));
    }

    /// Asks the connection that has been of no use for the longest to give way. False when every one is of use.
    pub(crate) fn free_one(&mut self) -> bool {
        let latest = now().saturating_sub(u64::try_from(GIVES_WAY.as_millis()).unwrap_or(u64::MAX));
        let idle = self.0.iter().filter_map(Weak::upgrade).filter(|seat| seat.under_way.load(Ordering::Relaxed) == 0);
        let oldest = idle.map(|seat| (seat.idle_since.load(Ordering::Relaxed), seat)).min_by_key(|(since, _)| *since);
        match oldest.filter(|(since, _)| *since <= latest) {
            None => false,
            Some((_, seat)) => {
                // Asked once: the next surplus connection finds another.
                seat.idle_since.store(u64::MAX / 2, Ordering::Relaxed);
                seat.leave.notify_one();
                true
            }
        }
    }
}
