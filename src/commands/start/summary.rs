//! What the operator reads after a run: nothing, unless there is something to say.

use std::time::Duration;

use crate::commands::ending::{self, Requests};
use crate::error::Error;
use crate::lifecycle::Report;
use crate::plan::Plan;
use crate::store::Claim;
use crate::terminal::Messages;

/// Says how the run ended, what is left or missing, what the agent changed, and, if the records stay, the hash of the timeline.
pub(super) fn tell(report: &Report, plan: &Plan, claim: &mut Claim, time: Duration, records_stay: bool) {
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
    match ending::changes(claim) {
        Ok(text) => messages.write(&text),
        Err(error) => error_line(&error, &mut messages),
    }
    let requests = Requests::of(claim.state().path());
    messages.write(&ending::line(claim.id().as_str(), time, &requests));
    if requests.redacted > 0
        && let Err(error) = claim.update(|metadata| metadata.redacted = requests.redacted)
    {
        error_line(&error, &mut messages);
    }
    if let Some(head) = report.head.as_ref().filter(|_| records_stay) {
        // Kept elsewhere, it proves that nobody has rewritten the timeline, or cut records off its end.
        messages.write(&format!("record: bottle audit verify {} --head {head}\n", claim.id()));
    }
}

pub(super) fn error_line(error: &Error, messages: &mut Messages) {
    messages.write(&format!("{error}\n"));
}
