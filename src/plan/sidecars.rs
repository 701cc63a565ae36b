//! The sidecars of a bottle, and the plan of each. To add a sidecar, add a function to [`SIDECARS`], and its configuration to
//! [`super::sidecar_config`].

use std::collections::{BTreeMap, BTreeSet};

use bottle_contract::egress::{Asks, EgressConfig, Upstream};
use bottle_contract::gate::GateConfig;
use bottle_contract::names::{self, listener};
use bottle_contract::pipelock::{Connect, Extension, OnSecretAt, Parent, PipelockConfig, Ports, Switch, TlsInterception};
use bottle_contract::route::{self, OnSecret};
use bottle_contract::supervise::SuperviseConfig;
use bottle_contract::{Grant, HostPattern, RuleFile};

use super::{Dialler, Direct, ListenerPlan, Network, SecretPlan, SidecarPlan, git};
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
    /// Names can have addresses in the agent's network.
    pub(super) has_local_names: bool,
    /// What is planned again for a bottle that runs.
    pub(super) again: Again<'a>,
}

/// What a plan for a bottle that runs depends on; for a start, nothing of it is there.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// The number of the policy.
    pub generation: u64,
    /// What was approved beside the routes.
    pub grants: &'a [Grant],
    /// The sidecars that it was started with. What they have stays: listeners, authorities, and the slots of their secrets.
    pub started: &'a [SidecarPlan],
}

impl Again<'_> {
    /// A start.
    pub const START: Again<'static> = Again { generation: 1, grants: &[], started: &[] };

    /// The secrets that a sidecar was started with.
    fn secrets(&self, component: &str) -> &[SecretPlan] {
        self.started.iter().find(|sidecar| sidecar.component == component).map_or(&[], |sidecar| &sidecar.secrets)
    }
}

