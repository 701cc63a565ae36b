//! What is kept of a run: the log of each component, and the timeline of what crossed the wall.

use std::collections::BTreeMap;

use bottle_contract::event::{Event, Level};

use crate::clock;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::logs::{ComponentLog, Source, Stream};
use crate::plan::agent::AGENT;
use crate::timeline::Timeline;

/// Logs and timeline of a run. What goes wrong is kept until somebody asks: without a timeline nothing may cross the wall.
#[derive(Debug)]
pub struct Records<'r> {
    timeline: &'r mut Timeline,
    logs: Dir,
    components: BTreeMap<String, ComponentLog>,
    failure: Option<Error>,
}

impl<'r> Records<'r> {
    /// Records of a run that begins.
    pub fn new(timeline: &'r mut Timeline, logs: Dir) -> Self {
        Self { timeline, logs, components: BTreeMap::new(), failure: None }
    }

    /// Opens the log of a component, unless it is open.
    pub fn open(&mut self, component: &str) -> Result<()> {
        if !self.components.contains_key(component) {
            let source = if component == AGENT { Source::Agent } else { Source::Sidecar };
            self.components.insert(component.to_owned(), ComponentLog::create(&self.logs, component, source)?);
        }
        Ok(())
    }

    /// Takes what a component wrote.
    pub fn take(&mut self, component: &str, output: &str, bytes: &[u8]) {
        let stream = match output {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => Stream::Terminal,
        };
        let (timeline, failure) = (&mut *self.timeline, &mut self.failure);
        if let Some(log) = self.components.get_mut(component) {
            log.push(stream, bytes, &mut |event| keep(failure, timeline.copy(component, event)));
        }
    }

    /// Adds an event of the supervisor's own.
    pub fn note(&mut self, what: &str, level: Level, message: Option<String>) {
        let mut event = Event::new(clock::now(), level, what);
        event.message = message;
        keep(&mut self.failure, self.timeline.append("bottle", &event));
    }

    /// Writes what is in memory; whatever failed since the last call is the error.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.timeline.flush();
        self.failure.take().map_or(flushed, Err)
    }

    /// The last lines; how many bytes of each log are missing.
    pub fn finish(&mut self) -> BTreeMap<String, u64> {
        let mut dropped = BTreeMap::new();
        let (timeline, failure) = (&mut *self.timeline, &mut self.failure);
        for (component, log) in std::mem::take(&mut self.components) {
            let drops = log.finish(&mut |event| keep(failure, timeline.copy(&component, event)));
            if drops.bytes > 0 {
                dropped.insert(component, drops.bytes);
            }
        }
        self.note("ended", Level::Info, None);
        dropped
    }
}

fn keep(failure: &mut Option<Error>, appended: Result<()>) {
    if let Err(error) = appended {
        failure.get_or_insert(error);
    }
}
