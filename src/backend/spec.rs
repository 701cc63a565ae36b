//! The specification of a component, as far as it is the same in every backend; each adds how it reaches networks and files. Pure.

use std::path::PathBuf;

use bottle_contract::names;
use bottle_init::spec::{Exec, Mode, SeccompProfile, Spec, Surroundings, UnixSockets};

use super::provision;
use crate::manifest::model::WorkspaceMode;
use crate::plan::agent::{AGENT, HOME};
use crate::plan::{Network, Plan, SidecarPlan};
use crate::values::Values;

/// Bytes of a core dump: fewer than one has. With none at all the kernel still starts the host's program that takes dumps, as root; one byte
/// is the value that keeps it from that (core(5)).
const NO_CORE: u64 = 1;

/// The agent's.
pub(super) fn agent(plan: &Plan, values: &Values, window: (u16, u16), surroundings: Surroundings) -> Spec {
    Spec {
        terminal: plan.agent.terminal,
        window,
        exec: Exec {
            program_fd: None,
            argv: plan.agent.argv.clone(),
            env: values.env.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect(),
            cwd: plan.agent.directory.clone(),
        },
        seccomp: match plan.workspace.mode {
            WorkspaceMode::Mount => SeccompProfile::AgentOnHostTree,
            // Changes are taken over without these bits.
            WorkspaceMode::Overlay | WorkspaceMode::Copy | WorkspaceMode::None => SeccompProfile::Agent,
        },
        sockets: match (plan.workspace.mode, &surroundings) {
            // Whatever is written reaches the host's own tree, in which the host may listen.
            (WorkspaceMode::Mount, Surroundings::Fresh) => UnixSockets::Judged,
            // An engine leaves no process there the privilege to judge them.
            (WorkspaceMode::Mount, Surroundings::Container { .. }) => UnixSockets::Pairs,
            (WorkspaceMode::Overlay | WorkspaceMode::Copy | WorkspaceMode::None, _) => UnixSockets::All,
        },
        writable: agent_writable(plan),
        ..blank(AGENT, &plan.id, Mode::Agent, surroundings)
    }
}

/// A sidecar's: `program` is what it is called, and it finds its listeners by the variables in `handed`.
pub(super) fn sidecar(sidecar: &SidecarPlan, program: String, handed: Vec<(String, String)>, surroundings: Surroundings) -> Spec {
    let mut env = handed;
    if sidecar.host_resolution {
        env.push(("SSL_CERT_FILE".into(), format!("{}/{}", names::CONFIG_DIR, provision::ROOTS)));
    }
    Spec {
        own_network: sidecar.network == Network::None,
        exec: Exec { program_fd: None, argv: vec![program], env, cwd: "/".into() },
        ..blank(&sidecar.component, &sidecar.component, Mode::Sidecar, surroundings)
    }
}

/// Where landlock lets the agent write.
fn agent_writable(plan: &Plan) -> Vec<PathBuf> {
    ["/tmp", "/var/tmp", "/run", HOME, "/dev", "/proc"]
        .iter()
        .map(PathBuf::from)
        .chain([plan.workspace.target.clone()])
        .chain(plan.workspace.git.clone())
        .collect()
}

fn blank(component: &str, hostname: &str, mode: Mode, surroundings: Surroundings) -> Spec {
    Spec {
        component: component.to_owned(),
        hostname: hostname.to_owned(),
        mode,
        surroundings,
        own_network: true,
        local: Vec::new(),
        listen: Vec::new(),
        image: None,
        mounts: Vec::new(),
        terminal: false,
        window: (0, 0),
        supervisor_fd: None,
        stdio_fds: [0; 3],
        passed_fds: Vec::new(),
        group_fds: Vec::new(),
        exec: Exec { program_fd: None, argv: Vec::new(), env: Vec::new(), cwd: "/".into() },
        rlimits: vec![(libc::RLIMIT_CORE, NO_CORE)],
        seccomp: SeccompProfile::Sidecar,
        sockets: UnixSockets::All,
        renames_directories: false,
        writable: Vec::new(),
    }
}
