//! The journal of asks: one JSON line for each step, on disk before the step takes effect. What a crash leaves of it grants nothing.

use std::collections::BTreeMap;

use bottle_contract::supervise::AskState;
use serde::{Deserialize, Serialize};

use super::decision::Verdict;

/// The journal's file in a bottle's state directory.
pub const FILE: &str = "asks.jsonl";

/// One step of one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// It was asked.
    Asked {
        /// As in `web.3`.
        ask: String,
        /// Binds the decision.
        hash: String,
        /// The request in the timeline, if one is held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        /// What a yes would open.
        reach: Vec<String>,
        /// The row that a yes would put into the policy.
        yaml: String,
        /// The agent's own words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_says: Option<String>,
    },
    /// A person has decided.
    Decided {
        /// As in `web.3`.
        ask: String,
        /// The hash that the decision names, whole.
        hash: String,
        /// Yes or no.
        verdict: Verdict,
        /// The person's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether one of the bottle's signers has signed it.
        signed: bool,
    },
    /// The policy in force allows it.
    Granted {
        /// As in `web.3`.
        ask: String,
        /// The policy's generation.
        generation: u64,
    },
    /// It is closed, or its grant has ended.
    Closed {
        /// As in `web.3`.
        ask: String,
        /// How.
        state: AskState,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

impl Record {
    /// The question.
    pub fn ask(&self) -> &str {
        match self {
            Self::Asked { ask, .. } | Self::Decided { ask, .. } | Self::Granted { ask, .. } | Self::Closed { ask, .. } => ask,
        }
    }

    /// The event of the timeline: its name, and one sentence.
    pub fn event(&self) -> (&'static str, String) {
        match self {
            Self::Asked { ask, hash, reach, .. } => ("ask", format!("{ask} {hash}: {}", reach.join("; "))),
            Self::Decided { ask, hash, verdict, reason, signed } => {
                let verdict = match verdict {
                    Verdict::No => "no".to_owned(),
                    Verdict::Yes(lease) => format!("yes, {}", super::decision::in_words(*lease)),
                };
                let signed = if *signed { ", signed" } else { "" };
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                ("decision", format!("{ask} {hash}: {verdict}{signed}{reason}"))
            }
            Self::Granted { ask, generation } => ("ask_granted", format!("{ask}: allowed by generation {generation}")),
            Self::Closed { ask, state, why } => {
                let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let state = serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
                ("ask_closed", format!("{ask}: {state}{why}"))
            }
        }
    }
}

/// What a journal says of one question, after its bottle has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// As in `web.3`.
    pub ask: String,
    /// Its hash.
    pub hash: String,
    /// What a yes would have opened.
    pub reach: Vec<String>,
    /// How it ended. Never open, and never granted: no grant outlives its bottle.
    pub state: AskState,
    /// The person's reason, or why it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads a journal whose writer is gone. A line that is torn, of another format, or about a question that was not asked says nothing; a
/// decision that names another hash than the question's does not count.
pub fn replay(journal: &str) -> Vec<History> {
    let mut order = Vec::new();
    let mut known: BTreeMap<String, History> = BTreeMap::new();
    // A line without its newline was not written to its end.
    let whole = journal.rfind('\n').map_or("", |end| &journal[..end]);
    for record in whole.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()) {
        match record {
            Record::Asked { ask, hash, reach, .. } => {
                if !known.contains_key(&ask) {
                    order.push(ask.clone());
                    let state = AskState::Expired;
                    known.insert(ask.clone(), History { ask, hash, reach, state, reason: Some("the bottle ended first".into()) });
                }
            }
            Record::Decided { ask, hash, verdict, reason, .. } => {
                if let Some(history) = known.get_mut(&ask).filter(|history| history.hash == hash && history.state == AskState::Expired) {
                    (history.state, history.reason) = match verdict {
                        Verdict::No => (AskState::Denied, reason),
                        Verdict::Yes(_) => (AskState::Failed, Some("the bottle ended before the policy changed".into())),
                    };
                }
            }
            Record::Granted { ask, .. } => {
                if let Some(history) = known.get_mut(&ask).filter(|history| history.state == AskState::Failed) {
                    (history.state, history.reason) = (AskState::Ended, None);
                }
            }
            Record::Closed { ask, state, why } => {
                if let Some(history) =
                    known.get_mut(&ask).filter(|_| !matches!(state, AskState::Granted | AskState::Granting | AskState::Open))
                {
                    (history.state, history.reason) = (state, why.or(history.reason.take()));
                }
            }
        }
    }
    order.into_iter().filter_map(|ask| known.remove(&ask)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asks::Lease;

    fn journal() -> String {
        let asked = |ask: &str, hash: &str| Record::Asked {
            ask: ask.into(),
            hash: hash.into(),
            request_id: None,
            reach: vec![],
            yaml: String::new(),
            agent_says: None,
        };
        let decided =
            |ask: &str, hash: &str, verdict| Record::Decided { ask: ask.into(), hash: hash.into(), verdict, reason: None, signed: false };
        let records = [
            asked("web.1", "aa"),
            decided("web.1", "aa", Verdict::Yes(Lease::Bottle)),
            Record::Granted { ask: "web.1".into(), generation: 2 },
            asked("web.2", "bb"),
            decided("web.2", "aa", Verdict::Yes(Lease::Bottle)),
            Record::Granted { ask: "web.2".into(), generation: 3 },
            decided("web.3", "cc", Verdict::Yes(Lease::Bottle)),
            Record::Closed { ask: "web.2".into(), state: AskState::Denied, why: Some("not today".into()) },
        ];
        records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
    }

    // covers: M15 M01
    #[test]
    fn a_journal_that_is_cut_anywhere_grants_nothing() {
        let journal = journal();
        for cut in (0..=journal.len()).filter(|cut| journal.is_char_boundary(*cut)) {
            let histories = replay(&journal[..cut]);
            assert!(histories.iter().all(|history| !matches!(history.state, AskState::Granted | AskState::Granting | AskState::Open)));
        }
        let states: Vec<_> = replay(&journal).into_iter().map(|history| (history.ask, history.state)).collect();
        assert_eq!(states, [("web.1".to_owned(), AskState::Ended), ("web.2".to_owned(), AskState::Denied)]);
    }

    #[test]
    fn a_decision_of_another_hash_does_not_count() {
        let until_granted = journal().lines().take(6).map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(replay(&until_granted)[1].state, AskState::Expired);
    }
}
