//! The verdict on a push: all of it, or nothing. Pure, but for the scanner.

use bottle_contract::reason::Reason;
use bottle_wire::Refused;
use bottle_wire::secret::Redactor;
use gix_hash::ObjectId;

use super::Push;
use super::receive::Received;
use crate::advert::Told;
use crate::commands::{Command, Request};
use crate::harmless::one_line;
use crate::inspect::{Finding, short};
use crate::outlet::words;
use crate::policy::{self, Change, Denied, Upstream};
use crate::report::Report;

/// Why nothing was sent.
pub(super) struct Refusal {
    /// The slug.
    pub(super) reason: Reason,
    /// The scanner's rule, if it decided.
    pub(super) rule: Option<String>,
    /// What the client's user reads.
    pub(super) words: Vec<String>,
    /// What the client's program reads.
    pub(super) report: Report,
}

impl Refusal {
    /// All commands, for one reason.
    pub(super) fn of(refused: &Refused, commands: &[Command]) -> Self {
        let said = one_line(refused.to_string().as_bytes(), &Redactor::default());
        Self {
            reason: refused.reason,
            rule: refused.rule.clone(),
            words: vec![words(refused).trim_start_matches("git-gate: ").to_owned()],
            report: Report::all_refused(commands, &said),
        }
    }
}

/// Judges what was received. What is said first is what the client can do something about.
///
/// `descends` says of each command that its new value was shown to have the old one among its ancestors.
pub(super) fn judge(push: &Push, request: &Request, options: &[Vec<u8>], received: &Received, descends: &[bool]) -> Result<Told, Refusal> {
    let commands = &request.commands;
    if let Some(refusal) = in_words(push, commands, options) {
        return Err(refusal);
    }
    let told = received.told.as_ref().map_err(|refused| Refusal::of(refused, commands))?;
    let results = commands.iter().enumerate().map(|(n, command)| {
        if commands[..n].iter().any(|other| other.name == command.name) {
            return Err(Denied::Twice);
        }
        let leads_to = received.symbolic.iter().find(|(name, _)| *name == command.name).map(|(_, target)| target.clone());
        let upstream = Upstream { is: told.values.get(&command.name).copied(), has_twin: told.has_twin(&command.name), leads_to };
        policy::before_pack(&push.repo.policy, change(command), &upstream)
    });
    denied(push, results.collect())?;
    let inspected = received.inspected.as_ref().map_err(|refused| Refusal::of(refused, commands))?;
    if let Some(inspected) = inspected {
        if !inspected.findings.is_empty() {
            return Err(found(&inspected.findings, commands));
        }
        let results =
            commands.iter().zip(descends).map(|(command, descends)| policy::after_pack(&push.repo.policy, change(command), *descends));
        denied(push, results.collect())?;
        let another = push.repo.policy.committer.as_ref().and_then(|allowed| inspected.history.made_by_another(allowed.as_bytes()));
        if let Some((id, maker)) = another {
            return Err(forged(push, id, maker, commands));
        }
    }
    Ok(told.clone())
}

fn change(command: &Command) -> Change<'_> {
    Change { name: &command.name, old: command.old, new: command.new }
}

/// Names of refs and push options are words of the agent that leave the bottle too.
fn in_words(push: &Push, commands: &[Command], options: &[Vec<u8>]) -> Option<Refusal> {
    let mut text: Vec<u8> = commands.iter().flat_map(|command| [&command.name[..], b"\n"].concat()).collect();
    let names = text.len() as u64;
    options.iter().for_each(|option| text.extend([option, &b"\n"[..]].concat()));
    let found = push.table.scanner.scan(&text)?;
    let place = if found.offset < names { "a ref's name" } else { "a push option" };
    let not_scannable = found.is_not_scannable();
    let finding = Finding { rule: found.rule, not_scannable, commit: None, place: place.into(), encodings: found.encodings };
    Some(self::found(&[finding], commands))
}

fn denied(push: &Push, results: Vec<Result<(), Denied>>) -> Result<(), Refusal> {
    let Some(first) = results.iter().find_map(|result| result.err()) else { return Ok(()) };
    let allowed = match push.repo.policy.allow.as_slice() {
        [] => "this bottle may not push to this repository".to_owned(),
        patterns => format!("this bottle may push to {}", patterns.join(", ")),
    };
    Err(Refusal {
        reason: Reason::RefNotAllowed,
        rule: None,
        words: vec![format!("push refused: {first}"), allowed],
        report: Report::refused(results.into_iter().map(|result| result.map_err(|denied| denied.to_string())).collect()),
    })
}

/// A refusal of what another seems to have made. The name was scanned with the object that holds it.
fn forged(push: &Push, id: ObjectId, maker: &[u8], commands: &[Command]) -> Refusal {
    let allowed = push.repo.policy.committer.as_deref().unwrap_or_default();
    let reason = Reason::CommitterNotAllowed;
    Refusal {
        reason,
        rule: None,
        words: vec![
            format!("push refused: {} says that {} made it", short(id), one_line(maker, &Redactor::default())),
            format!("this bottle may push what {allowed} made; git rebase --force-rebase makes your commits again"),
        ],
        report: Report::all_refused(commands, &format!("{}: {}", reason.slug(), short(id))),
    }
}

/// A refusal for what was found, in words that never hold it.
fn found(findings: &[Finding], commands: &[Command]) -> Refusal {
    let secrets = findings.iter().any(|finding| !finding.not_scannable);
    let reason = if secrets { Reason::SecretDetected } else { Reason::BodyNotScannable };
    let n = findings.len();
    let mut words = vec![match (secrets, n) {
        (false, _) => "push refused: not all of it can be checked".to_owned(),
        (true, 1) => "push refused: it holds what looks like a secret".to_owned(),
        (true, n) => format!("push refused: it holds what looks like a secret, in {n} places"),
    }];
    words.extend(findings.iter().map(|finding| format!("  {}", told(finding))));
    words.push(
        "take it out of the history (git commit --amend, git rebase), then push again; marks like `gitleaks:allow` do not count".into(),
    );
    let first = told(&findings[0]);
    let report = Report::all_refused(commands, &format!("{}: {first}", reason.slug()));
    Refusal { reason, rule: Some(findings[0].rule.clone()), words, report }
}

fn told(finding: &Finding) -> String {
    let Finding { rule, commit, place, encodings, .. } = finding;
    let encoded = if encodings.is_empty() { String::new() } else { format!(" ({})", encodings.join(", ")) };
    match commit {
        Some(commit) => format!("{rule}{encoded} in commit {}, {place}", short(*commit)),
        None => format!("{rule}{encoded} in {place}"),
    }
}
