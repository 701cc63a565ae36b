//! How often each grant may still be used, and when its last use is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bottle_contract::event::Level;
use bottle_contract::grant::Grant;
use bottle_wire::Events;

/// Counts of the uses of grants. They outlive a generation: a grant is not renewed by a reload, and an id never comes back for another grant.
#[derive(Clone)]
pub(crate) struct GrantUses(Arc<Inner>);

struct Inner {
    counts: Mutex<HashMap<String, Count>>,
    events: Events,
}

#[derive(Default)]
struct Count {
    begun: u64,
    under_way: u64,
}

/// One request that a grant allows, from its verdict to the last byte of its exchange.
pub(crate) struct Use {
    uses: GrantUses,
    grant: Grant,
}

impl GrantUses {
    pub(crate) fn new(events: Events) -> Self {
        Self(Arc::new(Inner { counts: Mutex::default(), events }))
    }

    /// True while the grant allows another request.
    pub(crate) fn is_open(&self, grant: &Grant) -> bool {
        self.counted(grant, |count, limit| count.begun < limit)
    }

    /// Counts a request; `None` if another one has taken the last use meanwhile.
    pub(crate) fn begin(&self, grant: &Grant) -> Option<Use> {
        let is_open = self.counted(grant, |count, limit| {
            let is_open = count.begun < limit;
            if is_open {
                count.begun += 1;
                count.under_way += 1;
            }
            is_open
        });
        is_open.then(|| Use { uses: self.clone(), grant: grant.clone() })
    }

    fn counted<R>(&self, grant: &Grant, look: impl FnOnce(&mut Count, u64) -> R) -> R {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = grant.uses.unwrap_or(u64::MAX);
        match counts.get_mut(&grant.id) {
            Some(count) => look(count, limit),
            None => look(counts.entry(grant.id.clone()).or_default(), limit),
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let is_over = self.uses.counted(&self.grant, |count, limit| {
            count.under_way -= 1;
            count.begun >= limit && count.under_way == 0
        });
        if is_over {
            // The supervisor withdraws it then.
            let mut event = Events::event(Level::Info, "grant_used_up");
            event.rule = Some(rule(&self.grant));
            self.uses.0.events.write(&event);
        }
    }
}

/// How events name a grant.
pub(crate) fn rule(grant: &Grant) -> String {
    format!("grant:{}", grant.id)
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::Route;

    use super::*;

    #[test]
    fn a_grant_of_two_uses_is_used_up_when_the_second_is_over() {
        let (events, told) = Events::captured();
        let uses = GrantUses::new(events);
        let route = Route { host: "a.test".parse().unwrap(), ports: vec![443], matches: vec![], auth: None, ask: false };
        let grant = Grant { id: "7".into(), route, uses: Some(2) };
        let first = uses.begin(&grant).unwrap();
        assert!(uses.is_open(&grant));
        drop(first);
        assert!(told.try_recv().is_err());
        let second = uses.begin(&grant).unwrap();
        assert!(!uses.is_open(&grant) && uses.begin(&grant).is_none());
        // A reload that names it again renews nothing.
        assert!(uses.clone().begin(&grant.clone()).is_none());
        drop(second);
        let event = told.try_recv().unwrap();
        assert_eq!((event.event.as_str(), event.rule.as_deref()), ("grant_used_up", Some("grant:7")));
        let other = Grant { id: "8".into(), uses: None, ..grant };
        assert!(uses.begin(&other).is_some() && uses.begin(&other).is_some());
        assert!(told.try_recv().is_err());
    }
}
