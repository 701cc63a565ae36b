//! The log of one component: takes raw bytes, writes JSON lines, and returns the events for the timeline.

use serde::Serialize;

use super::EXTENSION;
use super::entry::Entry;
use super::line::{Gap, Wrapped, escape_for_terminal, lossless};
use super::sink::Sink;
use super::split::{Part, Splitter, boundary};
use crate::clock;
use crate::error::Result;
use crate::files::Dir;

/// The default size limit of a log: an agent that prints without end must not fill the disk.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// Whether a component may write events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A sidecar: events on its standard error are accepted.
    Sidecar,
    /// The agent: all its output is text, even if it looks like an event.
    Agent,
}

/// The stream that bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, in lines.
    Stdout,
    /// Standard error, in lines.
    Stderr,
    /// A terminal, in chunks.
    Terminal,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Terminal => "terminal",
        }
    }
}

/// The gap in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Bytes of the component's output that were dropped.
    pub bytes: u64,
    /// Why.
    pub cause: Option<String>,
}

/// The log of one component. Writing never fails, because a full disk must not stop the proxies. Lost bytes are counted, marked in the log as
/// soon as there is space, and reported at the end.
#[derive(Debug)]
pub struct ComponentLog {
    component: String,
    source: Source,
    sink: Sink,
    stdout: Splitter,
    stderr: Splitter,
    /// The bytes of an incomplete character.
    terminal: Vec<u8>,
}

impl ComponentLog {
    /// Creates the log `<component>.jsonl`, 0600, in the directory of logs.
    pub fn create(logs: &Dir, component: &str, source: Source) -> Result<Self> {
        Self::bounded(logs, component, source, MAX_LOG_BYTES)
    }

    /// The same with another size limit, in bytes.
    pub fn bounded(logs: &Dir, component: &str, source: Source, most: u64) -> Result<Self> {
        let file = logs.create_log(format!("{component}{EXTENSION}"))?;
        let (stdout, stderr) = Default::default();
        Ok(Self { component: component.to_owned(), source, sink: Sink::new(file, most), stdout, stderr, terminal: Vec::new() })
    }

    /// Takes the next chunk of a stream. Writes all lines that it completes, in one call.
    pub fn push(&mut self, stream: Stream, bytes: &[u8], on_event: &mut dyn FnMut(&Entry<'_>)) {
        let mut writer =
            Writer { component: &self.component, source: self.source, sink: &mut self.sink, stream, time: String::new(), on_event };
        match stream {
            Stream::Stdout => self.stdout.push(bytes, &mut |part| writer.part(part)),
            Stream::Stderr => self.stderr.push(bytes, &mut |part| writer.part(part)),
            Stream::Terminal => {
                self.terminal.extend_from_slice(bytes);
                let cut = boundary(&self.terminal);
                // Waits for the rest of an incomplete character.
                let waits = cut == self.terminal.len() && cut < 4 && incomplete(&self.terminal);
                if cut > 0 && !waits {
                    writer.chunk(&self.terminal[..cut]);
                    self.terminal.drain(..cut);
                }
            }
        }
        self.sink.flush();
    }

    /// Ends all streams. A last line without a newline is written too.
    pub fn finish(mut self, on_event: &mut dyn FnMut(&Entry<'_>)) -> Drops {
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Terminal] {
            let mut writer =
                Writer { component: &self.component, source: self.source, sink: &mut self.sink, stream, time: String::new(), on_event };
            match stream {
                Stream::Stdout => self.stdout.finish(&mut |part| writer.part(part)),
                Stream::Stderr => self.stderr.finish(&mut |part| writer.part(part)),
                Stream::Terminal if self.terminal.is_empty() => {}
                Stream::Terminal => writer.chunk(&self.terminal),
            }
        }
        self.sink.flush();
        if let Some((dropped, cause)) = self.sink.gap() {
            let mark = json(&Gap { time: &clock::now(), component: &self.component, stream: "log", dropped, cause });
            self.sink.mark(&mark);
            self.sink.flush();
        }
        self.drops()
    }

    /// The gap so far.
    pub fn drops(&self) -> Drops {
        let (bytes, cause) = self.sink.dropped();
        Drops { bytes, cause: cause.filter(|_| bytes > 0).map(str::to_owned) }
    }
}

/// True for the start of an incomplete character.
fn incomplete(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
}

struct Writer<'l> {
    component: &'l str,
    source: Source,
    sink: &'l mut Sink,
    stream: Stream,
    /// Read once for all lines of a chunk, and only if a line needs it.
    time: String,
    on_event: &'l mut dyn FnMut(&Entry<'_>),
}

impl Writer<'_> {
    fn part(&mut self, part: Part<'_>) {
        let whole = part.part == 0 && !part.more;
        if whole
            && self.source == Source::Sidecar
            && self.stream == Stream::Stderr
            && let Some(event) = Entry::read(part.bytes)
        {
            self.gap();
            self.sink.line(event.as_str(), part.bytes.len() as u64 + 1);
            (self.on_event)(&event);
            return;
        }
        let covered = part.bytes.len() as u64 + u64::from(!part.more && !part.unterminated);
        self.wrapped(part, covered);
    }

    fn chunk(&mut self, bytes: &[u8]) {
        self.wrapped(Part { bytes, part: 0, more: false, unterminated: false }, bytes.len() as u64);
    }

    fn wrapped(&mut self, part: Part<'_>, covered: u64) {
        self.gap();
        let time = self.time().to_owned();
        let (text, base64) = lossless(part.bytes);
        let Part { part, more, unterminated, .. } = part;
        let record = Wrapped { time: &time, component: self.component, stream: self.stream.name(), text, base64, part, more, unterminated };
        self.sink.line(&json(&record), covered);
    }

    /// Marks the gap before the next line.
    fn gap(&mut self) {
        if !self.sink.has_gap() {
            return;
        }
        let time = self.time().to_owned();
        if let Some((dropped, cause)) = self.sink.gap() {
            let mark = json(&Gap { time: &time, component: self.component, stream: "log", dropped, cause });
            self.sink.mark(&mark);
        }
    }

    fn time(&mut self) -> &str {
        if self.time.is_empty() {
            self.time = clock::now();
        }
        &self.time
    }
}

fn json(record: &impl Serialize) -> String {
    // Serialisation of a record cannot fail. An empty object would still be a valid line.
    let text = serde_json::to_string(record).unwrap_or_else(|_| "{}".to_owned());
    escape_for_terminal(&text).into_owned()
}
