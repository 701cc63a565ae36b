//! A connection slot counts against the listener's limit and remembers when the connection was last active, so that the idlest can be
//! evicted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use bottle_contract::host::Host;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::direct::name_table::OpenName;

/// A connection that is idle for so long may be evicted when all slots are taken.
const EVICTABLE_AFTER: Duration = Duration::from_millis(100);

/// Owned by whatever keeps a connection open.
pub(crate) type Slot = Arc<ConnectionSlot>;

/// One of the connections that a listener may have.
pub(crate) struct ConnectionSlot {
    _permit: OwnedSemaphorePermit,
    /// The name that was dialled without a proxy.
    name: Option<OpenName>,
    in_flight: AtomicUsize,
    /// Milliseconds from [`START`] to the start of the connection or the end of its last exchange.
    idle_since: AtomicU64,
    evict: Notify,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One exchange in flight.
pub(crate) struct InFlight(Slot);

impl ConnectionSlot {
    pub(crate) fn new(permit: OwnedSemaphorePermit, name: Option<OpenName>) -> Slot {
        let idle_since = AtomicU64::new(now());
        Arc::new(Self { _permit: permit, name, in_flight: AtomicUsize::new(0), idle_since, evict: Notify::new() })
    }

    /// The name whose address was dialled, if it was one's.
    pub(crate) fn name(&self) -> Option<&Host> {
        self.name.as_ref().map(OpenName::host)
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Returns when no exchange has been in flight for `timeout`.
    pub(crate) async fn idle_for(&self, timeout: Duration) {
        loop {
            let due = match self.in_flight.load(Ordering::Relaxed) {
                0 => *START + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)) + timeout,
                _ => Instant::now() + timeout,
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Runs `serve` to its end, or until the connection is evicted.
    pub(crate) async fn run_until_evicted(self: Arc<Self>, serve: impl Future<Output = ()>) {
        let evicted = async {
            loop {
                self.evict.notified().await;
                if self.in_flight.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = serve => {}
            () = evicted => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All slots that are taken.
#[derive(Default)]
pub(crate) struct ConnectionTable(Vec<Weak<ConnectionSlot>>);

impl ConnectionTable {
    pub(crate) fn add(&mut self, slot: &Slot) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|slot| slot.strong_count() > 0);
        }
        self.0.push(Arc::downgrade(slot));
    }

    /// Evicts the connection that has been idle for the longest. False when every one is in use.
    pub(crate) fn evict_idlest(&mut self) -> bool {
        let latest = now().saturating_sub(u64::try_from(EVICTABLE_AFTER.as_millis()).unwrap_or(u64::MAX));
        let idle = self.0.iter().filter_map(Weak::upgrade).filter(|slot| slot.in_flight.load(Ordering::Relaxed) == 0);
        let oldest = idle.map(|slot| (slot.idle_since.load(Ordering::Relaxed), slot)).min_by_key(|(since, _)| *since);
        match oldest.filter(|(since, _)| *since <= latest) {
            None => false,
            Some((_, slot)) => {
                // Once: the next surplus connection evicts another.
                slot.idle_since.store(u64::MAX / 2, Ordering::Relaxed);
                slot.evict.notify_one();
                true
            }
        }
    }
}
