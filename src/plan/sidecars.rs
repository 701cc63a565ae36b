//! The sidecars of a bottle, and the plan of each. To add a sidecar, add a function to [`SIDECARS`], and its configuration to
//! [`super::sidecar_config`].

use std::collections::{BTreeMap, BTreeSet};

use bottle_contract::RuleFile;
use bottle_contract::egress::{Asks, EgressConfig, Upstream};
use bottle_contract::gate::GateConfig;
use bottle_contract::names::{self, listener};
use bottle_contract::pipelock::{Connect, Extension, Parent, PipelockConfig, Ports, Switch, TlsInterception};
use bottle_contract::route;
use bottle_contract::supervise::SuperviseConfig;

use super::{Dialler, ListenerPlan, Network, SecretPlan, SidecarPlan, git};
use crate::manifest::model::{Author, Bottle, Route};

/// The input of a sidecar's plan.
pub(super) struct SidecarInput<'a> {
    pub(super) id: &'a str,
    pub(super) bottle: &'a Bottle,
    /// Whom commits name.
    pub(super) author: Author,
    /// The rule files that it names.
    pub(super) rules: &'a [RuleFile],
    /// Where a person gets a token, by its name.
    pub(super) obtain: BTreeMap<String, String>,
}

impl SidecarInput<'_> {
    /// Without routes there is nothing to inject, and the agent dials pipelock directly. Where a person may be asked for the first one, egress
    /// is there from the start.
    pub(super) fn has_egress(&self) -> bool {
        !self.bottle.egress.routes.is_empty() || self.bottle.supervise.is_some()
    }

    fn trust_file(index: usize) -> String {
        format!("trust-{index}.pem")
    }
}

