//! Scans every object of a pack, and names the place of each finding.

mod paths;

use std::collections::HashMap;

use bottle_contract::Untrusted;
use bottle_scan::{Scanner, Stream};
use gix_hash::ObjectId;

use crate::history::{History, Named};
use crate::pack::entries::{self, Entries};
use crate::pack::inflate::Inflater;
use crate::pack::source::{Reader, Source};
use crate::pack::{Bounds, Kind, ObjectVisitor, Place, Unsound, resolve};
use paths::SecondScan;

/// Findings that a refusal lists; one is enough to refuse.
const MAX_FINDINGS: usize = 20;
/// Paths are scanned in batches of this size.
const BATCH_BYTES: usize = 64 << 10;

/// A finding, described without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The scanner's rule.
    pub rule: String,
    /// The object could not be scanned completely.
    pub not_scannable: bool,
    /// The first commit that contains it.
    pub commit: Option<ObjectId>,
    /// Where: a path and line, a commit's message, a tag.
    pub place: String,
    /// Its encodings, outermost first.
    pub encodings: Vec<&'static str>,
}

/// The result of an inspection.
#[derive(Debug)]
pub struct Inspected {
    /// At most [`MAX_FINDINGS`] findings.
    pub findings: Vec<Finding>,
    /// Objects in the pack.
    pub objects: u64,
    /// SHA-256 of the pack.
    pub sha256: String,
    /// Its commits.
    pub history: History,
}

/// The progress of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Entries read, and their total.
    Arriving(u64, u64),
    /// Deltas applied, and their total.
    Resolving(u64, u64),
    /// File names are being scanned.
    Naming,
}

/// Reads and scans a pack, which may still be arriving.
pub fn inspect<S: Source + ?Sized>(
    source: &S,
    scanner: &Scanner,
    bounds: &Bounds,
    max_history: u64,
    mut progress: impl FnMut(Progress),
) -> Result<Inspected, Unsound> {
    let mut scan = PackScan {
        scanner,
        history: History::default(),
        object: Vec::new(),
        max_history,
        history_bytes: 0,
        kind: Kind::Blob,
        stream: None,
        hits: Vec::new(),
        max_hits: if scanner.has_path_exceptions() { paths::MAX_EXCUSED } else { MAX_FINDINGS },
        files: scanner.has_path_rules().then(HashMap::new),
    };
    let pack = entries::read(source, bounds, &mut scan, |done, all| progress(Progress::Arriving(done, all)))?;
    resolve::run(source, &pack, bounds, &mut scan, |done, all| progress(Progress::Resolving(done, all)))?;
    progress(Progress::Naming);
    let PackScan { history, mut hits, files, .. } = scan;
    if let Some(files) = files {
        hits = SecondScan { source, pack: &pack, bounds, scanner }.judge(&history, &files, hits)?;
        hits.truncate(MAX_FINDINGS);
    }
    let mut findings = names(&history, scanner)?;
    let mut named = named_hits(&history, scanner, &pack, source, hits)?;
    named.append(&mut findings);
    named.truncate(MAX_FINDINGS);
    Ok(Inspected { findings: named, objects: pack.entries.len() as u64, sha256: pack.sha256, history })
}

/// An object in which something was found.
struct Hit {
    id: ObjectId,
    kind: Kind,
    place: Place,
    /// The path that decided, if it did.
    path: Option<paths::Path>,
    at: At,
    found: bottle_scan::Finding,
}

/// A position in an object.
enum At {
    /// At the finding's offset. The object is no longer in memory.
    Offset,
    /// On this line of a file.
    Line(u64),
    /// In this part of a commit or tag.
    Part(String),
}

/// Newlines before `offset` in a chunk that begins at `start`.
fn lines(chunk: &[u8], offset: u64, start: u64) -> u64 {
    let before = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX).min(chunk.len());
    memchr::memchr_iter(b'\n', &chunk[..before]).count() as u64
}

struct PackScan<'s> {
    scanner: &'s Scanner,
    history: History,
    /// The current object, unless it is a blob.
    object: Vec<u8>,
    max_history: u64,
    /// Bytes of commits, tags and trees so far.
    history_bytes: u64,
    kind: Kind,
    stream: Option<Stream>,
    hits: Vec<Hit>,
    max_hits: usize,
    /// Every file, if some rule names paths.
    files: Option<HashMap<ObjectId, Place>>,
}

