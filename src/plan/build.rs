//! Builds the plan from a resolved agent and the facts. Pure: the same input gives the same plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bottle_contract::RuleFile;

use super::agent::{self, Invocation, SCRATCH_BYTES};
use super::program::{self, Program};
use super::sidecars::{self, Again, SidecarInput};
use super::toolchains::Toolchains;
use super::workspace::{Place, WorkspacePlan};
use super::{AgentPlan, LimitsPlan, Plan, RouteCount, command_line, git, home, instructions, step};
use crate::manifest::model::{Bottle, Resolved, Rootfs, WorkspaceMode};

/// The host's properties that the plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where the operator works.
    pub place: Place,
    /// Standard input and output are terminals.
    pub terminal: bool,
    /// The operator's `TERM`.
    pub term: Option<String>,
    /// The programs of the agent that the host has: the one that runs, and its provider's.
    pub programs: Vec<Program>,
    /// Programs and toolchains of the operator's home.
    pub toolchains: Toolchains,
    /// The rule files that the bottle names.
    pub rules: Vec<RuleFile>,
    /// Files of the operator's that the agent gets copies of, by their path in its home.
    pub home: BTreeMap<PathBuf, String>,
    /// The backend can make addresses local to the agent's network, so that names have some.
    pub has_local_names: bool,
}

impl Facts {
    /// For a plan that is only looked at, and never performed: nothing of the host but the rule files.
    pub fn minimal(rules: Vec<RuleFile>) -> Self {
        Self {
            place: Place::plain("/"),
            terminal: false,
            term: None,
            programs: Vec::new(),
            toolchains: Toolchains::default(),
            rules,
            home: BTreeMap::new(),
            has_local_names: true,
        }
    }
}

/// The default memory limit, in bytes.
const MEMORY: u64 = 8 << 30;
/// The default limit of processes: enough for a parallel build of a large project.
const PIDS: u64 = 4096;

/// Builds the plan of a start.
pub fn plan(resolved: &Resolved, id: &str, invocation: &Invocation, facts: &Facts) -> Plan {
    again(resolved, id, invocation, facts, Again::START)
}

/// Builds the plan that a bottle which runs would have.
pub(super) fn again(resolved: &Resolved, id: &str, invocation: &Invocation, facts: &Facts, again: Again<'_>) -> Plan {
    let Resolved { agent, bottle } = resolved;
    let obtain = agent.program.provider().map(agent::obtain).unwrap_or_default();
    let input = SidecarInput {
        id,
        bottle,
        author: git::author(agent, bottle),
        rules: &facts.rules,
        obtain,
        has_local_names: facts.has_local_names,
        again,
    };
    let terminal = facts.terminal && !invocation.headless;
    let sidecars = sidecars::sidecars(&input);
    let workspace = WorkspacePlan::new(resolved.workspace(), &facts.place);
    let directory = workspace.start(&facts.place);
    let exposed = (workspace.mode == WorkspaceMode::Mount && !facts.place.hidden.is_empty()).then(|| {
        format!("{} files that look like credentials are visible: only an overlay or a copy hides them", facts.place.hidden.len())
    });
    let none = Toolchains::default();
    let toolchains = if bottle.toolchains && bottle.rootfs == Rootfs::Host { &facts.toolchains } else { &none };
    let visible = program::visible(&facts.programs, toolchains);
    let links: BTreeMap<PathBuf, PathBuf> = toolchains.links.clone().into_iter().chain(visible.links).collect();
    let text = instructions::text(&agent.prompt, &input);
    let mut plan = Plan {
        version: 1,
        id: id.to_owned(),
        bottle: bottle.name.clone(),
        agent: AgentPlan {
            name: agent.name.clone(),
            argv: command_line::argv(agent, invocation, &text),
            env: agent::env(agent, &input, facts.term.as_deref().filter(|_| terminal), &directory, toolchains, !links.is_empty()),
            terminal,
            hosts: sidecars
                .iter()
                .filter(|s| s.listeners.iter().any(|l| matches!(l.dialled_by, super::Dialler::Agent(_))))
                .map(|s| s.component.clone())
                .collect(),
            trusts: sidecars::proxy(&input).0.to_owned(),
            links,
            files: home::files(agent, bottle, &directory, &text, &facts.home),
            directory,
        },
        workspace,
        rootfs: bottle.rootfs.clone(),
        tools: bottle.tools.iter().chain(&toolchains.trees).cloned().chain(visible.trees).collect(),
        sidecars,
        limits: LimitsPlan {
            memory: bottle.limits.memory.unwrap_or(MEMORY),
            memory_is_required: bottle.limits.memory.is_some(),
            scratch: bottle.limits.scratch.unwrap_or(SCRATCH_BYTES),
            pids: bottle.limits.pids.unwrap_or(PIDS),
            time: bottle.limits.time,
        },
        routes: reach(bottle),
        notes: [resolved.notes(), facts.place.notes.clone(), exposed.into_iter().collect(), toolchains.notes()].concat(),
        steps: Vec::new(),
    };
    plan.steps = step::steps(&plan);
    plan
}

/// How many routes come from which bottle, the bottle's own first.
fn reach(bottle: &Bottle) -> Vec<RouteCount> {
    let mut counts: Vec<RouteCount> = vec![RouteCount { from: bottle.name.clone(), count: 0 }];
    for route in &bottle.egress.routes {
        match counts.iter_mut().find(|count| count.from == route.from.bottle) {
            Some(count) => count.count += 1,
            None => counts.push(RouteCount { from: route.from.bottle.clone(), count: 1 }),
        }
    }
    counts
}
