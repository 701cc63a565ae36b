//! What is in force, which a reload replaces as one or not at all.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::anyhow;
use bottle_contract::Untrusted;
use bottle_contract::event::Level;

use crate::process::events::Events;

/// What a sidecar judges by, read from its configuration.
pub trait Generation {
    /// Grows with each change; events name the generation that judged them.
    fn generation(&self) -> u64;
}

/// What is in force, and why the last reload did not replace it, if so.
pub struct Reloadable<T> {
    current: RwLock<Arc<T>>,
    last_error: RwLock<Option<String>>,
}

impl<T: Generation> Reloadable<T> {
    /// Begins with this one.
    pub fn new(first: T) -> Self {
        Self { current: RwLock::new(Arc::new(first)), last_error: RwLock::new(None) }
    }

    /// What judges a request from its start to its end.
    pub fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
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