/// In the order of start: a sidecar comes after those that it needs.
const SIDECARS: &[fn(&SidecarInput<'_>) -> Option<SidecarPlan>] = &[pipelock, supervise, egress, git_gate];

/// The sidecars of a bottle.
pub(super) fn sidecars(input: &SidecarInput<'_>) -> Vec<SidecarPlan> {
    SIDECARS.iter().filter_map(|row| row(input)).collect()
}

/// The agent's proxy.
pub(super) fn proxy(input: &SidecarInput<'_>) -> (&'static str, u16) {
    if input.has_egress() { names::EGRESS } else { names::PIPELOCK }
}

/// The distinct secrets of the routes, numbered in the order of their first use.
pub(super) fn slots(routes: &[Route]) -> BTreeMap<String, String> {
    let mut slots = BTreeMap::new();
    for auth in routes.iter().filter_map(|r| r.auth.as_ref()) {
        let next = format!("EGRESS_TOKEN_{}", slots.len());
        slots.entry(auth.token_ref.clone()).or_insert(next);
    }
    slots
}

fn pipelock(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    let (name, port) = names::PIPELOCK;
    let faces_agent = !input.has_egress();
    let egress = &input.bottle.egress;
    let mut listeners = Vec::new();
    if faces_agent {
        listeners.push(ListenerPlan { name: listener::AGENT.into(), dialled_by: Dialler::Agent(port) });
    }
    if !faces_agent || !input.bottle.git.is_empty() {
        listeners.push(ListenerPlan { name: listener::LINK.into(), dialled_by: Dialler::Siblings(names::PIPELOCK_SOCKET.into()) });
    }
    let mut trust: BTreeMap<_, _> = egress.trust.iter().enumerate().map(|(n, path)| (SidecarInput::trust_file(n), path.clone())).collect();
    let in_config = |file: &str| format!("{}/{file}", names::CONFIG_DIR);
    let in_ca = |file: &str| format!("{}/{file}", names::CA_DIR);
    let trusted = trust.keys().map(|file| in_config(file)).collect();
    let parent = egress.parent.as_ref().map(|parent| Parent {
        address: parent.address,
        ca: parent.ca.as_ref().map(|path| {
            trust.insert("parent.pem".into(), path.clone());
            in_config("parent.pem")
        }),
    });
    let ports = egress.routes.iter().filter(|r| r.ports != route::DEFAULT_PORTS);
    let closed = PipelockConfig::closed(input.id);
    let config = PipelockConfig {
        api_allowlist: egress.routes.iter().map(|r| r.host.clone()).collect(),
        tls_interception: TlsInterception { enabled: faces_agent, ca_cert: in_ca(names::CA_CERT), ca_key: in_ca(names::CA_KEY) },
        response_scanning: Switch { enabled: input.bottle.scan.answers },
        x_bottle: Extension {
            rules: input.rules.to_vec(),
            ports: ports.map(|r| Ports { host: r.host.clone(), ports: r.ports.clone() }).collect(),
            connect: egress.routes.iter().filter_map(|r| r.connect.map(|address| Connect { host: r.host.clone(), address })).collect(),
            trust: trusted,
            tunnels: git::tunnels(&input.bottle.git),
            parent,
            ..closed.x_bottle
        },
        ..closed
    };
    Some(SidecarPlan {
        component: name.into(),
        network: Network::Host,
        listeners,
        config: config.into(),
        authority: faces_agent,
        secrets: Vec::new(),
        trust,
        dials_siblings: false,
        host_resolution: true,
        recognises_secrets: true,
    })
}

fn egress(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    if !input.has_egress() {
        return None;
    }
    let (name, port) = names::EGRESS;
    let routes = &input.bottle.egress.routes;
    let slots = slots(routes);
    let row = |r: &Route| route::Route {
        host: r.host.clone(),
        ports: r.ports.clone(),
        matches: r.matches.clone(),
        auth: r.auth.as_ref().map(|auth| route::Auth {
            header: auth.header.clone(),
            scheme: auth.scheme.clone(),
            slot: slots[&auth.token_ref].clone(),
        }),
        ask: r.ask,
    };
    let asks = input.bottle.supervise.as_ref().map(|supervise| Asks {
        socket: format!("{}/{}", names::LINK_DIR, names::SUPERVISE_SOCKET),
        hold_ms: u64::try_from(supervise.hold.as_millis()).unwrap_or(u64::MAX),
        unlisted: input.bottle.egress.ask,
    });
    let config = EgressConfig {
        bottle: input.id.into(),
        generation: 1,
        routes: routes.iter().map(row).collect(),
        upstream: Upstream::Link { socket: format!("{}/{}", names::LINK_DIR, names::PIPELOCK_SOCKET) },
        asks,
        limits: Default::default(),
    };
    let secrets: BTreeSet<_> = slots.into_iter().map(|(token_ref, slot)| (slot, token_ref)).collect();
    let secret = |(slot, token_ref): (String, String)| {
        let source = routes.iter().filter_map(|route| route.auth.as_ref()).find(|auth| auth.token_ref == token_ref);
        SecretPlan {
            slot,
            is_file: false,
            source: source.map(|auth| auth.source.clone()).unwrap_or_default(),
            obtain: input.obtain.get(&token_ref).cloned(),
            token_ref,
        }
    };
    Some(SidecarPlan {
        component: name.into(),
        network: Network::None,
        listeners: vec![ListenerPlan { name: listener::AGENT.into(), dialled_by: Dialler::Agent(port) }],
        config: config.into(),
        authority: true,
        secrets: secrets.into_iter().map(secret).collect(),
        trust: BTreeMap::new(),
        dials_siblings: true,
        host_resolution: false,
        recognises_secrets: false,
    })
}

fn supervise(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    input.bottle.supervise.as_ref()?;
    let (name, port) = names::SUPERVISE;
    Some(SidecarPlan {
        component: name.into(),
        network: Network::None,
        listeners: vec![
            ListenerPlan { name: listener::AGENT.into(), dialled_by: Dialler::Agent(port) },
            ListenerPlan { name: listener::LINK.into(), dialled_by: Dialler::Siblings(names::SUPERVISE_SOCKET.into()) },
            ListenerPlan { name: listener::SUPERVISOR.into(), dialled_by: Dialler::Supervisor },
        ],
        config: SuperviseConfig { bottle: input.id.into() }.into(),
        authority: false,
        secrets: Vec::new(),
        trust: BTreeMap::new(),
        dials_siblings: false,
        host_resolution: false,
        recognises_secrets: false,
    })
}

fn git_gate(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    let repos = &input.bottle.git;
    if repos.is_empty() {
        return None;
    }
    let (name, port) = names::GIT_GATE;
    let secrets = git::secrets(repos);
    let trust: BTreeMap<_, _> =
        input.bottle.egress.trust.iter().enumerate().map(|(n, path)| (SidecarInput::trust_file(n), path.clone())).collect();
    let config = GateConfig {
        bottle: input.id.into(),
        generation: 1,
        repos: repos.iter().map(|repo| git::repo(repo, &input.author, &secrets)).collect(),
        link: format!("{}/{}", names::LINK_DIR, names::PIPELOCK_SOCKET),
        trust: trust.keys().map(|file| format!("{}/{file}", names::CONFIG_DIR)).collect(),
        fingerprints: None,
        rules: input.rules.to_vec(),
        limits: Default::default(),
    };
    Some(SidecarPlan {
        component: name.into(),
        network: Network::None,
        listeners: vec![ListenerPlan { name: listener::AGENT.into(), dialled_by: Dialler::Agent(port) }],
        config: config.into(),
        authority: false,
        secrets,
        trust,
        dials_siblings: true,
        // It resolves no name, but it checks the certificates of upstreams as the host does.
        host_resolution: true,
        recognises_secrets: true,
    })
}
