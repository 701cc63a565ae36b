//! What upstream advertises, and what the gate makes of it for the agent. Pure.

use std::collections::HashMap;

use bottle_contract::untrusted::is_hostile;
use bytes::Bytes;
use gix_hash::ObjectId;

use crate::commands::{Command, Wanted};
use crate::pkt::{self, trimmed};

/// The gate's name in both directions: what clients and servers are is nobody's business.
pub const AGENT: &str = concat!("agent=bottle-git-gate/", env!("CARGO_PKG_VERSION"));

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Fetch, clone, ls-remote.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// As it stands in URLs and command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }
}

/// What the gate keeps of upstream's capabilities for push. `no-thin` is added: a pack must resolve by itself to be read.
/// Absent on purpose: `push-cert` (a signature over a nonce that is upstream's), `session-id`.
const PUSH: [&str; 6] = ["report-status", "report-status-v2", "delete-refs", "side-band-64k", "quiet", "atomic"];

/// What the gate keeps of upstream's capabilities for fetch in protocol v0 and v1.
const FETCH: [&str; 16] = [
    "multi_ack",
    "multi_ack_detailed",
    "thin-pack",
    "side-band",
    "side-band-64k",
    "ofs-delta",
    "shallow",
    "deepen-since",
    "deepen-not",
    "deepen-relative",
    "no-progress",
    "include-tag",
    "allow-tip-sha1-in-want",
    "allow-reachable-sha1-in-want",
    "no-done",
    "filter",
];

/// What the gate keeps of upstream's abilities in protocol v2, and of what they take. Absent on purpose: `bundle-uri`
/// and `packfile-uris`, which send the client elsewhere; `session-id`; `promisor-remote`, which names URLs.
const COMMANDS: [(&str, &[&str]); 3] = [
    ("ls-refs", &["unborn"]),
    ("fetch", &["shallow", "wait-for-done", "filter", "ref-in-want", "sideband-all"]),
    ("object-info", &["size"]),
];

/// The capabilities of a first line that pass, as the gate advertises them.
pub fn capabilities(service: Service, theirs: &[u8], options: bool) -> String {
    let words = || theirs.split(|b| *b == b' ').filter_map(|word| std::str::from_utf8(word).ok());
    let mut ours: Vec<String> = Vec::new();
    for word in words() {
        let known = match service {
            Service::ReceivePack => PUSH.contains(&word) || (word == "ofs-delta") || (options && word == "push-options"),
            Service::UploadPack => FETCH.contains(&word) || is_symref(word),
        };
        if known || (word == "object-format=sha1") {
            ours.push(word.to_owned());
        }
    }
    if service == Service::ReceivePack {
        ours.push("no-thin".to_owned());
    }
    ours.push(AGENT.to_owned());
    ours.join(" ")
}

fn is_symref(word: &str) -> bool {
    word.strip_prefix("symref=").is_some_and(|names| !names.chars().any(is_hostile))
}

/// Changes the lines of an advertisement in protocol v0 and v1, one by one.
#[derive(Debug)]
pub struct Lines {
    service: Service,
    options: bool,
    begun: bool,
}

impl Lines {
    /// For one advertisement.
    pub fn new(service: Service, options: bool) -> Self {
        Self { service, options, begun: false }
    }

    /// The line to send on, if any.
    pub fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let line = trimmed(line);
        if !self.begun && line == b"version 1" {
            return Some(b"version 1\n".to_vec());
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let (named, capabilities) = match line.iter().position(|b| *b == 0) {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let mut out = match (named.get(..41), harmless_name(named.get(41..).unwrap_or_default())) {
            (Some(id), true) if id.ends_with(b" ") => named.to_vec(),
            _ if named.starts_with(b"shallow ") && harmless_name(named) => named.to_vec(),
            // Without its first line an advertisement has no capabilities.
            _ if first => [ObjectId::null(gix_hash::Kind::Sha1).to_string().as_bytes(), b" capabilities^{}"].concat(),
            _ => return None,
        };
        if first {
            out.push(0);
            out.extend_from_slice(self::capabilities(self.service, capabilities.unwrap_or_default(), self.options).as_bytes());
        }
        out.push(b'\n');
        Some(out)
    }
}

fn harmless_name(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(is_hostile))
}

