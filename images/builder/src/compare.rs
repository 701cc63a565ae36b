//! Two archives of one image, and in words what differs: which entry, which field.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bottle_contract::Untrusted;
use serde_json::Value;

use crate::archive::{self, Contents};
use crate::hashed::HashedRead;
use crate::layer::Span;

/// Differences that are told; whoever has more reads the first ones.
const MAX_DIFFERENCES: usize = 20;

/// What a header says and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: u64,
    target: Vec<u8>,
    size: u64,
    sha256: String,
    at: u64,
}

/// What `one` has that `other` has not, line by line; `one` and `other` are named so in the lines. Nothing means that they are the same
/// to the last byte.
pub(crate) fn differences(one: (&str, &Path), other: (&str, &Path)) -> Result<Vec<String>, String> {
    let open = |(name, path): (&str, &Path)| File::open(path).map_err(|e| format!("the {name} archive cannot be read: {e}"));
    let (mut left, mut right) = (open(one)?, open(other)?);
    if first_difference(&mut left, &mut right).map_err(|e| e.to_string())?.is_none() {
        return Ok(Vec::new());
    }
    let read = |(name, path): (&str, &Path)| archive::read(path).map_err(|why| format!("the {name} archive is damaged: {why}"));
    let (a, b) = (read(one)?, read(other)?);
    let mut telling = Telling { one: one.0, other: other.0, lines: Vec::new() };
    telling.configuration(&a, &b);
    telling.layers((one.1, &a), (other.1, &b))?;
    if telling.lines.is_empty() {
        // The image is the same; what is around it is not.
        let whole = |path: &Path| Span { start: 0, size: std::fs::metadata(path).map_or(0, |meta| meta.len()) };
        telling.entries("the archive", (one.1, whole(one.1)), (other.1, whole(other.1)))?;
    }
    if telling.lines.is_empty() {
        telling.lines.push("the archives have the same entries in another order or with other padding".into());
    }
    if telling.lines.len() > MAX_DIFFERENCES {
        let more = telling.lines.len() - MAX_DIFFERENCES;
        telling.lines.truncate(MAX_DIFFERENCES);
        telling.lines.push(format!("… and {more} more"));
    }
    Ok(telling.lines)
}

struct Telling<'n> {
    one: &'n str,
    other: &'n str,
    lines: Vec<String>,
}

