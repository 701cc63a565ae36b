//! What only upstream can tell: which refs are other names for others, and whether a commit that it has already has
//! another one among its ancestors. Asked in protocol v2; an upstream that does not speak it tells neither.

use std::time::Duration;

use bottle_wire::body;
use bytes::BytesMut;
use gix_hash::ObjectId;
use tokio::time::timeout;

use super::Push;
use super::receive::Received;
use crate::advert::{AGENT, Service};
use crate::commands::Command;
use crate::history::History;
use crate::pack::entries::{self, What};
use crate::pack::{Bounds, Kind, Look, Place, Unsound, resolve};
use crate::pkt::{self, Packet, Packets, trimmed};

/// A pack of commits alone is far smaller; one of everything that lies between is not worth the answer.
const MAX_PACK_BYTES: usize = 64 << 20;
/// For one question.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The refs that are symbolic, of those that are named, with what they lead to.
pub(super) async fn symbolic(push: &Push, commands: &[Command]) -> Vec<(Vec<u8>, String)> {
    let mut words = vec!["symrefs".to_owned()];
    words.extend(commands.iter().filter_map(|command| Some(format!("ref-prefix {}", std::str::from_utf8(&command.name).ok()?))));
    let Some(mut packets) = ask(push, "ls-refs", &words).await else { return Vec::new() };
    let mut found = Vec::new();
    while let Ok(Ok(Some(Packet::Data(line)))) = timeout(QUERY_TIMEOUT, packets.next()).await {
        let mut words = trimmed(&line).split(|b| *b == b' ').skip(1);
        let name = words.next().unwrap_or_default();
        if let Some(target) = words.find_map(|word| word.strip_prefix(b"symref-target:")) {
            found.push((name.to_vec(), String::from_utf8_lossy(target).into_owned()));
        }
    }
    found
}

/// For each command: the new value has the old one among its ancestors, by the pack alone or with upstream's history.
pub(super) async fn descent(push: &Push, commands: &[Command], received: &Received) -> Vec<bool> {
    let none = History::default();
    let history = match &received.inspected {
        Ok(Some(inspected)) => &inspected.history,
        _ => &none,
    };
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let (Some(old), Some(new)) = (command.old, command.new) else {
            answers.push(true);
            continue;
        };
        let shown = history.shows_descent(new, old) || (!push.repo.policy.force && lies_before(push, &history.boundary(new), old).await);
        answers.push(shown);
    }
    answers
}

/// True when upstream shows `old` among the ancestors of one of these commits, all of which it has.
async fn lies_before(push: &Push, commits: &[ObjectId], old: ObjectId) -> bool {
    // An octopus of that many would be asked for in vain.
    if commits.len() > 64 {
        return false;
    }
    let mut words: Vec<String> = ["no-progress", "ofs-delta"].map(str::to_owned).to_vec();
    words.extend(commits.iter().map(|id| format!("want {id}")));
    words.extend([format!("have {old}"), "done".to_owned()]);
    let commits_alone = [words.clone(), vec!["filter tree:0".to_owned()]].concat();
    // Not every server filters.
    for words in [commits_alone, words] {
        if let Some(pack) = fetched(push, &words).await {
            return parents_in(&pack).is_ok_and(|parents| parents.contains(&old));
        }
    }
    false
}

/// The pack of an answer to a fetch.
async fn fetched(push: &Push, words: &[String]) -> Option<Vec<u8>> {
    let mut packets = ask(push, "fetch", words).await?;
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

async fn ask(push: &Push, command: &str, words: &[String]) -> Option<Packets> {
    let mut out = Vec::new();
    for line in [format!("command={command}"), AGENT.to_owned(), "object-format=sha1".to_owned()] {
        pkt::line(&mut out, format!("{line}\n").as_bytes());
    }
    pkt::put(&mut out, &Packet::Delimiter);
    words.iter().for_each(|line| pkt::line(&mut out, format!("{line}\n").as_bytes()));
    pkt::flush(&mut out);
    let answer = push.repo.upstream.answer(Service::UploadPack, 2, body::full(BytesMut::from(&out[..]).freeze()));
    timeout(QUERY_TIMEOUT, answer).await.ok()?.ok()
}

/// All parents of all commits in a pack of upstream's.
fn parents_in(pack: &[u8]) -> Result<Vec<ObjectId>, Unsound> {
    let most = MAX_PACK_BYTES as u64;
    let bounds = Bounds { objects: 1_000_000, inflated: 16 * most, delta: most, held: most, depth: 4095 };
    let mut parents = Parents { kind: Kind::Blob, held: Vec::new(), found: Vec::new() };
    let read = entries::read(pack, &bounds, &mut parents, |_, _| {})?;
    if read.entries.iter().any(|entry| !matches!(entry.what, What::Object(..))) {
        resolve::run(pack, &read, &bounds, &mut parents, |_, _| {})?;
    }
    Ok(parents.found)
}

struct Parents {
    kind: Kind,
    held: Vec<u8>,
    found: Vec<ObjectId>,
}

impl Look for Parents {
    fn begin(&mut self, kind: Kind, _: u64) -> Result<(), Unsound> {
        self.kind = kind;
        self.held.clear();
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), Unsound> {
        if self.kind == Kind::Commit {
            self.held.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, _: ObjectId, _: Place, _: Option<&[u8]>) -> Result<(), Unsound> {
        let lines = self.held.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
        self.found.extend(lines.filter_map(|line| ObjectId::from_hex(line.strip_prefix(b"parent ")?).ok()));
        Ok(())
    }
}
