//! The steps of a start, in the words of the operator. Each has an undo; together they read as the script of a bottle.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::{Dialler, Direct, Plan};

/// One thing that a start does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A private directory in memory for keys, secrets and sockets.
    RuntimeDirectory,
    /// A certificate authority that only this bottle trusts.
    Authority(String),
    /// A sidecar's configuration.
    Configuration(String),
    /// A sidecar's secrets, by the names of their slots.
    Secrets(String, Vec<String>),
    /// The agent's working directory.
    Workspace(#[serde(serialize_with = "bottle_init::host_path::serialize")] PathBuf),
    /// Control groups.
    Limits,
    /// The agent's namespaces and root file system, with pid 1 waiting.
    Cage,
    /// A socket.
    Listen(String, Dialler),
    /// A sidecar.
    Sidecar(String),
    /// The agent's first instruction, once every sidecar has said that it serves.
    Release,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuntimeDirectory => f.write_str("make a private directory in memory"),
            Self::Authority(component) => write!(f, "make a certificate authority for {component}"),
            Self::Configuration(component) => write!(f, "write the configuration of {component}"),
            Self::Secrets(component, slots) => write!(f, "hand {} to {component}", slots.join(", ")),
            Self::Workspace(source) => write!(f, "prepare the working directory from {}", source.display()),
            Self::Limits => f.write_str("set the limits"),
            Self::Cage => f.write_str("close the agent in: namespaces, root file system, no route"),
            Self::Listen(component, Dialler::Agent(port)) => write!(f, "listen for {component} on port {port} of the agent's network"),
            Self::Listen(component, Dialler::Direct(Direct::Port(port))) => {
                write!(f, "listen for {component} on port {port} of the addresses that names have in the agent's network")
            }
            Self::Listen(component, Dialler::Direct(Direct::ResolverUdp)) => {
                write!(f, "receive for {component} what the agent's resolver is asked, over UDP")
            }
            Self::Listen(component, Dialler::Direct(Direct::ResolverTcp)) => {
                write!(f, "listen for {component} to what the agent's resolver is asked, over TCP")
            }
            Self::Listen(component, Dialler::Direct(Direct::Refusals)) => {
                write!(f, "let {component} see which connections the agent's network refuses")
            }
            Self::Listen(component, Dialler::Siblings(socket)) => write!(f, "listen for {component} on the link {socket}"),
            Self::Listen(component, Dialler::Supervisor) => write!(f, "connect {component} to the supervisor"),
            Self::Sidecar(component) => write!(f, "start {component}"),
            Self::Release => f.write_str("start the agent, once every sidecar serves"),
        }
    }
}

/// The script of a plan. Order matters: an authority before the component that signs with it, the agent's network before
/// the sockets in it, every sidecar before the agent.
pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    let mut steps = vec![Step::RuntimeDirectory];
    for sidecar in &plan.sidecars {
        let component = || sidecar.component.clone();
        if sidecar.authority {
            steps.push(Step::Authority(component()));
        }
        steps.push(Step::Configuration(component()));
        if !sidecar.secrets.is_empty() {
            steps.push(Step::Secrets(component(), sidecar.secrets.iter().map(|s| s.slot.clone()).collect()));
        }
    }
    steps.extend([Step::Workspace(plan.workspace.source.clone()), Step::Limits, Step::Cage]);
    for sidecar in &plan.sidecars {
        let listens = sidecar.listeners.iter().map(|l| Step::Listen(sidecar.component.clone(), l.dialled_by.clone()));
        steps.extend(listens);
        steps.push(Step::Sidecar(sidecar.component.clone()));
    }
    steps.push(Step::Release);
    steps
}
