//! The verdict on a push: all of it or nothing. Pure, apart from the scanner.

use bottle_contract::reason::Reason;
use bottle_wire::Refused;
use bottle_wire::secret::Redactor;
use gix_hash::ObjectId;

use super::Push;
use super::receive::Received;
use crate::advert::UpstreamRefs;
use crate::commands::{Command, Request};
use crate::escape::escape_for_terminal;
use crate::inspect::{Finding, short};
use crate::ref_policy::{self, Change, Denied, Upstream};
use crate::report::Report;
use crate::response::message;

/// Why nothing was sent.
pub(super) struct Refusal {
    /// The stable reason.
    pub(super) reason: Reason,
    /// The scanner's rule, if it decided.
    pub(super) rule: Option<String>,
    /// Messages for the client's user.
    pub(super) messages: Vec<String>,
    /// The report for the client's program.
    pub(super) report: Report,
}

impl Refusal {
    /// Refuses all commands for one reason.
    pub(super) fn of(refused: &Refused, commands: &[Command]) -> Self {
        let why = escape_for_terminal(refused.to_string().as_bytes(), &Redactor::default());
        Self {
            reason: refused.reason,
            rule: refused.rule.clone(),
            messages: vec![message(refused).trim_start_matches("git-gate: ").to_owned()],
            report: Report::all_refused(commands, &why),
        }
    }
}

/// Judges a push. Reasons that the client can act on come first.
///
/// `descends` has an entry per command: whether its new value provably descends from the old one.
pub(super) fn judge(
    push: &Push,
    request: &Request,
    options: &[Vec<u8>],
    received: &Received,
    descends: &[bool],
) -> Result<UpstreamRefs, Refusal> {
    let commands = &request.commands;
    if let Some(refusal) = secret_in_names(push, commands, options) {
        return Err(refusal);
    }
    let refs = received.refs.as_ref().map_err(|refused| Refusal::of(refused, commands))?;
    let results = commands.iter().enumerate().map(|(n, command)| {
        if commands[..n].iter().any(|other| other.name == command.name) {
            return Err(Denied::Twice);
        }
        let leads_to = received.symbolic.iter().find(|symbolic| symbolic.name == command.name).map(|symbolic| symbolic.target.clone());
        let upstream = Upstream { current: refs.values.get(&command.name).copied(), has_twin: refs.has_twin(&command.name), leads_to };
        ref_policy::before_pack(&push.repo.policy, change(command), &upstream)
    });
    denied(push, results.collect())?;
    let inspected = received.inspected.as_ref().map_err(|refused| Refusal::of(refused, commands))?;
    if let Some(inspected) = inspected {
        if !inspected.findings.is_empty() {
            return Err(found(&inspected.findings, commands));
        }
        let results =
            commands.iter().zip(descends).map(|(command, descends)| ref_policy::after_pack(&push.repo.policy, change(command), *descends));
        denied(push, results.collect())?;
        let other = push.repo.policy.committer.as_ref().and_then(|allowed| inspected.history.other_committer(allowed.as_bytes()));
        if let Some((id, committer)) = other {
            return Err(other_committer(push, id, committer, commands));
        }
    }
    Ok(refs.clone())
}

fn change(command: &Command) -> Change<'_> {
    Change { name: &command.name, old: command.old, new: command.new }
}

/// Ref names and push options come from the agent and leave the bottle too, so they are scanned.
fn secret_in_names(push: &Push, commands: &[Command], options: &[Vec<u8>]) -> Option<Refusal> {
    let mut text: Vec<u8> = commands.iter().flat_map(|command| [&command.name[..], b"\n"].concat()).collect();
    let names = text.len() as u64;
    options.iter().for_each(|option| text.extend([option, &b"\n"[..]].concat()));
    let found = push.policy.scanner.scan(&text)?;
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
        messages: vec![format!("push refused: {first}"), allowed],
        report: Report::refused(results.into_iter().map(|result| result.map_err(|denied| denied.to_string())).collect()),
    })
}

/// Refuses a commit or tag that names another committer. The name was scanned with its object.
fn other_committer(push: &Push, id: ObjectId, committer: &[u8], commands: &[Command]) -> Refusal {
    let allowed = push.repo.policy.committer.as_deref().unwrap_or_default();
    let reason = Reason::CommitterNotAllowed;
    Refusal {
        reason,
        rule: None,
        messages: vec![
            format!("push refused: {} names {} as its committer", short(id), escape_for_terminal(committer, &Redactor::default())),
            format!("this bottle may push only commits of {allowed}; `git rebase --force-rebase` rewrites your commits"),
        ],
        report: Report::all_refused(commands, &format!("{}: {}", reason.slug(), short(id))),
    }
}

/// Refuses a push for its findings, without repeating them.
fn found(findings: &[Finding], commands: &[Command]) -> Refusal {
    let secrets = findings.iter().any(|finding| !finding.not_scannable);
    let reason = if secrets { Reason::SecretDetected } else { Reason::BodyNotScannable };
    let n = findings.len();
    let mut messages = vec![match (secrets, n) {
        (false, _) => "push refused: not all of it can be checked".to_owned(),
        (true, 1) => "push refused: it holds what looks like a secret".to_owned(),
        (true, n) => format!("push refused: it holds what looks like a secret, in {n} places"),
    }];
    messages.extend(findings.iter().map(|finding| format!("  {}", describe(finding))));
    messages.push(
        "take it out of the history (git commit --amend, git rebase), then push again; marks like `gitleaks:allow` do not count".into(),
    );
    let first = describe(&findings[0]);
    let report = Report::all_refused(commands, &format!("{}: {first}", reason.slug()));
    Refusal { reason, rule: Some(findings[0].rule.clone()), messages, report }
}

fn describe(finding: &Finding) -> String {
    let Finding { rule, commit, place, encodings, .. } = finding;
    let encoded = if encodings.is_empty() { String::new() } else { format!(" ({})", encodings.join(", ")) };
    match commit {
        Some(commit) => format!("{rule}{encoded} in commit {}, {place}", short(*commit)),
        None => format!("{rule}{encoded} in {place}"),
    }
}
