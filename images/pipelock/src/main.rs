//! The `pipelock` sidecar.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bottle_contract::event::Level;
use bottle_contract::names;
use bottle_pipelock::door::Door;
use bottle_pipelock::origin::dial::{Dialer, Kernel};
use bottle_pipelock::origin::resolver;
use bottle_pipelock::read_config;
use bottle_policy::guard::interfaces;
use bottle_wire::run::{Sidecar, run};
use bottle_wire::{Events, LeafAuthority, Peer, Serving, direct, serve, serve_also};

fn main() -> ExitCode {
    run(pipelock)
}

async fn pipelock(mut sidecar: Sidecar, events: Events) -> anyhow::Result<()> {
    let policy = read_config::read(&sidecar.config, None)?;
    let link = sidecar.listener(names::listener::LINK);
    let agent = sidecar.listener(names::listener::AGENT);
    if link.is_none() && agent.is_none() {
        bail!("no listening socket was handed over: `link`, `agent` or both");
    }
    let (entrances, lookups) = direct::take(&mut sidecar, &policy.bottle, &events)?.unzip();
    // Only pipelock's own authority can sign for hosts that the agent asks for; without one, CONNECT is refused.
    let authority = match agent.is_some() && policy.intercepts {
        true => Some(Arc::new(LeafAuthority::read(&sidecar.ca)?)),
        false => None,
    };
    let own = agent.as_ref().map(own_address).transpose()?;
    let system = Arc::new(resolver::System::default());
    let dialer = Dialer {
        resolve: system.clone(),
        dial: Arc::new(Kernel),
        interfaces: Arc::new(interfaces::System::default()),
        own: own.into_iter().collect(),
    };
    let (limits, generation) = (policy.limits, policy.generation);
    let door = Door::new(policy, dialer, events.clone())?;
    let serving = |peer, authority| Serving {
        component: names::PIPELOCK.0,
        peer,
        authority,
        limits,
        events: events.clone(),
        stop: sidecar.stop.clone(),
    };
    let link = link.map(|socket| serve(socket, serving(Peer::Sibling, None), door.clone()));
    let agent = agent.map(|socket| serve_also(socket, entrances, serving(Peer::Agent, authority), door.clone()));

    let mut ready = Events::event(Level::Info, "ready");
    ready.generation = Some(generation);
    events.write(&ready);
    sidecar.ready.say()?;

    let (config, mut reload) = (sidecar.config, sidecar.reload);
    tokio::spawn(async move {
        loop {
            reload.asked().await;
            // The resolver's files may have changed with the network.
            system.forget();
            door.reload(&config);
        }
    });
    let link = async {
        match link {
            Some(link) => link.await.context("the `link` listener failed"),
            None => Ok(()),
        }
    };
    let agent = async {
        match agent {
            Some(agent) => direct::serve_beside(lookups, agent).await.context("the `agent` listener failed"),
            None => Ok(()),
        }
    };
    tokio::try_join!(link, agent).map(|_| ())
}

/// Where a TCP listener listens.
fn own_address(socket: &OwnedFd) -> anyhow::Result<SocketAddr> {
    let socket = socket.try_clone()?;
    std::net::TcpListener::from(socket).local_addr().context("the `agent` listener is not a TCP socket")
}
