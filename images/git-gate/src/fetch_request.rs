//! Parses a fetch request keyword by keyword and encodes it anew, so that nothing else reaches upstream. Pure.

use crate::advert::AGENT;
use crate::pkt::{self, Packet, trimmed};

/// Keywords without an argument.
const FLAGS: [&str; 12] = [
    "done",
    "thin-pack",
    "no-progress",
    "include-tag",
    "ofs-delta",
    "deepen-relative",
    "wait-for-done",
    "sideband-all",
    "peel",
    "symrefs",
    "unborn",
    "size",
];
/// Keywords with an object id.
const WITH_ID: [&str; 4] = ["want", "have", "shallow", "oid"];
/// Keywords with a number.
const WITH_NUMBER: [&str; 2] = ["deepen", "deepen-since"];
/// Keywords with a ref, a ref prefix, or a filter.
const WITH_TEXT: [&str; 4] = ["deepen-not", "ref-prefix", "want-ref", "filter"];
/// Capabilities of protocol v0 and v1 that a client may request.
const CAPABILITIES: [&str; 13] = [
    "multi_ack",
    "multi_ack_detailed",
    "no-done",
    "thin-pack",
    "side-band",
    "side-band-64k",
    "ofs-delta",
    "include-tag",
    "no-progress",
    "deepen-since",
    "deepen-not",
    "deepen-relative",
    "filter",
];
/// The longest argument.
const MAX_ARGUMENT_BYTES: usize = 1024;

/// A fetch request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// The request, encoded anew.
    pub bytes: Vec<u8>,
    /// It lists refs.
    pub lists_refs: bool,
    /// The number of wanted ids.
    pub wants: u64,
}

/// Parses a whole request of protocol `version`.
pub fn read(packets: &[Packet], version: u8) -> Result<FetchRequest, String> {
    let mut request = FetchRequest::default();
    let mut started = false;
    for (n, packet) in packets.iter().enumerate() {
        let Packet::Data(line) = packet else {
            pkt::put(&mut request.bytes, packet);
            continue;
        };
        let line = std::str::from_utf8(trimmed(line)).map_err(|_| "a line that is not UTF-8".to_owned())?;
        let new = match version {
            2 if n == 0 => {
                let command = line.strip_prefix("command=").filter(|c| ["ls-refs", "fetch", "object-info"].contains(c));
                request.lists_refs = command == Some("ls-refs");
                Some(command.map(|_| line.to_owned()).ok_or("a command that is not ls-refs, fetch or object-info")?)
            }
            2 => line_v2(line)?,
            _ => Some(first_want(line, &mut started)?),
        };
        if let Some(new) = new {
            request.wants += u64::from(new.starts_with("want"));
            pkt::line(&mut request.bytes, format!("{new}\n").as_bytes());
        }
    }
    Ok(request)
}

/// A line of protocol v2: a capability or an argument.
fn line_v2(line: &str) -> Result<Option<String>, String> {
    if line.starts_with("agent=") {
        return Ok(Some(AGENT.to_owned()));
    }
    if line.starts_with("session-id=") {
        return Ok(None);
    }
    if matches!(line, "object-format=sha1" | "object-format=sha256") {
        return Ok(Some(line.to_owned()));
    }
    argument(line).map(Some)
}

/// A line of protocol v0 or v1: the first want carries the capabilities.
fn first_want(line: &str, started: &mut bool) -> Result<String, String> {
    if *started || !line.starts_with("want ") {
        return argument(line);
    }
    *started = true;
    let (want, capabilities) = line.split_at_checked(45).unwrap_or((line, ""));
    let mut new = argument(want)?;
    for word in capabilities.split(' ').filter(|word| !word.is_empty()) {
        if CAPABILITIES.contains(&word) {
            new = format!("{new} {word}");
        } else if !word.starts_with("agent=") && !word.starts_with("session-id=") && word != "object-format=sha1" {
            return Err("a capability that was not offered".into());
        }
    }
    Ok(format!("{new} {AGENT}"))
}

fn argument(line: &str) -> Result<String, String> {
    let fits = match line.split_once(' ') {
        None => FLAGS.contains(&line),
        Some((word, id)) if WITH_ID.contains(&word) => matches!(id.len(), 40 | 64) && id.bytes().all(|b| b.is_ascii_hexdigit()),
        Some((word, number)) if WITH_NUMBER.contains(&word) => {
            (1..=19).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
        }
        Some((word, text)) if WITH_TEXT.contains(&word) => {
            text.len() <= MAX_ARGUMENT_BYTES && !text.chars().any(|c| c.is_control() || c == ' ') && (word != "filter" || is_filter(text))
        }
        Some(_) => false,
    };
    if fits { Ok(line.to_owned()) } else { Err("a line that no fetch request has".into()) }
}

/// `combine:` nests the others; `sparse:oid=` names an object.
fn is_filter(text: &str) -> bool {
    ["blob:none", "blob:limit=", "tree:", "object:type=", "sparse:oid=", "combine:"].iter().any(|kind| text.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";

    fn request(version: u8, lines: &[&str]) -> Result<String, String> {
        let packet = |line: &&str| match *line {
            "0000" => Packet::Flush,
            "0001" => Packet::Delimiter,
            line => Packet::Data(Bytes::copy_from_slice(line.as_bytes())),
        };
        let packets: Vec<_> = lines.iter().map(packet).collect();
        read(&packets, version).map(|request| String::from_utf8(request.bytes).unwrap())
    }

    #[test]
    fn a_request_is_written_anew_in_the_gates_own_name() {
        let line = |text: &str| format!("{:04x}{text}\n", text.len() + 5);
        assert_eq!(
            request(
                2,
                &[
                    "command=ls-refs\n",
                    "agent=git/\u{1b}2.4",
                    "session-id=secret",
                    "object-format=sha1",
                    "0001",
                    "peel\n",
                    "symrefs",
                    "ref-prefix refs/heads/",
                    "0000"
                ]
            ),
            Ok([
                &line("command=ls-refs"),
                &line(AGENT),
                &line("object-format=sha1"),
                "0001",
                &line("peel"),
                &line("symrefs"),
                &line("ref-prefix refs/heads/"),
                "0000"
            ]
            .concat())
        );
        let want = format!("want {A}");
        assert_eq!(
            request(
                0,
                &[
                    &format!("{want} multi_ack_detailed side-band-64k agent=git/2 session-id=x"),
                    &want,
                    "deepen 1",
                    "0000",
                    &format!("have {A}"),
                    "done"
                ]
            ),
            Ok([
                &line(&format!("{want} multi_ack_detailed side-band-64k {AGENT}")),
                &line(&want),
                &line("deepen 1"),
                "0000",
                &line(&format!("have {A}")),
                &line("done")
            ]
            .concat())
        );
    }

    // covers: G12 G13
    #[test]
    fn what_no_request_to_fetch_says_is_refused() {
        for (version, lines) in [
            (2, vec!["command=archive"]),
            (2, vec!["want x"]),
            (2, vec!["command=fetch", "server-option=x"]),
            (2, vec!["command=fetch", "packfile-uris https"]),
            (2, vec!["command=fetch", "have 123"]),
            (2, vec!["command=fetch", "filter x:y"]),
            (2, vec!["command=fetch", "deepen 1x"]),
            (2, vec!["command=ls-refs", "ref-prefix a\u{1b}b"]),
            (0, vec!["want 1111111111111111111111111111111111111111 evil=1"]),
            (0, vec!["\u{0}"]),
        ] {
            assert!(request(version, &lines).is_err(), "{lines:?}");
        }
    }
}
