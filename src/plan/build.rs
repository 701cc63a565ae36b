//! From a wish and the facts to a plan. Pure: the same input gives the same plan.

use bottle_contract::RuleFile;

use super::agent::{self, Run};
use super::program::{self, Program};
use super::sidecars::{self, Wish};
use super::workspace::{Place, WorkspacePlan};
use super::{AgentPlan, LimitsPlan, Plan, git, step};
use crate::manifest::model::{Resolved, WorkspaceMode};

/// What the host is like, as far as the plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where the operator works.
    pub place: Place,
    /// Both ends of the conversation are terminals.
    pub terminal: bool,
    /// The operator's `TERM`.
    pub term: Option<String>,
    /// The agent's own program, if it has one and the host has it.
    pub program: Option<Program>,
    /// What is in the rule files that the bottle names.
    pub rules: Vec<RuleFile>,
}

/// Memory for an agent whose manifest names none, in bytes.
const MEMORY: u64 = 8 << 30;
/// Bytes of each file system in memory for an agent whose manifest names none; pages count only once they are written.
const SCRATCH: u64 = 4 << 30;
/// Processes for an agent whose manifest names no number: a parallel build of a large project stays below.
const PIDS: u64 = 4096;

/// Everything that a start will do.
pub fn plan(resolved: &Resolved, id: &str, run: &Run, facts: &Facts) -> Plan {
    let Resolved { agent, bottle } = resolved;
    let wish = Wish { id, bottle, author: git::author(agent, bottle), rules: &facts.rules };
    let terminal = facts.terminal && !run.headless;
    let sidecars = sidecars::sidecars(&wish);
    let workspace = WorkspacePlan::new(resolved.workspace(), &facts.place);
    let directory = workspace.start(&facts.place);
    let visible = (workspace.mode == WorkspaceMode::Mount && !facts.place.hidden.is_empty()).then(|| {
        format!("{} files that look like credentials are visible: only an overlay or a copy hides them", facts.place.hidden.len())
    });
    let shown = facts.program.as_ref().map(program::shown).unwrap_or_default();
    let mut plan = Plan {
        version: 1,
        id: id.to_owned(),
        bottle: bottle.name.clone(),
        agent: AgentPlan {
            name: agent.name.clone(),
            argv: agent::argv(agent, run),
            env: agent::env(agent, &wish, facts.term.as_deref().filter(|_| terminal)),
            terminal,
            hosts: sidecars
                .iter()
                .filter(|s| s.listeners.iter().any(|l| matches!(l.dialled_by, super::Dialler::Agent(_))))
                .map(|s| s.component.clone())
                .collect(),
            trusts: sidecars::proxy(&wish).0.to_owned(),
            links: shown.links,
            files: agent::files(agent, bottle, &directory),
            directory,
        },
        workspace,
        rootfs: bottle.rootfs.clone(),
        tools: bottle.tools.iter().cloned().chain(shown.trees).collect(),
        sidecars,
        limits: LimitsPlan {
            memory: bottle.limits.memory.unwrap_or(MEMORY),
            memory_is_required: bottle.limits.memory.is_some(),
            scratch: bottle.limits.scratch.unwrap_or(SCRATCH),
            pids: bottle.limits.pids.unwrap_or(PIDS),
            time: bottle.limits.time,
        },
        notes: resolved.notes().into_iter().chain(facts.place.notes.iter().cloned()).chain(visible).collect(),
        steps: Vec::new(),
    };
    plan.steps = step::steps(&plan);
    plan
}
