//! What is kept of a run: the bottle's record, the log of each component, and the timeline of what crossed the wall.

use std::collections::BTreeMap;

use bottle_contract::event::{Event, Level};

use crate::clock;
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};
use crate::logs::{ComponentLog, Source, Stream};
use crate::plan::Plan;
use crate::plan::agent::AGENT;
use crate::store::{Claim, Metadata};
use crate::timeline::{Opening, Timeline};

/// The records of a run. What goes wrong is kept until it is asked for: without a timeline nothing may cross the wall.
#[derive(Debug)]
pub(super) struct Records<'r> {
    claim: &'r mut Claim,
    timeline: Timeline,
    logs: Dir,
    components: BTreeMap<String, ComponentLog>,
    failure: Option<Error>,
    /// What sidecars have said about their policies, since it was last asked for.
    heard: Vec<(String, Event)>,
    /// What they have refused, since it was last asked for; nothing where nobody asks.
    refusals: Option<Vec<(String, Event)>>,
}

/// Events by which a sidecar says what becomes of its policy, as they begin in an event's line.
const OF_POLICY: [&str; 2] = [r#""event":"reload"#, r#""event":"grant_used_up""#];

/// The same, of a refusal.
const OF_REFUSAL: &str = r#""event":"refused""#;

impl<'r> Records<'r> {
    /// Records of a run that begins: what it is to do, and by whom.
    pub(super) fn begin(plan: &Plan, backend: &str, claim: &'r mut Claim) -> Result<Self> {
        let text = serde_json::to_vec(plan)
            .map_err(|e| Error::failed("cannot record the plan", e, "this is a bug in bottle: please report it"))?;
        claim.state().replace_unsynced("plan.json", &text, PRIVATE)?;
        claim.update(|metadata| {
            plan.bottle.clone_into(&mut metadata.bottle);
            plan.agent.name.clone_into(&mut metadata.agent);
            backend.clone_into(&mut metadata.backend);
            metadata.directory = Some(plan.workspace.source.clone());
        })?;
        let opening = Opening { bottle: &plan.id, boot_id: &claim.metadata().boot_id, plan: &sha256_hex(&text) };
        let timeline = Timeline::create(claim.state(), &opening)?;
        let logs = claim.logs()?;
        Ok(Self { claim, timeline, logs, components: BTreeMap::new(), failure: None, heard: Vec::new(), refusals: None })
    }

    /// The bottle's record of objects.
    pub(super) fn claim(&mut self) -> &mut Claim {
        self.claim
    }

    /// Changes what `bottle list` shows.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut Metadata)) -> Result<()> {
        self.claim.update(change)
    }

    /// Opens the log of a component, unless it is open.
    pub(super) fn open(&mut self, component: &str) -> Result<()> {
        if !self.components.contains_key(component) {
            let source = if component == AGENT { Source::Agent } else { Source::Sidecar };
            self.components.insert(component.to_owned(), ComponentLog::create(&self.logs, component, source)?);
        }
        Ok(())
    }

    /// Takes what a component wrote.
    pub(super) fn take(&mut self, component: &str, output: &str, bytes: &[u8]) {
        let stream = match output {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => Stream::Terminal,
        };
        let (timeline, failure, heard, refusals) = (&mut self.timeline, &mut self.failure, &mut self.heard, &mut self.refusals);
        if let Some(log) = self.components.get_mut(component) {
            log.push(stream, bytes, &mut |event| {
                keep(failure, timeline.copy(component, event));
                let text = event.as_str();
                if OF_POLICY.iter().any(|begin| memchr::memmem::find(text.as_bytes(), begin.as_bytes()).is_some()) {
                    heard.extend(serde_json::from_str(text).ok().map(|event| (component.to_owned(), event)));
                }
                if let Some(refusals) = refusals
                    && memchr::memmem::find(text.as_bytes(), OF_REFUSAL.as_bytes()).is_some()
                {
                    refusals.extend(serde_json::from_str(text).ok().map(|event| (component.to_owned(), event)));
                }
            });
        }
    }

    /// What sidecars have said about their policies since the last call, and who.
    pub(super) fn take_heard(&mut self) -> Vec<(String, Event)> {
        std::mem::take(&mut self.heard)
    }

    /// From now on, what sidecars refuse is kept for [`Self::take_refusals`].
    pub(super) fn keep_refusals(&mut self) {
        self.refusals.get_or_insert_default();
    }

    /// What sidecars have refused since the last call, and who.
    pub(super) fn take_refusals(&mut self) -> Vec<(String, Event)> {
        self.refusals.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Adds an event of the supervisor's own.
    pub(super) fn note(&mut self, what: &str, level: Level, message: Option<String>) {
        self.note_policy(what, level, None, message);
    }

    /// Adds an event about a generation of the policy.
    pub(super) fn note_policy(&mut self, what: &str, level: Level, generation: Option<u64>, message: Option<String>) {
        let mut event = Event::new(clock::now(), level, what);
        (event.generation, event.message) = (generation, message);
        keep(&mut self.failure, self.timeline.append("bottle", &event));
    }

    /// Writes what is in memory; whatever failed since the last call is the error.
    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.timeline.flush();
        self.failure.take().map_or(flushed, Err)
    }

    /// Writes the last lines; how many bytes each log is missing.
    pub(super) fn finish(&mut self) -> BTreeMap<String, u64> {
        let mut dropped = BTreeMap::new();
        let (timeline, failure) = (&mut self.timeline, &mut self.failure);
        for (component, log) in std::mem::take(&mut self.components) {
            let drops = log.finish(&mut |event| keep(failure, timeline.copy(&component, event)));
            if drops.bytes > 0 {
                dropped.insert(component, drops.bytes);
            }
        }
        self.note("ended", Level::Info, None);
        dropped
    }

    /// Closes the timeline: its last hash, which stands for all of it.
    pub(super) fn close(self, dropped: &BTreeMap<String, u64>) -> (&'r mut Claim, Result<String>) {
        (self.claim, self.timeline.close(dropped))
    }
}

fn keep(failure: &mut Option<Error>, appended: Result<()>) {
    if let Err(error) = appended {
        failure.get_or_insert(error);
    }
}
