//! The end of every run: what its steps made is undone, its timeline closed, and how it ended recorded.

use std::collections::BTreeMap;

use super::outcome::Outcome;
use super::records::Records;
use crate::backend::{self, Backend, Logs};
use crate::clock;
use crate::error::Error;
use crate::store::{Claim, Exit, Object, Phase};

/// What there is to say about a run that is over.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What is left, or is missing.
    pub troubles: Vec<Error>,
    /// The last hash of its timeline, unless that could not be written.
    pub head: Option<String>,
}

/// Tears a run down, all of whose processes have ended. Nothing stops it: each failure is in the report.
pub(super) fn tear_down(backend: &mut dyn Backend, mut records: Records<'_>, mut outcome: Outcome) -> Report {
    let dropped = records.finish();
    if let Err(error) = records.flush() {
        outcome.failure(error);
    }
    let mut troubles = backend::undo(backend, records.claim(), Logs::Kept);
    let (claim, closed) = records.close(&dropped);
    let head = closed.map_err(|error| outcome.failure(error)).ok();
    troubles.extend(lost(&dropped, outcome.unread_bytes(), claim.id().as_str()));
    troubles.extend(record_exit(claim, &outcome).err());
    Report { outcome, troubles, head }
}

/// Output that reached no log, or no reader.
fn lost(dropped: &BTreeMap<String, u64>, unread: usize, id: &str) -> Vec<Error> {
    let log = |(component, bytes): (&String, &u64)| {
        let what = format!("{bytes} bytes of the log of {component} are missing");
        Error::failed(what, "the disk or the log's limit was full", "free space before the next start")
    };
    let reader = (unread > 0).then(|| {
        let what = format!("{unread} bytes of the agent's output were not taken");
        Error::failed(what, "whoever reads bottle's output stood still", format!("`bottle logs {id} agent` shows them"))
    });
    dropped.iter().map(log).chain(reader).collect()
}

