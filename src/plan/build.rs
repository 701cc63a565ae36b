//! Builds the plan from a resolved agent and the facts. Pure: the same input gives the same plan.

use bottle_contract::RuleFile;

use super::agent::{self, Run, SCRATCH_BYTES};
use super::program::{self, Program};
use super::sidecars::{self, SidecarInput};
use super::workspace::{Place, WorkspacePlan};
use super::{AgentPlan, LimitsPlan, Plan, git, step};
use crate::manifest::model::{Resolved, WorkspaceMode};

/// The host's properties that the plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where the operator works.
    pub place: Place,
    /// Standard input and output are terminals.
    pub terminal: bool,
    /// The operator's `TERM`.
    pub term: Option<String>,
    /// The agent's own program, if it has one and the host has it.
    pub program: Option<Program>,
    /// The rule files that the bottle names.
    pub rules: Vec<RuleFile>,
}

/// The default memory limit, in bytes.
const MEMORY: u64 = 8 << 30;
/// The default limit of processes: enough for a parallel build of a large project.
const PIDS: u64 = 4096;

/// Builds the plan of a start.
pub fn plan(resolved: &Resolved, id: &str, run: &Run, facts: &Facts) -> Plan {
    let Resolved { agent, bottle } = resolved;
    let input = SidecarInput { id, bottle, author: git::author(agent, bottle), rules: &facts.rules };
    let terminal = facts.terminal && !run.headless;
    let sidecars = sidecars::sidecars(&input);
    let workspace = WorkspacePlan::new(resolved.workspace(), &facts.place);
    let directory = workspace.start(&facts.place);
    let exposed = (workspace.mode == WorkspaceMode::Mount && !facts.place.hidden.is_empty()).then(|| {
        format!("{} files that look like credentials are visible: only an overlay or a copy hides them", facts.place.hidden.len())
    });
    let visible = facts.program.as_ref().map(program::visible).unwrap_or_default();
    let mut plan = Plan {
        version: 1,
        id: id.to_owned(),
        bottle: bottle.name.clone(),
        agent: AgentPlan {
            name: agent.name.clone(),
            argv: agent::argv(agent, run),
            env: agent::env(agent, &input, facts.term.as_deref().filter(|_| terminal)),
            terminal,
            hosts: sidecars
                .iter()
                .filter(|s| s.listeners.iter().any(|l| matches!(l.dialled_by, super::Dialler::Agent(_))))
                .map(|s| s.component.clone())
                .collect(),
            trusts: sidecars::proxy(&input).0.to_owned(),
            links: visible.links,
            files: agent::files(agent, bottle, &directory),
            directory,
        },
        workspace,
        rootfs: bottle.rootfs.clone(),
        tools: bottle.tools.iter().cloned().chain(visible.trees).collect(),
        sidecars,
        limits: LimitsPlan {
            memory: bottle.limits.memory.unwrap_or(MEMORY),
            memory_is_required: bottle.limits.memory.is_some(),
            scratch: bottle.limits.scratch.unwrap_or(SCRATCH_BYTES),
            pids: bottle.limits.pids.unwrap_or(PIDS),
            time: bottle.limits.time,
        },
        notes: resolved.notes().into_iter().chain(facts.place.notes.iter().cloned()).chain(exposed).collect(),
        steps: Vec::new(),
    };
    plan.steps = step::steps(&plan);
    plan
}
