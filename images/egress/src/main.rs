//! `egress`, the proxy that the agent sees.
//!
//! # The life of one request
//!
//! 1. The agent says `CONNECT api.github.com:443`. `bottle-wire` has parsed it strictly; [`handler::Egress`] admits it
//!    if a route names the host and port, else the agent gets a 403 before any TLS.
//!    A program that knows no proxy reaches it by the local address that its resolver gave it for the name (`bottle_wire::direct`).
//! 2. Inside TLS, each request is judged on its own by one generation of the [`egress_policy`]: route, method, canonical path
//!    (`bottle_policy::routes`), or a grant beside them, whose uses are counted ([`grant_uses`]). A `git push` over HTTPS is refused with a
//!    hint to the gate.
//!    What no route allows may be held while a person is asked ([`hold`]); it is then judged again, by the policy in force.
//! 3. If the route has a credential, what the agent sent as its own is taken out, and for `https` the real one is put
//!    in ([`credential`]). Without one, the agent's own headers pass.
//! 4. The request goes to the next hop: our `pipelock` over a unix socket ([`next_hop::sibling`]), which is told the request's id
//!    and the name of the header that was put in, or an ordinary proxy ([`next_hop::proxy`]).
//! 5. The answer streams back. If a credential was put in, it is blanked wherever the origin echoes it, in headers, body
//!    and WebSocket ([`scrub`]), so that it never enters the bottle. For this the origin is asked for plain and whole bodies;
//!    what comes compressed all the same is decoded ([`decoded`]), and a range is cut out here ([`range`]).
//!
//! What a new generation does not allow ends: WebSockets always, and every exchange that only a grant allowed. All other requests end under
//! the generation that judged them.
//!
//! `SIGHUP` reads configuration and secrets again. A policy that cannot be used, or is older, leaves the old one in
//! force, visibly: event `reload_failed`, and `http://egress:9099/_bottle/health`.
//!
//! Absent on purpose: redirects are the agent's to follow, each one judged anew; no direct way to the network.

#![forbid(unsafe_code)]

mod credential;
mod decoded;
mod egress_policy;
mod grant_uses;
mod handler;
mod hold;
mod messages;
mod next_hop;
mod pages;
mod peeked_body;
mod range;
mod scrub;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bottle_contract::names::{self, listener};
use bottle_wire::reload::Reloadable;
use bottle_wire::run::{Sidecar, run, serve_reloadable};
use bottle_wire::{Events, LeafAuthority, Peer, Serving, direct, serve_also};

use egress_policy::EgressPolicy;
use handler::Egress;

fn main() -> ExitCode {
    run(egress)
}

async fn egress(mut sidecar: Sidecar, events: Events) -> anyhow::Result<()> {
    let socket = sidecar.listener(listener::AGENT).context("no listener for the agent was handed over")?;
    let policy = EgressPolicy::read(&sidecar.config, &sidecar.secrets, None)?;
    let authority = LeafAuthority::read(&sidecar.ca)?;
    let (entrances, lookups) = direct::take(&mut sidecar, &policy.config.bottle, &events)?.unzip();
    let limits = policy.config.limits;
    let policy = Arc::new(Reloadable::new(policy));
    let serving = Serving {
        component: names::EGRESS.0,
        peer: Peer::Agent,
        authority: Some(Arc::new(authority)),
        limits,
        events: events.clone(),
        stop: sidecar.stop.clone(),
    };
    let requests = serve_also(socket, entrances, serving, Egress::new(policy.clone(), &events));
    let serving = direct::serve_beside(lookups, requests);
    let (config, secrets) = (sidecar.config, sidecar.secrets);
    let read_again = |old: &EgressPolicy| EgressPolicy::read(&config, &secrets, Some(old));
    serve_reloadable(serving, &policy, read_again, sidecar.ready, sidecar.reload, &events).await
}