impl ObjectVisitor for PackScan<'_> {
    fn begin(&mut self, kind: Kind, size: u64) -> Result<(), Unsound> {
        if kind != Kind::Blob {
            self.history_bytes += size;
            if self.history_bytes > self.max_history {
                return Err(Unsound::TooLarge("bytes of commits, tags and trees", self.max_history));
            }
        }
        self.kind = kind;
        self.object.clear();
        self.stream = Some(self.scanner.stream());
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Unsound> {
        if let Some(stream) = &mut self.stream {
            stream.push(bytes);
        }
        if self.kind != Kind::Blob {
            self.object.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, id: ObjectId, place: Place, whole: Option<&[u8]>) -> Result<(), Unsound> {
        self.history.add(self.kind, id, &self.object)?;
        if self.kind == Kind::Blob
            && let Some(files) = &mut self.files
        {
            files.insert(id, place);
        }
        let Some(found) = self.stream.take().and_then(Stream::finish) else { return Ok(()) };
        if self.hits.len() == self.max_hits {
            return Ok(());
        }
        let at = match self.kind {
            Kind::Blob => whole.map_or(At::Offset, |whole| At::Line(lines(whole, found.offset, 0) + 1)),
            kind => At::Part(part(kind, &self.object, found.offset)),
        };
        self.hits.push(Hit { id, kind: self.kind, place, path: None, at, found });
        Ok(())
    }
}

/// The part of a commit or tag that begins before `offset`.
fn part(kind: Kind, object: &[u8], offset: u64) -> String {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
    let in_message = object[..offset].windows(2).any(|pair| pair == b"\n\n");
    let line_start = object[..offset].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let header = object[line_start..].split(|b| *b == b' ' || *b == b'\n').next().unwrap_or_default();
    match kind {
        Kind::Tree => "a directory's entries".to_owned(),
        _ if in_message => format!("the {}'s message", kind.name()),
        _ => match header {
            b"author" | b"committer" | b"tagger" | b"tag" => format!("the {}'s {}", kind.name(), String::from_utf8_lossy(header)),
            _ => format!("the {}'s head", kind.name()),
        },
    }
}

/// Scans every path. A finding names only the commit: a path with a secret is not repeated.
fn names(history: &History, scanner: &Scanner) -> Result<Vec<Finding>, Unsound> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut batch: Vec<u8> = Vec::new();
    let mut ends: Vec<(usize, Option<ObjectId>)> = Vec::new();
    let mut scan = |batch: &mut Vec<u8>, ends: &mut Vec<(usize, Option<ObjectId>)>| {
        if let Some(found) = scanner.scan(batch)
            && findings.len() < MAX_FINDINGS
        {
            let commit = ends.iter().find(|(end, _)| found.offset < *end as u64).and_then(|(_, commit)| *commit);
            let not_scannable = found.is_not_scannable();
            findings.push(Finding { rule: found.rule, not_scannable, commit, place: "a file's name".into(), encodings: found.encodings });
        }
        batch.clear();
        ends.clear();
    };
    history.names(|named: Named<'_>| {
        batch.extend_from_slice(named.path);
        batch.push(b'\n');
        ends.push((batch.len(), named.commit));
        if batch.len() >= BATCH_BYTES {
            scan(&mut batch, &mut ends);
        }
        Ok(())
    })?;
    scan(&mut batch, &mut ends);
    Ok(findings)
}

/// Describes each hit: by the path of its file, or by the part of its object.
fn named_hits<S: Source + ?Sized>(
    history: &History,
    scanner: &Scanner,
    pack: &Entries,
    source: &S,
    hits: Vec<Hit>,
) -> Result<Vec<Finding>, Unsound> {
    if hits.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: HashMap<ObjectId, usize> = hits.iter().enumerate().map(|(n, hit)| (hit.id, n)).collect();
    let mut paths: Vec<Option<(Option<ObjectId>, Vec<u8>)>> = vec![None; hits.len()];
    history.names(|named| {
        if let Some(n) = wanted.get(&named.id) {
            paths[*n].get_or_insert_with(|| (named.commit, named.path.to_vec()));
        }
        Ok(())
    })?;
    let mut findings = Vec::with_capacity(hits.len());
    for (hit, path) in hits.into_iter().zip(paths) {
        let (commit, path) = hit.path.or(path).map_or((None, None), |(commit, path)| (commit, Some(path)));
        let display = path.as_deref().map(|path| match scanner.scan(path) {
            None => Untrusted::new(path).to_string(),
            Some(_) => "a file whose name is withheld".to_owned(),
        });
        let line = match &hit.at {
            At::Part(_) => None,
            At::Line(line) => Some(*line),
            At::Offset => line_of(source, pack, &hit.place, hit.found.offset)?,
        };
        let place = match (hit.at, display, line) {
            (At::Part(part), None, _) => part,
            (At::Part(part), Some(path), _) => format!("{part} at {path}"),
            (_, path, line) => {
                let path = path.unwrap_or_else(|| format!("the {} {}, which no commit has", hit.kind.name(), short(hit.id)));
                line.map_or(path.clone(), |line| format!("{path}:{line}"))
            }
        };
        let commit = if hit.kind == Kind::Commit { Some(hit.id) } else { commit };
        let not_scannable = hit.found.is_not_scannable();
        findings.push(Finding { rule: hit.found.rule, not_scannable, commit, place, encodings: hit.found.encodings });
    }
    Ok(findings)
}

/// The line of a byte in a whole object, counted from one. Inflates the object again.
fn line_of<S: Source + ?Sized>(source: &S, pack: &Entries, place: &Place, offset: u64) -> Result<Option<u64>, Unsound> {
    let Some(data) = place.data else { return Ok(None) };
    let entry = &pack.entries[place.entry as usize];
    let (mut line, mut at) = (1, 0);
    Inflater::default().run(&mut Reader::at(source, data), entry.size, |chunk| {
        line += lines(chunk, offset, at);
        at += chunk.len() as u64;
        Ok(())
    })?;
    Ok(Some(line))
}

/// The first ten digits of an id, as git shows it.
pub fn short(id: ObjectId) -> String {
    id.to_hex_with_len(10).to_string()
}
