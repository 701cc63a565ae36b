//! Parses a push request up to its pack (gitprotocol-pack(5), "Reference Update Request"). Pure.

use bytes::Bytes;
use gix_hash::ObjectId;

use crate::pkt::trimmed;

/// One change of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The id that the client expects upstream to have; none to create the ref.
    pub old: Option<ObjectId>,
    /// The new id; none to delete the ref.
    pub new: Option<ObjectId>,
    /// The ref's full name, unescaped.
    pub name: Bytes,
}

/// The capabilities that a client requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It reads a report.
    pub report: bool,
    /// It reads a report of version 2.
    pub report_v2: bool,
    /// It reads multiplexed streams.
    pub side_band: bool,
    /// All refs or none.
    pub atomic: bool,
    /// Send no progress.
    pub quiet: bool,
    /// It sends push options.
    pub options: bool,
}

/// The part of a push before its pack.
#[derive(Debug, Default)]
pub struct Request {
    /// In the order in which they came.
    pub commands: Vec<Command>,
    /// The capabilities on the first line.
    pub capabilities: Capabilities,
    started: bool,
}

/// A longer ref name is refused: file systems take 255 bytes in a name and 4096 in a path.
const MAX_REF_NAME_BYTES: usize = 1024;

impl Request {
    /// Parses the next line.
    pub fn line(&mut self, line: &[u8], max: usize) -> Result<(), String> {
        let first = !std::mem::replace(&mut self.started, true);
        if line.starts_with(b"shallow ") {
            // A shallow clone names where its history ends. Upstream has the rest, or refuses by itself.
            self.started = !first;
            return Ok(());
        }
        if line.starts_with(b"push-cert") {
            return Err("signed pushes are not supported: a signature is for upstream alone".into());
        }
        let mut parts = line.splitn(2, |b| *b == 0);
        let command = trimmed(parts.next().unwrap_or_default());
        if let Some(text) = parts.next() {
            if !first {
                return Err("capabilities on a line that is not the first".into());
            }
            self.capabilities = capabilities(trimmed(text))?;
        }
        if self.commands.len() == max {
            return Err(format!("a push may change at most {max} refs"));
        }
        let command = self::command(command).ok_or("a command is not `old new ref`")?;
        self.commands.push(command);
        Ok(())
    }

    /// True when a pack follows: some command creates or updates a ref.
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| command.new.is_some())
    }
}

fn command(line: &[u8]) -> Option<Command> {
    let id = |hex: &[u8]| ObjectId::from_hex(hex).ok().map(|id| Some(id).filter(|id| !id.is_null()));
    let (old, new, name) = (line.get(..40)?, line.get(41..81)?, line.get(82..)?);
    let spaced = line[40] == b' ' && line[81] == b' ' && !name.is_empty() && name.len() <= MAX_REF_NAME_BYTES;
    let command = Command { old: id(old)?, new: id(new)?, name: Bytes::copy_from_slice(name) };
    (spaced && (command.old.is_some() || command.new.is_some())).then_some(command)
}

fn capabilities(text: &[u8]) -> Result<Capabilities, String> {
    let mut capabilities = Capabilities::default();
    for word in text.split(|b| *b == b' ') {
        match word {
            b"report-status" => capabilities.report = true,
            b"report-status-v2" => (capabilities.report, capabilities.report_v2) = (true, true),
            b"side-band-64k" => capabilities.side_band = true,
            b"atomic" => capabilities.atomic = true,
            b"quiet" => capabilities.quiet = true,
            b"push-options" => capabilities.options = true,
            word if word.starts_with(b"object-format=") && word != b"object-format=sha1" => {
                return Err("repositories with SHA-256 ids are not supported".into());
            }
            // The client's `agent` is not forwarded.
            _ => {}
        }
    }
    Ok(capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn read(lines: &[String]) -> Result<Request, String> {
        let mut request = Request::default();
        lines.iter().try_for_each(|line| request.line(line.as_bytes(), 3))?;
        Ok(request)
    }

    #[test]
    fn commands_and_what_the_client_can_are_read() {
        let request = read(&[
            format!("shallow {B}"),
            format!("{ZERO} {A} refs/heads/agent/x\0 report-status-v2 side-band-64k object-format=sha1 agent=git/\x1b[2J"),
            format!("{A} {B} refs/heads/agent/ü\n"),
            format!("{B} {ZERO} refs/heads/agent/old"),
        ])
        .unwrap();
        let id = |hex: &str| Some(ObjectId::from_hex(hex.as_bytes()).unwrap());
        let command = |old, new, name: &'static str| Command { old, new, name: Bytes::from_static(name.as_bytes()) };
        assert_eq!(
            request.commands,
            [
                command(None, id(A), "refs/heads/agent/x"),
                command(id(A), id(B), "refs/heads/agent/ü"),
                command(id(B), None, "refs/heads/agent/old")
            ]
        );
        assert_eq!(request.capabilities, Capabilities { report: true, report_v2: true, side_band: true, ..Capabilities::default() });
        assert!(request.has_pack());
        assert!(!read(&[format!("{B} {ZERO} refs/heads/x\0report-status")]).unwrap().has_pack());
    }

    // covers: G12
    #[test]
    fn what_is_no_command_is_refused() {
        let fine = format!("{ZERO} {A} refs/heads/x\0report-status");
        for (lines, why) in [
            (vec!["".into()], "is not `old new ref`"),
            (vec![format!("{A} {B}")], "is not `old new ref`"),
            (vec![format!("{A} {B} ")], "is not `old new ref`"),
            (vec![format!("{A}x{B} refs/heads/x")], "is not `old new ref`"),
            (vec![format!("{} {B} refs/heads/x", "g".repeat(40))], "is not `old new ref`"),
            (vec![format!("{ZERO} {ZERO} refs/heads/x")], "is not `old new ref`"),
            (vec![format!("{A} {B} refs/heads/{}", "x".repeat(2000))], "is not `old new ref`"),
            (vec!["push-cert\0report-status".into()], "signed"),
            (vec![format!("{A} {B} refs/heads/x\0object-format=sha256")], "SHA-256"),
            (vec![fine.clone(), fine.clone()], "not the first"),
            (
                vec![
                    fine.clone(),
                    fine.replace("\0report-status", ""),
                    fine.replace("\0report-status", ""),
                    fine.replace("\0report-status", ""),
                ],
                "at most 3",
            ),
        ] {
            let error = read(&lines).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
