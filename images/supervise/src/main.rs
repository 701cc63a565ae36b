//! The `supervise` sidecar.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, bail};
use bottle_contract::event::Level;
use bottle_contract::names;
use bottle_contract::pipelock::Limits;
use bottle_contract::supervise::{FILE, SuperviseConfig};
use bottle_supervise::mcp::{MAX_MESSAGE_BYTES, Server};
use bottle_supervise::supervisor_link::End;
use bottle_supervise::{holders, supervisor_link};
use bottle_wire::run::{Sidecar, run};
use bottle_wire::{Events, Peer, Serving, serve};

/// Connections of the agent; each may wait for an answer.
const MAX_CONNECTIONS: usize = 64;

fn main() -> ExitCode {
    run(supervise)
}

async fn supervise(mut sidecar: Sidecar, events: Events) -> anyhow::Result<()> {
    let missing = |what: &str| format!("no `{what}` was handed over");
    let agent = sidecar.listener(names::listener::AGENT).with_context(|| missing(names::listener::AGENT))?;
    let link = sidecar.listener(names::listener::LINK).with_context(|| missing(names::listener::LINK))?;
    let supervisor = sidecar.listener(names::listener::SUPERVISOR).with_context(|| missing(names::listener::SUPERVISOR))?;
    let text = std::fs::read(sidecar.config.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let _: SuperviseConfig = serde_json::from_slice(&text).with_context(|| format!("{FILE} is not valid"))?;

    let (link_to_supervisor, conversation) = supervisor_link::open(supervisor)?;
    let holders = holders::serve(link, link_to_supervisor.clone())?;
    let limits = Limits { connections: MAX_CONNECTIONS, body_bytes: MAX_MESSAGE_BYTES as u64, ..Limits::default() };
    let serving = Serving {
        component: names::SUPERVISE.0,
        peer: Peer::Agent,
        authority: None,
        limits,
        events: events.clone(),
        stop: sidecar.stop.clone(),
    };
    let serving = serve(agent, serving, Server::new(link_to_supervisor));
    events.write(&Events::event(Level::Info, "ready"));
    sidecar.ready.say()?;
    let mut reload = sidecar.reload;
    // Its configuration names the bottle only: there is nothing to read again.
    tokio::spawn(async move {
        loop {
            reload.asked().await;
            events.write(&Events::event(Level::Info, "reload"));
        }
    });
    tokio::select! {
        ended = serving => ended.context("the listener failed"),
        ended = holders => ended.context("the link failed"),
        end = conversation => match end {
            // Nobody is left to hear of it.
            End::Left => Ok(()),
            End::Unclear => bail!("the supervisor says what is no message"),
        },
    }
}
