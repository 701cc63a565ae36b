//! What the operator reads at the end of a run: how long it took, what it asked for, and what the agent changed.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use bottle_contract::Untrusted;
use serde::Deserialize;

use super::cleanup::has_commits_elsewhere;
use crate::backend::kind::Kind;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Claim, Object};
use crate::workspace::{self, Ignored, Report};
use crate::{clock, lifecycle, signals};

/// More refused hosts are a number.
const MAX_HOSTS: usize = 8;
/// A record is shorter.
const MAX_LINE: u64 = 1 << 20;

/// A record, as far as it counts here.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    redacted: Option<u64>,
}

/// What the timeline says of requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    all: usize,
    refused: BTreeMap<String, usize>,
    /// Values that were replaced in requests.
    pub(super) redacted: u64,
}

impl Requests {
    /// What the timeline in this directory says; nothing without one.
    pub(super) fn of(state: &Path) -> Self {
        File::open(state.join("timeline.jsonl")).map(|file| Self::read(BufReader::new(file))).unwrap_or_default()
    }

    fn read(timeline: impl BufRead) -> Self {
        let (mut requests, mut all, mut refused) = (Self::default(), HashSet::new(), HashSet::new());
        let mut lines = timeline;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = std::io::Read::take(&mut lines, MAX_LINE);
            match bounded.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let Ok(record) = serde_json::from_slice::<Record>(&line) else { continue };
            let Some(id) = record.request_id else { continue };
            requests.redacted += record.redacted.unwrap_or(0);
            // Two components tell of one request.
            if record.reason.is_some() && refused.insert(id.clone()) {
                let origin = record.origin.unwrap_or_default();
                let host = origin.rsplit_once("://").map_or(origin.as_str(), |(_, host)| host).to_owned();
                *requests.refused.entry(if host.is_empty() { "?".to_owned() } else { host }).or_default() += 1;
            }
            all.insert(id);
        }
        requests.all = all.len();
        requests
    }

    fn text(&self) -> String {
        let mut text = match self.all {
            0 => "no requests".to_owned(),
            1 => "1 request".to_owned(),
            all => format!("{all} requests"),
        };
        let refused: usize = self.refused.values().sum();
        if refused > 0 {
            let hosts = self.refused.iter().take(MAX_HOSTS).map(|(host, count)| format!("{} {count}", Untrusted::new(host)));
            let more = self.refused.len().saturating_sub(MAX_HOSTS);
            let more = if more > 0 { format!(", {more} more hosts") } else { String::new() };
            let _ = write!(text, ", {refused} refused ({}{more})", hosts.collect::<Vec<_>>().join(", "));
        }
        match self.redacted {
            0 => {}
            1 => text.push_str(", 1 secret redacted"),
            count => {
                let _ = write!(text, ", {count} secrets redacted");
            }
        }
        text
    }
}

/// One line about the run.
pub(super) fn line(id: &str, time: Duration, requests: &Requests) -> String {
    format!("ended: bottle {id} after {}, {}\n", clock::span(time), requests.text())
}

/// What the agent did to its working directory, as text; nothing, if nothing was changed, and then nothing of it is kept.
pub(super) fn changes(claim: &mut Claim) -> Result<String> {
    let Some(place) = claim.metadata().workspace.clone() else { return Ok(String::new()) };
    // What ended the agent does not call this off, only what comes from here on.
    signals::forget();
    let changes = workspace::changes(&place)?;
    if let Some(signal) = signals::asked() {
        let hint = format!("`bottle diff {}` shows it", claim.id());
        return Err(Error::failed("what the agent changed was not counted", lifecycle::outcome::name(signal), hint));
    }
    let source = Dir::open(&place.source)?;
    let report = Report::of(&changes, &mut Ignored::of(&source));
    let commits_elsewhere = has_commits_elsewhere(&place)?;
    if report.is_empty() && !commits_elsewhere {
        Kind::of(claim).remove_workspace(claim)?;
        claim.update(|m| {
            m.workspace = None;
            m.objects.retain(|object| !matches!(object, Object::WorkspaceDir(_)));
        })?;
        return Ok(String::new());
    }
    if let Some(base) = &place.base {
        workspace::keep_changed(&changes, &source, &Dir::open(base)?, place.since)?;
    }
    let id = claim.id();
    let commits = if commits_elsewhere { "the agent committed\n" } else { "" };
    let text = if report.is_empty() { String::new() } else { report.text() };
    Ok(format!("{text}{commits}`bottle diff {id}` shows it, `bottle apply {id}` brings it here\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: W37
    #[test]
    fn requests_are_counted_once_and_refusals_by_host() {
        let timeline = r#"{"component":"egress","event":"request","request_id":"a","origin":"https://api.test","status":200}
{"component":"pipelock","event":"redacted","request_id":"a","origin":"https://api.test","rule":"github-pat"}
{"component":"pipelock","event":"request","request_id":"a","origin":"https://api.test","status":200,"redacted":2}
{"component":"egress","event":"refused","request_id":"b","origin":"https://other.test","reason":"host_not_listed"}
{"component":"pipelock","event":"refused","request_id":"c","origin":"https://other.test","reason":"secret_detected"}
{"component":"egress","event":"refused","request_id":"c","origin":"https://other.test","reason":"secret_detected"}
{"component":"supervisor","event":"ready"}
not json
"#;
        let requests = Requests::read(timeline.as_bytes());
        assert_eq!(requests, Requests { all: 3, refused: [("other.test".to_owned(), 2)].into(), redacted: 2 });
        assert_eq!(requests.text(), "3 requests, 2 refused (other.test 2), 2 secrets redacted");
        assert_eq!(Requests::default().text(), "no requests");
    }
}
