//! Queries that only upstream can answer: which refs are symbolic, and whether one of its commits descends from another.
//!
//! They use protocol v2. An upstream that does not support it answers neither, and the verdict assumes the worst.

use std::time::Duration;

use bottle_wire::body;
use bytes::BytesMut;
use gix_hash::ObjectId;
use tokio::time::timeout;

use super::Push;
use crate::advert::{AGENT, Service};
use crate::commands::Command;
use crate::history::History;
use crate::pack::entries::{self, EntryKind};
use crate::pack::{Bounds, Kind, ObjectVisitor, Place, Unsound, resolve};
use crate::pkt::{self, Packet, Packets, trimmed};

/// A pack of commits alone is far smaller; a pack of everything in between is not worth the answer.
const MAX_PACK_BYTES: usize = 64 << 20;
/// For one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// A merge with more open parents is not looked up.
const MAX_WANTS: usize = 64;

/// A symbolic ref of upstream.
#[derive(Debug)]
pub(super) struct SymbolicRef {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// The ref that it stands for.
    pub(super) target: String,
}

/// The refs among those of the commands that are symbolic.
pub(super) async fn symbolic_refs(push: &Push, commands: &[Command]) -> Vec<SymbolicRef> {
    let mut arguments = vec!["symrefs".to_owned()];
    arguments.extend(commands.iter().filter_map(|command| Some(format!("ref-prefix {}", std::str::from_utf8(&command.name).ok()?))));
    let Some(mut packets) = run(push, "ls-refs", &arguments).await else { return Vec::new() };
    let mut found = Vec::new();
    while let Ok(Ok(Some(Packet::Data(line)))) = timeout(QUERY_TIMEOUT, packets.next()).await {
        let mut fields = trimmed(&line).split(|b| *b == b' ').skip(1);
        let name = fields.next().unwrap_or_default().to_vec();
        if let Some(target) = fields.find_map(|field| field.strip_prefix(b"symref-target:")) {
            found.push(SymbolicRef { name, target: String::from_utf8_lossy(target).into_owned() });
        }
    }
    found
}

/// For each command: whether the new value descends from the old one, by the push's own history or with upstream's.
pub(super) async fn descent(push: &Push, commands: &[Command], history: &History) -> Vec<bool> {
    let mut descends = Vec::with_capacity(commands.len());
    for command in commands {
        let (Some(old), Some(new)) = (command.old, command.new) else {
            descends.push(true);
            continue;
        };
        let asks_upstream = !push.repo.policy.force;
        descends.push(history.shows_descent(new, old) || (asks_upstream && is_upstream_ancestor(push, old, &history.boundary(new)).await));
    }
    descends
}

/// True when upstream shows `old` among the ancestors of one of these commits, all of which it has.
async fn is_upstream_ancestor(push: &Push, old: ObjectId, commits: &[ObjectId]) -> bool {
    if commits.len() > MAX_WANTS {
        return false;
    }
    let mut arguments: Vec<String> = ["no-progress", "ofs-delta"].map(str::to_owned).to_vec();
    arguments.extend(commits.iter().map(|id| format!("want {id}")));
    arguments.extend([format!("have {old}"), "done".to_owned()]);
    let commits_only = [arguments.clone(), vec!["filter tree:0".to_owned()]].concat();
    // Not every server supports filters.
    for arguments in [commits_only, arguments] {
        if let Some(pack) = fetch(push, &arguments).await {
            return parents_in(&pack).is_ok_and(|parents| parents.contains(&old));
        }
    }
    false
}

/// The pack of a fetch.
async fn fetch(push: &Push, arguments: &[String]) -> Option<Vec<u8>> {
    let mut packets = run(push, "fetch", arguments).await?;
    let mut pack: Option<Vec<u8>> = None;
    while let Some(packet) = timeout(QUERY_TIMEOUT, packets.next()).await.ok()?.ok()? {
        let Packet::Data(line) = packet else { continue };
        match (&mut pack, line.first()) {
            (None, _) if trimmed(&line) == b"packfile" => pack = Some(Vec::new()),
            (Some(pack), Some(1)) if pack.len() + line.len() <= MAX_PACK_BYTES => pack.extend_from_slice(&line[1..]),
            (Some(_), Some(2)) => {}
            (Some(_), _) => return None,
            (None, _) if line.starts_with(b"ERR ") => return None,
            (None, _) => {}
        }
    }
    pack
}

/// Runs one command of protocol v2.
async fn run(push: &Push, command: &str, arguments: &[String]) -> Option<Packets> {
    let mut out = Vec::new();
    for line in [format!("command={command}"), AGENT.to_owned(), "object-format=sha1".to_owned()] {
        pkt::line(&mut out, format!("{line}\n").as_bytes());
    }
    pkt::put(&mut out, &Packet::Delimiter);
    arguments.iter().for_each(|line| pkt::line(&mut out, format!("{line}\n").as_bytes()));
    pkt::flush(&mut out);
    let response = push.repo.upstream.run(Service::UploadPack, 2, body::full(BytesMut::from(&out[..]).freeze()));
    timeout(QUERY_TIMEOUT, response).await.ok()?.ok()
}

/// All parents of all commits in a pack of upstream's.
fn parents_in(pack: &[u8]) -> Result<Vec<ObjectId>, Unsound> {
    let max = MAX_PACK_BYTES as u64;
    let bounds = Bounds { objects: 1_000_000, inflated: 16 * max, delta: max, retained: max, depth: 4095 };
    let mut parents = Parents { kind: Kind::Blob, object: Vec::new(), found: Vec::new() };
    let read = entries::read(pack, &bounds, &mut parents, |_, _| {})?;
    if read.entries.iter().any(|entry| !matches!(entry.kind, EntryKind::Object(..))) {
        resolve::run(pack, &read, &bounds, &mut parents, |_, _| {})?;
    }
    Ok(parents.found)
}

struct Parents {
    kind: Kind,
    object: Vec<u8>,
    found: Vec<ObjectId>,
}

impl ObjectVisitor for Parents {
    fn begin(&mut self, kind: Kind, _: u64) -> Result<(), Unsound> {
        self.kind = kind;
        self.object.clear();
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Unsound> {
        if self.kind == Kind::Commit {
            self.object.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, _: ObjectId, _: Place, _: Option<&[u8]>) -> Result<(), Unsound> {
        let lines = self.object.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
        self.found.extend(lines.filter_map(|line| ObjectId::from_hex(line.strip_prefix(b"parent ")?).ok()));
        Ok(())
    }
}
