//! Status reports of a push: parses upstream's, writes the gate's own (gitprotocol-pack(5), "Report Status"). Pure.

use bottle_wire::secret::Redactor;
use bytes::Bytes;

use crate::commands::{Capabilities, Command};
use crate::escape::escape_for_terminal;
use crate::pkt::{self, trimmed};

/// The result of each command, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Why upstream did not accept the pack; none if it did.
    pub unpack: Option<String>,
    /// For each command: success, or why it failed.
    pub results: Vec<Result<(), String>>,
}

impl Report {
    /// Nothing was done; each command has its own reason.
    pub fn refused(results: Vec<Result<(), String>>) -> Self {
        let results = results.into_iter().map(|result| result.and(Err("not attempted: another part of this push was refused".into())));
        Self { unpack: None, results: results.collect() }
    }

    /// Nothing was done, for one reason.
    pub fn all_refused(commands: &[Command], why: &str) -> Self {
        Self { unpack: None, results: commands.iter().map(|_| Err(why.to_owned())).collect() }
    }

    /// True when upstream accepted all of it.
    pub fn is_done(&self) -> bool {
        self.unpack.is_none() && self.results.iter().all(Result::is_ok)
    }

    /// Encodes the report for a client with these capabilities.
    pub fn packets(&self, commands: &[Command], capabilities: &Capabilities) -> Vec<u8> {
        let mut report = Vec::new();
        if capabilities.report {
            pkt::line(&mut report, format!("unpack {}\n", self.unpack.as_deref().unwrap_or("ok")).as_bytes());
            for (command, result) in commands.iter().zip(&self.results) {
                let line = match result {
                    Ok(()) => [b"ok ", &command.name[..], b"\n"].concat(),
                    Err(why) => [b"ng ", &command.name[..], b" ", why.as_bytes(), b"\n"].concat(),
                };
                pkt::line(&mut report, &line);
            }
            pkt::flush(&mut report);
        }
        if !capabilities.side_band {
            return report;
        }
        let mut out = Vec::new();
        for chunk in report.chunks(pkt::MAX_PACKET_BYTES - 5) {
            band(&mut out, 1, chunk);
        }
        pkt::flush(&mut out);
        out
    }
}

/// Appends a packet of a side band: 1 is data, 2 is progress, 3 is a fatal error.
pub fn band(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let mut line = Vec::with_capacity(bytes.len() + 1);
    line.push(number);
    line.extend_from_slice(bytes);
    pkt::line(out, &line);
}

/// Reads upstream's report line by line.
#[derive(Debug)]
pub struct ReportParser {
    unpack: Option<Result<(), String>>,
    results: Vec<Option<Result<(), String>>>,
}

impl ReportParser {
    /// For these commands.
    pub fn new(commands: &[Command]) -> Self {
        Self { unpack: None, results: vec![None; commands.len()] }
    }

    /// The next line.
    pub fn line(&mut self, line: &Bytes, commands: &[Command], redactor: &Redactor) {
        let line = trimmed(line);
        let failure = |why: &[u8]| Err(escape_for_terminal(why, redactor));
        if let Some(state) = line.strip_prefix(b"unpack ") {
            self.unpack = Some(if state == b"ok" { Ok(()) } else { failure(state) });
            return;
        }
        let (name, result) = match (line.strip_prefix(b"ok "), line.strip_prefix(b"ng ")) {
            (Some(name), _) => (name, Ok(())),
            (_, Some(rest)) => match rest.iter().position(|b| *b == b' ') {
                Some(at) => (&rest[..at], failure(&rest[at + 1..])),
                None => (rest, Err("upstream gave no reason".into())),
            },
            // `option` lines say under which other name upstream stored a ref: nothing that the gate relies on.
            _ => return,
        };
        if let Some(n) = commands.iter().position(|command| command.name == name) {
            self.results[n].get_or_insert(result);
        }
    }

    /// The whole report. A command that upstream does not confirm has failed.
    pub fn finish(self) -> Report {
        let silent = || Err("upstream did not report the result: fetch to see".to_owned());
        let unpack = match &self.unpack {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some("upstream did not report".to_owned()),
        };
        Report { unpack, results: self.results.into_iter().map(|result| result.unwrap_or_else(silent)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<Command> {
        let new = Some(gix_hash::ObjectId::from([1; 20]));
        ["refs/heads/a", "refs/heads/b"].map(|name| Command { old: None, new, name: Bytes::from_static(name.as_bytes()) }).to_vec()
    }

    fn read(lines: &[&str]) -> Report {
        let mut reading = ReportParser::new(&commands());
        lines.iter().for_each(|line| reading.line(&Bytes::copy_from_slice(line.as_bytes()), &commands(), &Redactor::default()));
        reading.finish()
    }

    #[test]
    fn upstreams_report_is_read_and_made_harmless() {
        assert!(read(&["unpack ok\n", "ok refs/heads/a\n", "option refname refs/x\n", "ok refs/heads/b\n"]).is_done());
        assert_eq!(
            read(&["unpack ok", "ng refs/heads/a \u{1b}[2Jhook declined", "ok refs/heads/c"]),
            Report {
                unpack: None,
                results: vec![Err("\\u{1b}[2Jhook declined".into()), Err("upstream did not report the result: fetch to see".into())]
            }
        );
        assert_eq!(read(&["unpack index-pack abnormal exit"]).unpack.as_deref(), Some("index-pack abnormal exit"));
        assert_eq!(read(&[]).unpack.as_deref(), Some("upstream did not report"));
    }

    #[test]
    fn a_report_is_written_as_the_client_reads_it() {
        let report = Report::refused(vec![Ok(()), Err("no".into())]);
        let plain = "000eunpack ok\n0049ng refs/heads/a not attempted: another part of this push was refused\n0017ng refs/heads/b no\n0000";
        let capabilities = |report, side_band| Capabilities { report, side_band, ..Capabilities::default() };
        let written = |capabilities| String::from_utf8(report.packets(&commands(), &capabilities)).unwrap();
        assert_eq!(written(capabilities(true, false)), plain);
        assert_eq!(written(capabilities(true, true)), format!("{:04x}\u{1}{plain}0000", plain.len() + 5));
        assert_eq!(written(capabilities(false, true)), "0000");
        assert_eq!(written(capabilities(false, false)), "");
    }
}
