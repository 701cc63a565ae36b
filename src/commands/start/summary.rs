//! What the operator reads after a run: nothing, unless there is something to say.

use crate::backend::kind::Kind;
use crate::error::Error;
use crate::lifecycle::{Report, outcome};
use crate::plan::Plan;
use crate::signals;
use crate::store::{Claim, Object};
use crate::terminal::Messages;
use crate::workspace;

/// Says how the run ended, what is left or missing, what the agent changed, and the hash of the record.
pub(super) fn tell(report: &Report, plan: &Plan, claim: &mut Claim) {
    let mut messages = Messages::default();
    if report.outcome.has_unfinished_line() {
        messages.write("\n");
    }
    let program = plan.agent.argv.first().map_or("", String::as_str);
    if let Some(error) = report.outcome.error() {
        error_line(error, &mut messages);
    } else if let Some(sentence) = report.outcome.sentence(program) {
        error_line(&sentence, &mut messages);
    }
    report.troubles.iter().for_each(|error| error_line(error, &mut messages));
    tell_changes(claim, &mut messages);
    if let Some(head) = &report.head {
        // Kept elsewhere, it proves that nobody has rewritten the timeline, or cut records off its end.
        messages.write(&format!("record: bottle audit verify {} --head {head}\n", claim.id()));
    }
}

/// What the agent did to its working directory. Without changes nothing of it is kept.
fn tell_changes(claim: &mut Claim, messages: &mut Messages) {
    let Some(place) = claim.metadata().workspace.clone() else { return };
    // What ended the agent does not call this off, only what comes from here on.
    signals::forget();
    let result = workspace::changes(&place).and_then(|changes| {
        if let Some(signal) = signals::asked() {
            let hint = format!("`bottle diff {}` shows it", claim.id());
            return Err(Error::failed("what the agent changed was not counted", outcome::name(signal), hint));
        }
        if changes.list.is_empty() && changes.skipped.is_empty() {
            Kind::of(claim).remove_workspace(claim)?;
            return claim.update(|m| {
                m.workspace = None;
                m.objects.retain(|object| !matches!(object, Object::WorkspaceDir(_)));
            });
        }
        let id = claim.id();
        let text = format!("{}`bottle diff {id}` shows it, `bottle apply {id}` brings it here\n", workspace::summary(&changes));
        messages.write(&text);
        Ok(())
    });
    if let Err(error) = result {
        error_line(&error, messages);
    }
}

pub(super) fn error_line(error: &Error, messages: &mut Messages) {
    messages.write(&format!("{error}\n"));
}
