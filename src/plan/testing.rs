//! A plan for tests of what performs plans.

use std::collections::BTreeMap;

use super::{AgentPlan, LimitsPlan, Plan, Step, WorkspacePlan};
use crate::manifest::model::{Rootfs, WorkspaceMode};

/// A bottle `web` without sidecars, in whose only step the agent is released.
pub(crate) fn bare() -> Plan {
    Plan {
        version: 1,
        id: "web".to_owned(),
        bottle: "closed".to_owned(),
        agent: AgentPlan {
            name: "shell".to_owned(),
            argv: vec!["/bin/true".to_owned()],
            env: BTreeMap::new(),
            terminal: false,
            directory: "/workspace".into(),
            hosts: Vec::new(),
            trusts: "pipelock".to_owned(),
            links: BTreeMap::new(),
            files: BTreeMap::new(),
        },
        workspace: WorkspacePlan {
            mode: WorkspaceMode::None,
            source: "/".into(),
            target: "/workspace".into(),
            git: None,
            hidden: Vec::new(),
        },
        rootfs: Rootfs::Host,
        tools: Vec::new(),
        sidecars: Vec::new(),
        limits: LimitsPlan { memory: 1 << 30, memory_is_required: false, scratch: 1 << 20, pids: 64, time: None },
        routes: Vec::new(),
        notes: Vec::new(),
        steps: vec![Step::Release],
    }
}
