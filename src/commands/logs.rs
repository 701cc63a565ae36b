//! `bottle logs`: prints the components' logs, merged by time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;
use serde::Deserialize;

use super::{Format, completions, named, output};
use crate::error::{Error, Result};
use crate::files::{Dir, entries};
use crate::logs::EXTENSION;
use crate::store::{Entry, Layout, Status};

/// The longest line: a record has at most 256 KiB of output, and six times as much if all of it is escaped.
const MAX_LINE_BYTES: u64 = 4 << 20;
/// Between two checks for new lines.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Show the logs of a bottle: of all its components in one order, or of one
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Component: `agent`, `egress`, `pipelock`, `supervise` or `git-gate`
    #[arg(add = ArgValueCandidates::new(completions::components))]
    #[arg(value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Follow the logs until the bottle stops
    #[arg(short, long)]
    pub follow: bool,
    /// How to write the lines; JSON is the format of the files
    #[command(flatten)]
    pub format: Format,
}

/// Prints the logs.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entry = named(layout, &args.id)?;
    let mut logs = Logs { args, layout, entry, open: Vec::new() };
    loop {
        // Order matters: the lock is checked before the files are read, so that the last lines are printed.
        let runs = logs.entry.status == Status::Running;
        logs.open_new()?;
        if let Err(e) = logs.drain(!(args.follow && runs), out) {
            return output(Err(e));
        }
        if !(args.follow && runs) {
            return Ok(0);
        }
        std::thread::sleep(FOLLOW_INTERVAL);
        logs.entry = named(layout, &args.id)?;
    }
}

struct Logs<'a> {
    args: &'a Args,
    layout: &'a Layout,
    entry: Entry,
    open: Vec<Log>,
}

/// A log that is being read.
struct Log {
    component: String,
    lines: BufReader<File>,
    /// The next line, possibly incomplete.
    line: Vec<u8>,
}

impl Logs<'_> {
    /// Opens new logs.
    fn open_new(&mut self) -> Result<()> {
        let Some(store) = Dir::open_private(&self.layout.state)? else { return Ok(()) };
        let state = store.open_subdir(self.entry.id.as_str())?;
        let names = if state.stat("logs")?.is_some() { entries(&state.open_subdir("logs")?)? } else { Vec::new() };
        let known: Vec<&str> = names.iter().filter_map(|name| name.to_str()?.strip_suffix(EXTENSION)).collect();
        if let Some(component) = self.args.component.as_deref().filter(|component| !known.contains(component) && self.open.is_empty()) {
            if self.args.follow && self.entry.status == Status::Running {
                return Ok(());
            }
            let cause = match known.as_slice() {
                [] => "it has no logs".to_owned(),
                known => format!("it has logs of {}", known.join(", ")),
            };
            let what = format!("there is no log of `{}` in `{}`", Untrusted::new(component), self.entry.id);
            return Err(Error::usage(what, cause, "name one of these, or none for all"));
        }
        let wanted = |component: &str| self.args.component.as_deref().is_none_or(|wanted| wanted == component);
        let new: Vec<&str> =
            known.into_iter().filter(|component| wanted(component) && self.open.iter().all(|log| log.component != *component)).collect();
        for component in new {
            let file = state.open_subdir("logs")?.open_file(format!("{component}{EXTENSION}"))?;
            self.open.push(Log { component: component.to_owned(), lines: BufReader::new(file), line: Vec::new() });
        }
        Ok(())
    }

    /// Prints all complete lines, merged by time; at the end also an incomplete one.
    fn drain(&mut self, end: bool, out: &mut dyn Write) -> io::Result<u8> {
        let mut next: Vec<Option<String>> = Vec::new();
        for log in &mut self.open {
            next.push(log.fill(end)?);
        }
        // Times have a fixed width, so they sort as text.
        while let Some(index) = (0..next.len()).filter(|&i| next[i].is_some()).min_by(|&a, &b| next[a].cmp(&next[b])) {
            let log = &mut self.open[index];
            match self.args.format {
                Format::Json => {
                    out.write_all(&log.line)?;
                    if log.line.last() != Some(&b'\n') {
                        out.write_all(b"\n")?;
                    }
                }
                Format::Text => writeln!(out, "{}", text(&log.component, &log.line))?,
            }
            log.line.clear();
            next[index] = log.fill(end)?;
        }
        out.flush()?;
        Ok(0)
    }
}

impl Log {
    /// Reads the next line if it is complete or the last, and returns its time.
    fn fill(&mut self, end: bool) -> io::Result<Option<String>> {
        let room = MAX_LINE_BYTES.saturating_sub(self.line.len() as u64);
        (&mut self.lines).take(room).read_until(b'\n', &mut self.line)?;
        let complete = self.line.last() == Some(&b'\n') || self.line.len() as u64 >= MAX_LINE_BYTES;
        let last = end && !self.line.is_empty();
        if !complete && !last {
            return Ok(None);
        }
        let time = serde_json::from_slice::<Timed>(&self.line).map(|timed| timed.time).unwrap_or_default();
        Ok(Some(time))
    }
}

#[derive(Deserialize)]
struct Timed {
    time: String,
}

/// The members of a line: of an event or of wrapped bytes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    time: String,
    level: Option<String>,
    event: Option<String>,
    method: Option<String>,
    origin: Option<String>,
    path: Option<String>,
    status: Option<u16>,
    reason: Option<String>,
    rule: Option<String>,
    message: Option<String>,
    text: Option<String>,
    base64: Option<String>,
    dropped: Option<u64>,
}

/// One line for people. All its text is untrusted.
fn text(component: &str, line: &[u8]) -> String {
    let Ok(line) = serde_json::from_slice::<Line>(line) else {
        return format!("{:24}  {component:10}  {}", "-", Untrusted::new(line));
    };
    let mut out = format!("{:24}  {component:10} ", Untrusted::new(&line.time).to_string());
    let mut add = |word: &str| {
        out.push(' ');
        out.push_str(&Untrusted::new(word).to_string());
    };
    if let Some(dropped) = line.dropped {
        add(&format!("({dropped} bytes of output were dropped here)"));
    }
    if let Some(text) = &line.text {
        add(text);
    }
    if let Some(bytes) = line.base64.as_ref().and_then(|base64| STANDARD.decode(base64).ok()) {
        out.push_str(&format!(" {}", Untrusted::new(&bytes)));
        return out;
    }
    let status = line.status.map(|status| status.to_string());
    let fields = [&line.level, &line.event, &line.method, &line.origin, &line.path, &status, &line.reason, &line.rule, &line.message];
    fields.into_iter().flatten().for_each(|field| add(field));
    out
}
