//! The grants in force, and when each ends. Pure: times are microseconds since boot, and come in as data.

use std::collections::BTreeSet;

use bottle_contract::Grant;

use super::wanted::Lease;

/// What was approved for a running bottle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    grants: Vec<(Grant, Option<u64>)>,
    /// Ids are never used again, as sidecars count uses by them.
    used: BTreeSet<String>,
}

impl Grants {
    /// Those in force.
    pub(crate) fn all(&self) -> Vec<Grant> {
        self.grants.iter().map(|(grant, _)| grant.clone()).collect()
    }

    /// With one more, whose time begins now; `None` if its id was used before.
    pub(crate) fn with(&self, lease: &Lease, now: u64) -> Option<Self> {
        let mut next = self.clone();
        let ends = lease.lasts.map(|lasts| now.saturating_add(u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX)));
        next.grants.push((lease.grant.clone(), ends));
        next.used.insert(lease.grant.id.clone()).then_some(next)
    }

    /// Without this one; `None` if it is not there.
    pub(crate) fn without(&self, id: &str) -> Option<Self> {
        let mut next = self.clone();
        next.grants.retain(|(grant, _)| grant.id != id);
        (next.grants.len() < self.grants.len()).then_some(next)
    }

    /// The same, but the ids that `other` has used are used.
    pub(crate) fn remember(&mut self, other: &Self) {
        self.used.extend(other.used.iter().cloned());
    }

    /// When the next one ends of those that count.
    pub(crate) fn next_end(&self, counts: impl Fn(&str) -> bool) -> Option<u64> {
        self.grants.iter().filter(|(grant, _)| counts(&grant.id)).filter_map(|(_, ends)| *ends).min()
    }

    /// Those whose time is up.
    pub(crate) fn ended(&self, now: u64) -> Vec<String> {
        self.grants.iter().filter(|(_, ends)| ends.is_some_and(|ends| ends <= now)).map(|(grant, _)| grant.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bottle_contract::route::Route;

    use super::*;

    fn lease(id: &str, seconds: Option<u64>) -> Lease {
        let route = Route { host: "a.test".parse().unwrap(), ports: vec![443], matches: vec![], auth: None, ask: false };
        Lease { grant: Grant { id: id.to_owned(), route, uses: None }, lasts: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn a_grant_ends_in_time_and_its_id_is_not_used_again() {
        let none = Grants::default();
        assert_eq!((none.next_end(|_| true), none.ended(u64::MAX)), (None, vec![]));
        let two = none.with(&lease("a", Some(2)), 1_000_000).unwrap().with(&lease("b", None), 1_000_000).unwrap();
        assert_eq!((two.next_end(|_| true), two.next_end(|id| id != "a"), two.all().len()), (Some(3_000_000), None, 2));
        assert_eq!((two.ended(2_999_999), two.ended(3_000_000)), (vec![], vec!["a".to_owned()]));
        let one = two.without("a").unwrap();
        assert_eq!((one.next_end(|_| true), one.without("a")), (None, None));
        assert_eq!(one.with(&lease("a", None), 0), None);
    }
}