impl Telling<'_> {
    fn differ(&mut self, place: &str, field: &str, left: impl std::fmt::Display, right: impl std::fmt::Display) {
        self.lines.push(format!("{place}: {field} is {left} in the {}, {right} in the {}", self.one, self.other));
    }

    fn only(&mut self, place: &str, where_it_is: &str) {
        self.lines.push(format!("{place} is only in the {where_it_is}"));
    }

    fn configuration(&mut self, a: &Contents, b: &Contents) {
        let flat = |contents: &Contents| {
            let mut fields = BTreeMap::new();
            flatten(String::new(), &serde_json::from_slice(&contents.config).unwrap_or(Value::Null), &mut fields);
            // Layers are told entry by entry.
            fields.retain(|field, _| !field.starts_with("rootfs."));
            fields
        };
        let (left, right) = (flat(a), flat(b));
        for field in left.keys().chain(right.keys().filter(|field| !left.contains_key(*field))) {
            let place = format!("configuration: {}", Untrusted::new(field));
            match (left.get(field), right.get(field)) {
                (Some(x), Some(y)) if x == y => {}
                (Some(x), Some(y)) => {
                    self.differ("configuration", &Untrusted::new(field).to_string(), Untrusted::new(x), Untrusted::new(y))
                }
                (Some(_), None) => self.only(&place, self.one),
                (None, _) => self.only(&place, self.other),
            }
        }
    }

    fn layers(&mut self, (one, a): (&Path, &Contents), (other, b): (&Path, &Contents)) -> Result<(), String> {
        if a.layers.len() != b.layers.len() {
            self.differ("the image", "the number of layers", a.layers.len(), b.layers.len());
        }
        for (number, (x, y)) in a.layers.iter().zip(&b.layers).enumerate() {
            self.entries(&format!("layer {}", number + 1), (one, *x), (other, *y))?;
        }
        Ok(())
    }

    fn entries(&mut self, place: &str, one: (&Path, Span), other: (&Path, Span)) -> Result<(), String> {
        let (left, right) = (entries(one.0, one.1)?, entries(other.0, other.1)?);
        for name in left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))) {
            let place = format!("{place}: `{}`", Untrusted::new(name));
            match (left.get(name), right.get(name)) {
                (Some(x), Some(y)) => self.fields(&place, x, y, (one.0, other.0))?,
                (Some(_), None) => self.only(&place, self.one),
                (None, _) => self.only(&place, self.other),
            }
        }
        Ok(())
    }

    fn fields(&mut self, place: &str, x: &Entry, y: &Entry, (one, other): (&Path, &Path)) -> Result<(), String> {
        let kind = |flag: u8| match flag {
            b'0' | 0 => "a file".to_owned(),
            b'1' => "a hard link".to_owned(),
            b'2' => "a symbolic link".to_owned(),
            b'5' => "a directory".to_owned(),
            flag => format!("of type {}", char::from(flag)),
        };
        if x.kind != y.kind {
            self.differ(place, "it", kind(x.kind), kind(y.kind));
        }
        if x.mode != y.mode {
            self.differ(place, "the mode", format_args!("{:04o}", x.mode), format_args!("{:04o}", y.mode));
        }
        for (field, x, y) in
            [("the user", x.uid, y.uid), ("the group", x.gid, y.gid), ("the time", x.mtime, y.mtime), ("the size", x.size, y.size)]
        {
            if x != y {
                self.differ(place, field, x, y);
            }
        }
        if x.target != y.target {
            self.differ(place, "the target", Untrusted::new(&x.target), Untrusted::new(&y.target));
        }
        if x.sha256 != y.sha256 {
            self.differ(place, "the content", format_args!("sha256:{}", x.sha256), format_args!("sha256:{}", y.sha256));
            let from = |path: &Path, entry: &Entry| -> io::Result<io::Take<File>> {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(entry.at))?;
                Ok(file.take(entry.size))
            };
            let first = from(one, x).and_then(|mut left| first_difference(&mut left, &mut from(other, y)?)).map_err(|e| e.to_string())?;
            if let Some(first) = first {
                self.lines.push(format!("{place}: the first byte that differs is number {first}, counted from 0"));
            }
        }
        Ok(())
    }
}

/// A document as lines: where each value stands, and what it is.
fn flatten(at: String, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(below(name), value, into)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| flatten(below(&n.to_string()), value, into)),
        value => drop(into.insert(at, value.to_string())),
    }
}

/// The entries of a tar archive inside a file, each header as it is.
fn entries(path: &Path, within: Span) -> Result<BTreeMap<Vec<u8>, Entry>, String> {
    let read = || -> io::Result<BTreeMap<Vec<u8>, Entry>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(within.start))?;
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(file.take(within.size));
        for entry in archive.entries()?.raw(true) {
            let entry = entry?;
            let header = entry.header();
            let mut content = Entry {
                kind: header.entry_type().as_byte(),
                mode: header.mode()?,
                uid: header.uid()?,
                gid: header.gid()?,
                mtime: header.mtime()?,
                target: header.link_name_bytes().map(|bytes| bytes.to_vec()).unwrap_or_default(),
                size: entry.size(),
                sha256: String::new(),
                at: within.start + entry.raw_file_position(),
            };
            let name = header.path_bytes().to_vec();
            let mut hashed = HashedRead::new(entry);
            io::copy(&mut hashed, &mut io::sink())?;
            content.sha256 = hashed.finish();
            found.insert(name, content);
        }
        Ok(found)
    };
    read().map_err(|e| format!("{}: {e}", Untrusted::new(path.as_os_str().as_encoded_bytes())))
}

/// The place of the first byte that differs; the end of the shorter one counts.
fn first_difference(one: &mut dyn Read, other: &mut dyn Read) -> io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut before = 0;
    loop {
        let (x, y) = (fill(one, &mut left)?, fill(other, &mut right)?);
        if let Some(at) = left[..x].iter().zip(&right[..y]).position(|(a, b)| a != b) {
            return Ok(Some(before + at as u64));
        }
        if x != y {
            return Ok(Some(before + x.min(y) as u64));
        }
        if x == 0 {
            return Ok(None);
        }
        before += x as u64;
    }
}

fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
