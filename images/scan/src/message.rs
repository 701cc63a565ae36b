//! A message's body under scan: its raw bytes, and what its type lets it say, as both arrive.

use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::stream::Stream;
use crate::structure::{FILE, Files, Out, Reader, VIEWS, is_lead};

/// A scan of one body. Whether something is found does not depend on where the chunks were cut.
#[derive(Debug)]
pub struct Message {
    raw: Stream,
    said: Said,
}

impl Finding {
    /// The view of a message in which it was found, as `json values`, if it stands in no raw bytes.
    pub fn view(&self) -> Option<&'static str> {
        self.encodings.first().copied().filter(|first| VIEWS.contains(first))
    }
}

/// One way to read the message, and the scans of what it says.
#[derive(Debug)]
struct View {
    reader: Reader,
    streams: [Option<Stream>; 2],
    out: Out,
    /// Bytes that are still worth reading.
    left: usize,
}

/// What a message says, scanned apart from its raw bytes.
#[derive(Debug)]
pub struct Said {
    engine: Arc<Engine>,
    content_type: Option<String>,
    /// None until the first byte that tells what the message is.
    views: Option<Vec<View>>,
    files: Option<Files>,
}

impl Said {
    pub(crate) fn new(engine: Arc<Engine>, content_type: Option<&str>) -> Self {
        Self { engine, content_type: content_type.map(str::to_owned), views: None, files: None }
    }

    /// The next chunk of the message.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Option<Finding> {
        let mut bytes = chunk;
        if self.views.is_none() {
            let start = chunk.iter().position(|b| !is_lead(*b))?;
            bytes = &chunk[start..];
            let kind = self.content_type.as_deref();
            self.views = Some(Reader::all(kind, bytes[0]).into_iter().map(|reader| View::new(reader, kind)).collect());
            self.files = Files::of(&self.engine, kind, bytes[0]);
        }
        let engine = &self.engine;
        let found = self.views.iter_mut().flatten().find_map(|view| view.read(bytes, engine));
        found.or_else(|| Some(said(FILE, self.files.as_mut()?.read(bytes)?)))
    }

    /// The end of the message.
    pub fn finish(self) -> Option<Finding> {
        let found = self.views.into_iter().flatten().find_map(|view| view.end(&self.engine));
        found.or_else(|| Some(said(FILE, self.files?.end()?)))
    }
}

impl View {
    fn new(reader: Reader, content_type: Option<&str>) -> Self {
        let left = reader.max_len(content_type);
        Self { reader, streams: [None, None], out: Out::default(), left }
    }

    fn read(&mut self, bytes: &[u8], engine: &Arc<Engine>) -> Option<Finding> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.reader.read(&bytes[..taken], &mut self.out);
        self.scan(engine)
    }

    fn end(mut self, engine: &Arc<Engine>) -> Option<Finding> {
        self.reader.end(&mut self.out);
        let found = self.scan(engine);
        let views = self.reader.views();
        found.or_else(|| self.streams.into_iter().zip(views).find_map(|(stream, name)| Some(said(name, stream?.finish()?))))
    }

    fn scan(&mut self, engine: &Arc<Engine>) -> Option<Finding> {
        let views = self.reader.views();
        for ((stream, out), name) in self.streams.iter_mut().zip(&mut self.out).zip(views) {
            if out.is_empty() {
                continue;
            }
            let found = stream.get_or_insert_with(|| Stream::new(Arc::clone(engine), None)).push(out);
            out.clear();
            if found.is_some() {
                return found.map(|finding| said(name, finding));
            }
        }
        None
    }
}

/// The texts of all views of a whole message.
pub(crate) fn said_by(content_type: Option<&str>, body: &[u8]) -> Vec<Vec<u8>> {
    let Some(start) = body.iter().position(|b| !is_lead(*b)) else { return Vec::new() };
    let mut said = Vec::new();
    for mut reader in Reader::all(content_type, body[start]) {
        let mut out = Out::default();
        reader.read(&body[start..], &mut out);
        reader.end(&mut out);
        said.extend(out);
    }
    said
}

/// A finding in a view has no place in the raw bytes.
fn said(name: &'static str, mut finding: Finding) -> Finding {
    finding.offset = 0;
    finding.encodings.insert(0, name);
    finding
}

impl Message {
    pub(crate) fn new(engine: Arc<Engine>, content_type: Option<&str>) -> Self {
        Self { raw: Stream::new(Arc::clone(&engine), None), said: Said::new(engine, content_type) }
    }

    /// Scans the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Option<Finding> {
        self.raw.push(chunk).or_else(|| self.said.push(chunk))
    }

    /// The end of the message: what was held back is scanned too.
    pub fn finish(self) -> Option<Finding> {
        self.raw.finish().or_else(|| self.said.finish())
    }

    /// What is scanned at the end, in two parts of about the same length that need not wait for each other: the raw bytes, whose
    /// finding counts, and what they say.
    pub fn ends(self) -> (Stream, Said) {
        (self.raw, self.said)
    }

    /// How many raw bytes from the beginning can be let go. What values say together is known at their end only: a
    /// message that is let go before its end may have lost a part of a split secret by then, but is not completed.
    pub fn safe_len(&self) -> u64 {
        self.raw.safe_len()
    }
}