impl SidecarInput<'_> {
    /// Without routes there is nothing to inject, and the agent dials pipelock directly. Where a person may be asked for the first route it is
    /// there from the start: a sidecar cannot come later, as the agent's proxy and authority are fixed. So it stays when the last route goes.
    pub(super) fn has_egress(&self) -> bool {
        let was_started = self.again.started.iter().any(|sidecar| sidecar.component == names::EGRESS.0);
        let has_any = !self.bottle.egress.routes.is_empty() || !self.again.grants.is_empty();
        was_started || has_any || self.bottle.supervise.is_some()
    }

    /// The sockets of the sidecar that faces the agent.
    fn faces_agent(&self, port: u16) -> Vec<ListenerPlan> {
        let mut diallers = vec![(listener::AGENT, Dialler::Agent(port))];
        if self.has_local_names {
            diallers.extend([
                (listener::HTTP, Dialler::Direct(Direct::Port(80))),
                (listener::HTTPS, Dialler::Direct(Direct::Port(443))),
                (listener::RESOLVER_UDP, Dialler::Direct(Direct::ResolverUdp)),
                (listener::RESOLVER_TCP, Dialler::Direct(Direct::ResolverTcp)),
                (listener::REFUSALS, Dialler::Direct(Direct::Refusals)),
            ]);
        }
        diallers.into_iter().map(|(name, dialled_by)| ListenerPlan { name: name.into(), dialled_by }).collect()
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

/// The distinct secrets of the routes, numbered in the order of their first use, behind those that are known already.
pub(super) fn slots(routes: &[Route], known: &[SecretPlan]) -> BTreeMap<String, String> {
    let mut slots: BTreeMap<_, _> = known.iter().map(|secret| (secret.token_ref.clone(), secret.slot.clone())).collect();
    for auth in routes.iter().filter_map(|r| r.auth.as_ref()) {
        let next = format!("EGRESS_TOKEN_{}", slots.len());
        slots.entry(auth.token_ref.clone()).or_insert(next);
    }
    slots
}

/// Where secrets are redacted; and where they are not, if a wider row would say otherwise.
fn on_secret(routes: &[Route]) -> Vec<OnSecretAt> {
    let row = |route: &Route| {
        let (action, paths) = route.on_secret();
        OnSecretAt { host: route.host.clone(), action, paths: paths.to_vec() }
    };
    let rows: Vec<OnSecretAt> = routes.iter().map(row).collect();
    let is_wide = |row: &OnSecretAt| row.action == OnSecret::Redact && !matches!(row.host, HostPattern::Exact(_));
    let all = rows.iter().any(is_wide);
    rows.into_iter().filter(|row| all || row.action == OnSecret::Redact).collect()
}

fn pipelock(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    let (name, port) = names::PIPELOCK;
    let faces_agent = !input.has_egress();
    let egress = &input.bottle.egress;
    let mut listeners = if faces_agent { input.faces_agent(port) } else { Vec::new() };
    let has_gate = !input.bottle.git.is_empty() || input.again.started.iter().any(|sidecar| sidecar.component == names::GIT_GATE.0);
    if !faces_agent || has_gate {
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
    let doors = doors(&egress.routes, input.again.grants);
    let closed = PipelockConfig::closed(input.id);
    let config = PipelockConfig {
        api_allowlist: doors.iter().map(|door| door.host.clone()).collect(),
        tls_interception: TlsInterception { enabled: faces_agent, ca_cert: in_ca(names::CA_CERT), ca_key: in_ca(names::CA_KEY) },
        response_scanning: Switch { enabled: input.bottle.scan.answers },
        x_bottle: Extension {
            rules: input.rules.to_vec(),
            generation: input.again.generation,
            ports: doors.iter().filter(|door| differs(door, &doors)).cloned().collect(),
            connect: egress.routes.iter().filter_map(|r| r.connect.map(|address| Connect { host: r.host.clone(), address })).collect(),
            trust: trusted,
            tunnels: git::tunnels(&input.bottle.git),
            parent,
            excepted: input.bottle.scan.allow.iter().cloned().collect(),
            on_secret: on_secret(&egress.routes),
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

/// The hosts that pipelock lets pass, each with all ports that a route or a grant names there. Pipelock asks the narrowest entry alone, so that
/// has what wider ones grant.
fn doors(routes: &[Route], grants: &[Grant]) -> Vec<Ports> {
    let mut hosts: Vec<&HostPattern> = Vec::new();
    for host in routes.iter().map(|route| &route.host).chain(grants.iter().map(|grant| &grant.route.host)) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let door = |host: &HostPattern| {
        let decides = routes.iter().filter(|route| route.host.covers(host)).min_by_key(|route| route.host.breadth());
        let mut ports = decides.map(|route| route.ports.clone()).unwrap_or_default();
        let granted = grants.iter().filter(|grant| grant.route.host.covers(host)).flat_map(|grant| &grant.route.ports);
        for port in granted {
            if !ports.contains(port) {
                ports.push(*port);
            }
        }
        Ports { host: host.clone(), ports }
    };
    hosts.into_iter().map(door).collect()
}

/// True if pipelock must be told of these ports: they are not the default ones, or a wider entry's are not.
fn differs(door: &Ports, doors: &[Ports]) -> bool {
    doors.iter().any(|other| other.ports != route::DEFAULT_PORTS && other.host.covers(&door.host))
}

fn egress(input: &SidecarInput<'_>) -> Option<SidecarPlan> {
    if !input.has_egress() {
        return None;
    }
    let (name, port) = names::EGRESS;
    let routes = &input.bottle.egress.routes;
    let known = input.again.secrets(name);
    let slots = slots(routes, known);
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
        generation: input.again.generation,
        routes: routes.iter().map(row).collect(),
        grants: input.again.grants.to_vec(),
        upstream: Upstream::Link { socket: format!("{}/{}", names::LINK_DIR, names::PIPELOCK_SOCKET) },
        asks,
        limits: Default::default(),
    };
    let secrets: BTreeSet<_> = slots.into_iter().map(|(token_ref, slot)| (slot, token_ref)).collect();
    let secret = |(slot, token_ref): (String, String)| {
        let source = routes.iter().filter_map(|route| route.auth.as_ref()).find(|auth| auth.token_ref == token_ref);
        // One that no route uses any more stays as it was.
        if let (None, Some(unused)) = (source, known.iter().find(|secret| secret.token_ref == token_ref)) {
            return unused.clone();
        }
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
        listeners: input.faces_agent(port),
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
    let (name, port) = names::GIT_GATE;
    let was_started = input.again.started.iter().any(|sidecar| sidecar.component == name);
    if repos.is_empty() && !was_started {
        return None;
    }
    let secrets = git::secrets(repos, input.again.secrets(name));
    let trust: BTreeMap<_, _> =
        input.bottle.egress.trust.iter().enumerate().map(|(n, path)| (SidecarInput::trust_file(n), path.clone())).collect();
    let config = GateConfig {
        bottle: input.id.into(),
        generation: input.again.generation,
        repos: repos.iter().map(|repo| git::repo(repo, &input.author, &secrets)).collect(),
        link: format!("{}/{}", names::LINK_DIR, names::PIPELOCK_SOCKET),
        trust: trust.keys().map(|file| format!("{}/{file}", names::CONFIG_DIR)).collect(),
        fingerprints: None,
        rules: input.rules.to_vec(),
        excepted: input.bottle.scan.allow.iter().cloned().collect(),
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