/// A bottle has ended once nothing of it is left but the agent's work. What could not be removed is left to `bottle cleanup`, which looks
/// at what has not ended.
fn record_exit(claim: &mut Claim, outcome: &Outcome) -> crate::error::Result<()> {
    let is_removed = claim.metadata().objects.iter().all(|object| matches!(object, Object::WorkspaceDir(_)));
    claim.update(|metadata| {
        metadata.phase = if is_removed { Phase::Ended } else { Phase::Stopping };
        metadata.exit = Some(Exit {
            code: outcome.code(),
            signal: outcome.agent_signal(),
            message: outcome.reason().map(str::to_owned),
            ended: clock::now(),
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Effect, Start};
    use crate::error::Result;
    use crate::lifecycle::outcome::AgentExit;
    use crate::lifecycle::test_home;
    use crate::plan::testing::bare;
    use crate::plan::{Plan, Step};
    use crate::store::{Bottles, Status};
    use crate::timeline;

    /// Objects are undone in name only; one of them may refuse to go.
    #[derive(Default)]
    struct Fake {
        undone: Vec<String>,
        stuck: Option<&'static str>,
    }

    impl Backend for Fake {
        fn check(&self, _plan: &Plan) -> Result<Vec<String>> {
            unreachable!("it is checked before a run")
        }

        fn apply(&mut self, _step: &Step, _start: &mut Start<'_>) -> Result<Effect> {
            unreachable!("every step was performed")
        }

        fn undo(&mut self, object: &Object, _claim: &Claim, logs: Logs) -> Result<()> {
            assert_eq!(logs, Logs::Kept);
            let Object::Cgroup(path) = object else { panic!("{object:?}") };
            let name = path.to_str().unwrap();
            self.undone.push(name.to_owned());
            if self.stuck == Some(name) { Err(Error::failed("it is stuck", "busy", "wait")) } else { Ok(()) }
        }
    }

    fn groups(claim: &mut Claim, names: &[&str]) {
        names.iter().for_each(|name| claim.record(Object::Cgroup(name.into())).unwrap());
    }

    fn exited(code: u8) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.agent(AgentExit::Exited(code));
        outcome
    }

    #[test]
    fn a_run_that_leaves_nothing_has_ended_with_its_exit_and_its_head() {
        let bottle = test_home::Bottle::new();
        let mut claim = bottle.claim();
        groups(&mut claim, &["/a", "/b"]);
        let mut fake = Fake::default();
        let records = Records::begin(&bare(), "embedded", &mut claim).unwrap();
        let report = tear_down(&mut fake, records, exited(7));
        assert_eq!(report.troubles, []);
        assert_eq!(fake.undone, ["/b", "/a"]);
        let metadata = claim.metadata();
        assert_eq!((metadata.phase, metadata.objects.len()), (Phase::Ended, 0));
        let exit = metadata.exit.as_ref().unwrap();
        assert_eq!((exit.code, exit.signal, exit.message.as_deref()), (7, None, None));
        assert_eq!((metadata.backend.as_str(), metadata.bottle.as_str()), ("embedded", "closed"));
        // The hash that is printed is the one that the file ends in.
        assert_eq!(report.head, Some(timeline::verify(&claim.state().path().join(timeline::FILE)).unwrap().head));
        drop(claim);
        assert!(matches!(Bottles::list(&bottle.layout).unwrap()[..], [ref entry] if entry.status == Status::Ended));
    }

    #[test]
    fn what_cannot_be_removed_is_reported_stays_recorded_and_stops_nothing_else() {
        let bottle = test_home::Bottle::new();
        let mut claim = bottle.claim();
        groups(&mut claim, &["/a", "/b", "/c"]);
        let mut fake = Fake { stuck: Some("/b"), ..Fake::default() };
        let records = Records::begin(&bare(), "embedded", &mut claim).unwrap();
        let report = tear_down(&mut fake, records, exited(0));
        assert_eq!(fake.undone, ["/c", "/b", "/a"]);
        assert_eq!(report.troubles, [Error::failed("it is stuck", "busy", "wait")]);
        assert_eq!(claim.metadata().phase, Phase::Stopping);
        assert_eq!(claim.metadata().objects, [Object::Cgroup("/b".into())]);
        assert_eq!((report.outcome.code(), claim.metadata().exit.as_ref().map(|exit| exit.code)), (0, Some(0)));
    }

    #[test]
    fn the_agents_work_is_no_leftover() {
        let bottle = test_home::Bottle::new();
        let mut claim = bottle.claim();
        let work = Object::WorkspaceDir("/work".into());
        claim.record(work.clone()).unwrap();
        let records = Records::begin(&bare(), "embedded", &mut claim).unwrap();
        let report = tear_down(&mut Fake::default(), records, exited(0));
        assert_eq!(report.troubles, []);
        assert_eq!((claim.metadata().phase, &claim.metadata().objects[..]), (Phase::Ended, &[work][..]));
    }

    #[test]
    fn a_failure_is_recorded_with_its_code_and_what_nobody_has_read_is_reported() {
        let bottle = test_home::Bottle::new();
        let mut claim = bottle.claim();
        let mut outcome = exited(0);
        outcome.failure(Error::failed("`egress` exited; the agent has lost network access", "it exited with code 1", "look"));
        outcome.unread(12);
        let records = Records::begin(&bare(), "embedded", &mut claim).unwrap();
        let report = tear_down(&mut Fake::default(), records, outcome);
        let unread = Error::failed(
            "12 bytes of the agent's output were not taken",
            "whoever reads bottle's output stood still",
            "`bottle logs web agent` shows them",
        );
        assert_eq!(report.troubles, [unread]);
        let exit = claim.metadata().exit.clone().unwrap();
        assert_eq!((exit.code, exit.message.as_deref()), (125, Some("`egress` exited; the agent has lost network access")));
    }
}