/// A line of the advertisement of protocol v2 (gitprotocol-v2(5)), as the gate makes it; none: it is left out.
pub fn ability(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(trimmed(line)).ok()?;
    if line == "version 2" || line == "object-format=sha1" || line == "object-format=sha256" {
        return Some(format!("{line}\n"));
    }
    if line.starts_with("agent=") {
        return Some(format!("{AGENT}\n"));
    }
    let (name, values) = line.split_once('=').unwrap_or((line, ""));
    let (_, known) = COMMANDS.iter().find(|(command, _)| *command == name)?;
    let kept: Vec<&str> = values.split(' ').filter(|value| known.contains(value)).collect();
    Some(if kept.is_empty() { format!("{name}\n") } else { format!("{name}={}\n", kept.join(" ")) })
}

/// What upstream's advertisement says of the refs that a push names, and what it can.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By name: the value, of exactly the refs that are named.
    pub values: HashMap<Bytes, ObjectId>,
    /// Refs that are not named, but differ from one that is in nothing but case; in lower case.
    pub twins: Vec<Vec<u8>>,
    capabilities: Vec<String>,
    begun: bool,
}

impl Told {
    /// The next line of the advertisement.
    pub fn line(&mut self, line: &[u8], commands: &[Command]) {
        let line = trimmed(line);
        if !self.begun && line == b"version 1" {
            return;
        }
        let (named, capabilities) = match line.iter().position(|b| *b == 0) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        if !std::mem::replace(&mut self.begun, true) {
            self.capabilities = String::from_utf8_lossy(capabilities).split(' ').map(str::to_owned).collect();
        }
        let (Some(id), Some(name)) = (named.get(..40).and_then(|hex| ObjectId::from_hex(hex).ok()), named.get(41..)) else { return };
        for command in commands {
            if command.name == name {
                self.values.insert(command.name.clone(), id);
            } else if command.name.eq_ignore_ascii_case(name) {
                self.twins.push(name.to_ascii_lowercase());
            }
        }
    }

