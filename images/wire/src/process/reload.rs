//! What is in force, which a reload replaces as one or not at all.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::anyhow;
use bottle_contract::Untrusted;
use bottle_contract::event::Level;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::process::events::Events;

/// What a sidecar judges by, read from its configuration.
pub trait Generation {
    /// Grows with each change; events name the generation that judged them.
    fn generation(&self) -> u64;
}

/// How long a sibling may go on with requests that it has judged by the generation before. Longer than the supervisor waits for an
/// acknowledgement, and than a head takes from one sidecar to the next.
const PRIOR_TIMEOUT: Duration = Duration::from_secs(10);

/// What is in force, and why the last reload did not replace it, if so.
pub struct Reloadable<T> {
    in_force: RwLock<InForce<T>>,
    last_error: RwLock<Option<String>>,
    /// Notified of each change.
    changes: watch::Sender<()>,
}

/// The generation in force, and the one before with the time of its replacement.
struct InForce<T> {
    current: Arc<T>,
    prior: Option<(Arc<T>, Instant)>,
}

impl<T: Generation> Reloadable<T> {
    /// Begins with this one.
    pub fn new(first: T) -> Self {
        let in_force = RwLock::new(InForce { current: Arc::new(first), prior: None });
        Self { in_force, last_error: RwLock::new(None), changes: watch::Sender::new(()) }
    }

    /// What judges a request from its start to its end.
    pub fn current(&self) -> Arc<T> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// What judges a request that a sibling has judged by `generation`: the same one, so that no request is judged by halves of two. The one
    /// before serves for a moment after its replacement; anything else is judged by what is in force.
    pub fn of(&self, generation: Option<u64>) -> Arc<T> {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        let prior = generation.zip(in_force.prior.as_ref()).filter(|(generation, (prior, replaced))| {
            (prior.generation()..in_force.current.generation()).contains(generation) && replaced.elapsed() < PRIOR_TIMEOUT
        });
        prior.map_or(&in_force.current, |(_, (prior, _))| prior).clone()
    }

    /// Returns once what is in force no longer `allows` what is under way.
    pub async fn until_revoked(&self, allows: impl Fn(&T) -> bool) {
        let mut changes = self.changes.subscribe();
        // Order matters: a change between the verdict and the subscription is seen here, a later one below.
        while allows(&self.current()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Why the last reload failed.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything again, and uses it only if all of it is good and not older. Requests in flight
    /// end under what judged them.
    pub fn reload(&self, read: impl FnOnce(&T) -> anyhow::Result<T>, events: &Events) {
        let old = self.current();
        let read = read(&old).and_then(|new| match new.generation() < old.generation() {
            true => Err(anyhow!("the file is of generation {}, older than {} in force", new.generation(), old.generation())),
            false => Ok(new),
        });
        let (mut event, error) = match read {
            Ok(new) => {
                let mut event = Events::event(Level::Info, "reload");
                event.generation = Some(new.generation());
                let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
                let prior = std::mem::replace(&mut in_force.current, Arc::new(new));
                in_force.prior = Some((prior, Instant::now()));
                drop(in_force);
                self.changes.send_replace(());
                (event, None)
            }
            Err(why) => {
                let mut event = Events::event(Level::Error, "reload_failed");
                event.generation = Some(old.generation());
                (event, Some(format!("the old policy stays in force: {}", Untrusted::new(&format!("{why:#}")))))
            }
        };
        event.message = error.clone();
        *self.last_error.write().unwrap_or_else(PoisonError::into_inner) = error;
        events.write(&event);
        drop(old);
        crate::process::memory::release_unused();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PipelockPolicy(u64);

    impl Generation for PipelockPolicy {
        fn generation(&self) -> u64 {
            self.0
        }
    }

    fn number(n: u64) -> impl FnOnce(&PipelockPolicy) -> anyhow::Result<PipelockPolicy> {
        move |_| Ok(PipelockPolicy(n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_a_sibling_has_judged_is_judged_by_the_same_generation_for_a_moment() {
        let (events, _told) = Events::captured();
        let live = Reloadable::new(PipelockPolicy(2));
        live.reload(number(5), &events);
        let judged = |generation| live.of(generation).0;
        // Those in between differ from the one before in nothing that concerns this sidecar.
        assert_eq!([Some(1), Some(2), Some(4), Some(5), Some(6), None].map(judged), [5, 2, 2, 5, 5, 5]);
        tokio::time::advance(PRIOR_TIMEOUT).await;
        assert_eq!([Some(2), None].map(judged), [5, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_revoked_by_the_first_generation_that_does_not_allow_it() {
        let (events, _told) = Events::captured();
        let live = Arc::new(Reloadable::new(PipelockPolicy(1)));
        let revoked = tokio::spawn({
            let live = live.clone();
            async move { live.until_revoked(|policy| policy.0 < 3).await }
        });
        tokio::task::yield_now().await;
        live.reload(number(2), &events);
        tokio::task::yield_now().await;
        assert!(!revoked.is_finished());
        live.reload(number(3), &events);
        revoked.await.unwrap();
        // One that was judged before, and watched only afterwards.
        live.until_revoked(|policy| policy.0 < 3).await;
    }

    // covers: Y10
    #[test]
    fn a_table_that_cannot_be_read_or_is_older_changes_nothing_and_is_told() {
        let (events, told) = Events::captured();
        let live = Reloadable::new(PipelockPolicy(2));
        for (read, why) in [
            (Err(anyhow!("no \x1b such file").context("cannot read it")), "cannot read it: no \\u{1b} such file"),
            (Ok(PipelockPolicy(1)), "the file is of generation 1, older than 2 in force"),
        ] {
            live.reload(|_| read, &events);
            let event = told.recv().unwrap();
            let message = format!("the old policy stays in force: {why}");
            assert_eq!((event.event.as_str(), event.generation, event.message), ("reload_failed", Some(2), Some(message.clone())));
            assert_eq!((live.current().0, live.last_error()), (2, Some(message)));
        }
        live.reload(|old| Ok(PipelockPolicy(old.0 + 1)), &events);
        let event = told.recv().unwrap();
        assert_eq!((event.event.as_str(), event.generation, event.message), ("reload", Some(3), None));
        assert_eq!((live.current().0, live.last_error()), (3, None));
    }
}
