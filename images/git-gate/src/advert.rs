//! Filters upstream's advertisements for the agent, and parses them for a push. Pure.

use std::collections::HashMap;

use bottle_contract::untrusted::is_hostile;
use bytes::Bytes;
use gix_hash::ObjectId;

use crate::commands::{Capabilities, Command};
use crate::pkt::{self, trimmed};

/// The gate's name towards both sides: it does not disclose which client or server the other side uses.
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
    /// Its name in URLs and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }
}

/// Upstream's capabilities for push that the gate passes on. It adds `no-thin`: it can only read a self-contained pack.
/// Absent on purpose: `push-cert` (a signature over a nonce that is upstream's), `session-id`.
const PUSH: [&str; 6] = ["report-status", "report-status-v2", "delete-refs", "side-band-64k", "quiet", "atomic"];

/// Upstream's capabilities for fetch in protocol v0 and v1 that the gate passes on.
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

/// Upstream's capabilities in protocol v2 that the gate passes on, with their values. Absent on purpose: `bundle-uri` and
/// `packfile-uris`, which send the client elsewhere; `session-id`; `promisor-remote`, which names URLs.
const COMMANDS: [(&str, &[&str]); 3] = [
    ("ls-refs", &["unborn"]),
    ("fetch", &["shallow", "wait-for-done", "filter", "ref-in-want", "sideband-all"]),
    ("object-info", &["size"]),
];

/// Filters the capabilities of a first line.
pub fn capabilities(service: Service, theirs: &[u8], options: bool) -> String {
    let mut ours: Vec<String> = Vec::new();
    for word in theirs.split(|b| *b == b' ').filter_map(|word| std::str::from_utf8(word).ok()) {
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

/// Filters an advertisement in protocol v0 and v1 line by line.
#[derive(Debug)]
pub struct Lines {
    service: Service,
    options: bool,
    started: bool,
}

impl Lines {
    /// For one advertisement.
    pub fn new(service: Service, options: bool) -> Self {
        Self { service, options, started: false }
    }

    /// The line to forward, if any.
    pub fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let line = trimmed(line);
        if !self.started && line == b"version 1" {
            return Some(b"version 1\n".to_vec());
        }
        let first = !std::mem::replace(&mut self.started, true);
        let (named, capabilities) = match line.iter().position(|b| *b == 0) {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let mut out = match (named.get(..41), is_printable(named.get(41..).unwrap_or_default())) {
            (Some(id), true) if id.ends_with(b" ") => named.to_vec(),
            _ if named.starts_with(b"shallow ") && is_printable(named) => named.to_vec(),
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

fn is_printable(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(is_hostile))
}

/// Filters a line of a protocol v2 advertisement (gitprotocol-v2(5)); none to drop it.
pub fn capability_v2(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(trimmed(line)).ok()?;
    if line == "version 2" || line == "object-format=sha1" || line == "object-format=sha256" {
        return Some(format!("{line}\n"));
    }
    if line.starts_with("agent=") {
        return Some(format!("{AGENT}\n"));
    }
    let (name, values) = line.split_once('=').unwrap_or((line, ""));
    let (_, known) = COMMANDS.iter().find(|(command, _)| *command == name)?;
    let values: Vec<&str> = values.split(' ').filter(|value| known.contains(value)).collect();
    Some(if values.is_empty() { format!("{name}\n") } else { format!("{name}={}\n", values.join(" ")) })
}

/// Upstream's refs that a push names, and its capabilities, from its advertisement.
#[derive(Clone, Debug, Default)]
pub struct UpstreamRefs {
    /// The values of exactly the refs that the push names.
    pub values: HashMap<Bytes, ObjectId>,
    /// In lower case: other refs whose names differ from a named one only in case.
    pub twins: Vec<Vec<u8>>,
    capabilities: Vec<String>,
    started: bool,
}

impl UpstreamRefs {
    /// Parses the next line.
    pub fn line(&mut self, line: &[u8], commands: &[Command]) {
        let line = trimmed(line);
        if !self.started && line == b"version 1" {
            return;
        }
        let (named, capabilities) = match line.iter().position(|b| *b == 0) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        if !std::mem::replace(&mut self.started, true) {
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

    /// True when upstream has this capability.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|word| word == capability)
    }

    /// True when another ref's name differs from this one only in case.
    pub fn has_twin(&self, name: &[u8]) -> bool {
        self.twins.contains(&name.to_ascii_lowercase())
    }

    /// Encodes the push request up to its pack: the judged commands, and nothing that the client wrote itself.
    pub fn request(&self, commands: &[Command], requested: &Capabilities, options: &[Vec<u8>]) -> Result<Vec<u8>, &'static str> {
        let report = ["report-status-v2", "report-status"].into_iter().find(|word| self.can(word));
        let mut capabilities = vec![report.ok_or("upstream does not report the result of a push")?];
        capabilities.extend(["side-band-64k", "object-format=sha1"].into_iter().filter(|word| self.can(word)));
        if requested.atomic {
            capabilities.push(if self.can("atomic") { "atomic" } else { return Err("upstream does not support atomic pushes") });
        }
        if requested.quiet && self.can("quiet") {
            capabilities.push("quiet");
        }
        if !options.is_empty() {
            capabilities.push(if self.can("push-options") {
                "push-options"
            } else {
                return Err("upstream does not support push options");
            });
        }
        capabilities.push(AGENT);
        let null = ObjectId::null(gix_hash::Kind::Sha1);
        let mut out = Vec::new();
        for (n, command) in commands.iter().enumerate() {
            let mut line = format!("{} {} ", command.old.unwrap_or(null), command.new.unwrap_or(null)).into_bytes();
            line.extend_from_slice(&command.name);
            if n == 0 {
                line.push(0);
                line.extend_from_slice(capabilities.join(" ").as_bytes());
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
        let pass = |line: &str| capability_v2(line.as_bytes());
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
        let mut refs = UpstreamRefs::default();
        refs.line(format!("{A} refs/heads/Agent/x\0report-status side-band-64k atomic object-format=sha1").as_bytes(), &commands);
        refs.line(format!("{A} refs/heads/agent/y").as_bytes(), &commands);
        assert!(refs.has_twin(b"refs/heads/agent/x"));
        assert!(!refs.has_twin(b"refs/heads/agent/y"));
        assert_eq!(refs.values, HashMap::from([(Bytes::from_static(b"refs/heads/agent/y"), id)]));
        let requested = Capabilities { atomic: true, quiet: true, ..Capabilities::default() };
        let sent = String::from_utf8(refs.request(&commands, &requested, &[]).unwrap()).unwrap();
        let zero = "0".repeat(40);
        let first = format!("{zero} {A} refs/heads/agent/x\0report-status side-band-64k object-format=sha1 atomic {AGENT}");
        assert_eq!(sent, format!("{:04x}{first}0068{A} {zero} refs/heads/agent/y0000", first.len() + 4));
        assert!(refs.request(&commands, &requested, &[b"ci.skip".to_vec()]).is_err());
        assert!(UpstreamRefs::default().request(&commands, &requested, &[]).is_err());
    }
}
