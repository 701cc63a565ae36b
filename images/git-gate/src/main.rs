//! The `git-gate` sidecar.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bottle_contract::names;
use bottle_contract::pipelock::Limits;
use bottle_git_gate::gate::Gate;
use bottle_git_gate::gate_policy::GatePolicy;
use bottle_wire::reload::Reloadable;
use bottle_wire::run::{Sidecar, run, serve_reloadable};
use bottle_wire::{Events, Peer, Serving, serve};

/// The proxy's own limit is off: each repository bounds its packs, and `fetch_request_bytes` bounds fetches.
const MAX_BODY_BYTES: u64 = u64::MAX >> 1;

fn main() -> ExitCode {
    run(git_gate)
}

async fn git_gate(mut sidecar: Sidecar, events: Events) -> anyhow::Result<()> {
    let socket = sidecar.listener(names::listener::AGENT).context("no listener for the agent was handed over")?;
    let policy = GatePolicy::read(&sidecar.config, &sidecar.secrets, None)?;
    let limits = Limits { connections: policy.limits.connections, body_bytes: MAX_BODY_BYTES, ..Limits::default() };
    let policy = Arc::new(Reloadable::new(policy));
    let serving = Serving {
        component: names::GIT_GATE.0,
        peer: Peer::Agent,
        authority: None,
        limits,
        events: events.clone(),
        stop: sidecar.stop.clone(),
    };
    let serving = serve(socket, serving, Gate::new(policy.clone(), events.clone()));
    let (config, secrets) = (sidecar.config, sidecar.secrets);
    let read_again = |before: &GatePolicy| GatePolicy::read(&config, &secrets, Some(before));
    serve_reloadable(serving, &policy, read_again, sidecar.ready, sidecar.reload, &events).await
}
