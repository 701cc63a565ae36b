//! The `git-gate` sidecar.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use bottle_contract::names;
use bottle_contract::pipelock::Limits;
use bottle_git_gate::gate::Gate;
use bottle_git_gate::table::Table;
use bottle_wire::reload::Reloadable;
use bottle_wire::run::{Sidecar, run, serve_reloadable};
use bottle_wire::{Events, Peer, Serving, serve};

/// A request may be as long as the largest pack that any repository takes; each has its own bound.
const MAX_BODY_BYTES: u64 = u64::MAX >> 1;

fn main() -> ExitCode {
    run(git_gate)
}

async fn git_gate(mut sidecar: Sidecar, events: Events) -> Result<(), String> {
    let socket = sidecar.listener(names::listener::AGENT).ok_or("no listener for the agent was handed over")?;
    let table = Table::read(&sidecar.config, &sidecar.secrets)?;
    let limits = Limits { connections: table.limits.connections, body_bytes: MAX_BODY_BYTES, ..Limits::default() };
    let live = Arc::new(Reloadable::new(table));
    let serving = Serving {
        component: names::GIT_GATE.0,
        peer: Peer::Agent,
        authority: None,
        limits,
        events: events.clone(),
        stop: sidecar.stop.clone(),
    };
    let serving = serve(socket, serving, Gate::new(live.clone(), events.clone()));
    let (config, secrets) = (sidecar.config, sidecar.secrets);
    let again = |_: &Table| Table::read(&config, &secrets);
    serve_reloadable(serving, &live, again, sidecar.ready, sidecar.reload, &events).await
}