    /// True when upstream can this.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|word| word == capability)
    }

    /// True when another ref has this name in another case.
    pub fn has_twin(&self, name: &[u8]) -> bool {
        self.twins.contains(&name.to_ascii_lowercase())
    }

    /// What the gate says to upstream before the pack: the commands that were judged, and no word of the client's own.
    pub fn request(&self, commands: &[Command], wanted: &Wanted, options: &[Vec<u8>]) -> Result<Vec<u8>, &'static str> {
        let report = ["report-status-v2", "report-status"].into_iter().find(|word| self.can(word));
        let mut words = vec![report.ok_or("upstream does not report what became of a push")?];
        words.extend(["side-band-64k", "object-format=sha1"].into_iter().filter(|word| self.can(word)));
        if wanted.atomic {
            words.push(if self.can("atomic") { "atomic" } else { return Err("upstream cannot take all refs or none") });
        }
        if wanted.quiet && self.can("quiet") {
            words.push("quiet");
        }
        if !options.is_empty() {
            words.push(if self.can("push-options") { "push-options" } else { return Err("upstream takes no push options") });
        }
        words.push(AGENT);
        let null = ObjectId::null(gix_hash::Kind::Sha1);
        let mut out = Vec::new();
        for (n, command) in commands.iter().enumerate() {
            let mut line = format!("{} {} ", command.old.unwrap_or(null), command.new.unwrap_or(null)).into_bytes();
            line.extend_from_slice(&command.name);
            if n == 0 {
                line.push(0);
                line.extend_from_slice(words.join(" ").as_bytes());
            }
            pkt::line(&mut out, &line);
        }
        pkt::flush(&mut out);
        if !options.is_empty() {
            options.iter().for_each(|option| pkt::line(&mut out, option));
            pkt::flush(&mut out);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";

    fn lines(service: Service, lines: &[&str]) -> Vec<String> {
        let mut change = Lines::new(service, false);
        lines.iter().filter_map(|line| change.line(line.as_bytes())).map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn a_push_is_offered_what_the_gate_can_keep_and_no_thin() {
        let theirs = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options push-cert=x session-id=1 object-format=sha1 agent=git/2.47";
        let agent = AGENT;
        assert_eq!(
            lines(
                Service::ReceivePack,
                &[&format!("{A} refs/heads/main\0{theirs}\n"), &format!("{A} .have"), &format!("{A} refs/heads/\u{1b}x")]
            ),
            [
                format!(
                    "{A} refs/heads/main\0report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 no-thin {agent}\n"
                ),
                format!("{A} .have\n")
            ]
        );
        assert!(capabilities(Service::ReceivePack, theirs.as_bytes(), true).contains("push-options"));
    }

    // covers: G10
    #[test]
    fn a_first_line_with_a_hostile_name_keeps_its_capabilities_only() {
        assert_eq!(
            lines(Service::UploadPack, &[&format!("{A} refs/\u{202e}\0side-band symref=HEAD:refs/heads/main symref=HEAD:\u{9b} evil")]),
            [format!("{} capabilities^{{}}\0side-band symref=HEAD:refs/heads/main {AGENT}\n", "0".repeat(40))]
        );
    }

    #[test]
    fn of_protocol_v2_only_known_abilities_pass() {
        let pass = |line: &str| ability(line.as_bytes());
        assert_eq!(pass("version 2\n"), Some("version 2\n".into()));
        assert_eq!(pass("agent=git/\u{1b}[2J\n"), Some(format!("{AGENT}\n")));
        assert_eq!(pass("fetch=shallow wait-for-done filter packfile-uris\n"), Some("fetch=shallow wait-for-done filter\n".into()));
        assert_eq!(pass("ls-refs=unborn"), Some("ls-refs=unborn\n".into()));
        assert_eq!(pass("ls-refs"), Some("ls-refs\n".into()));
        assert_eq!(pass("object-format=sha1\n"), Some("object-format=sha1\n".into()));
        for line in ["bundle-uri", "server-option", "session-id=x", "promisor-remote=name=x,url=http://y", "evil", "version 3"] {
            assert_eq!(pass(line), None, "{line}");
        }
    }

    #[test]
    fn upstream_hears_the_judged_commands_and_nothing_of_the_client() {
        let id = ObjectId::from_hex(A.as_bytes()).unwrap();
        let commands = [
            Command { old: None, new: Some(id), name: Bytes::from_static(b"refs/heads/agent/x") },
            Command { old: Some(id), new: None, name: Bytes::from_static(b"refs/heads/agent/y") },
        ];
        let mut told = Told::default();
        told.line(format!("{A} refs/heads/Agent/x\0report-status side-band-64k atomic object-format=sha1").as_bytes(), &commands);
        told.line(format!("{A} refs/heads/agent/y").as_bytes(), &commands);
        assert!(told.has_twin(b"refs/heads/agent/x"));
        assert!(!told.has_twin(b"refs/heads/agent/y"));
        assert_eq!(told.values, HashMap::from([(Bytes::from_static(b"refs/heads/agent/y"), id)]));
        let wanted = Wanted { atomic: true, quiet: true, ..Wanted::default() };
        let sent = String::from_utf8(told.request(&commands, &wanted, &[]).unwrap()).unwrap();
        let zero = "0".repeat(40);
        let first = format!("{zero} {A} refs/heads/agent/x\0report-status side-band-64k object-format=sha1 atomic {AGENT}");
        assert_eq!(sent, format!("{:04x}{first}0068{A} {zero} refs/heads/agent/y0000", first.len() + 4));
        assert!(told.request(&commands, &wanted, &[b"ci.skip".to_vec()]).is_err());
        assert!(Told::default().request(&commands, &wanted, &[]).is_err());
    }
}
