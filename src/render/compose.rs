//! Renders the compose project of a bottle from its plan and the backend's facts. JSON, which is YAML.
//!
//! Each sidecar of the plan becomes a service; no sidecar is named here. The text contains no value of a variable or secret: the supervisor
//! sends these to a component's first process, over a socket that only that component can reach.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bottle_contract::names;
use serde_json::{Value, json};

use crate::plan::agent::{AGENT, HOME, SMALL_BYTES};
use crate::plan::{Dialler, Network, Plan, SidecarPlan};

/// The name of the file in the state directory.
pub const FILE: &str = "docker-compose.yml";
/// The network of the agent and the sidecars that it dials.
pub const INTERNAL: &str = "internal";
/// The network of sidecars that may dial out.
pub const EGRESS: &str = "egress";
/// Inside every component: the program of its first process.
pub const INIT_DIR: &str = "/run/bottle/init";
/// Inside every component: the directory of the supervisor's socket.
pub const JOIN_DIR: &str = "/run/bottle/join";
/// The socket in [`JOIN_DIR`].
pub const JOIN_SOCKET: &str = "socket";

/// The label of every object: the project that it belongs to.
pub const PROJECT_LABEL: &str = "dev.bottle.project";
/// The label of every object: whose bottles these are, as a digest of the state directory.
pub const STATE_LABEL: &str = "dev.bottle.state";
/// The label of every object: the bottle's id.
pub const ID_LABEL: &str = "dev.bottle.id";
/// The label of a container: its component.
pub const COMPONENT_LABEL: &str = "dev.bottle.component";

/// The volume of the agent's working directory.
const WORKSPACE: &str = "workspace";
/// The volume of a git directory elsewhere.
const GIT: &str = "git";
/// Bytes of memory of a sidecar: eight times its peak use.
const SIDECAR_MEMORY: u64 = 512 << 20;
/// Threads and processes of a sidecar: its first process, and at most eight threads.
const SIDECAR_PIDS: u64 = 64;

/// How the engine isolates a bridge from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Engine 28 and later: the bridge has no address, and the host is not on it.
    Isolated,
    /// Older engines: the bridge has no address.
    WithoutAddress,
}

/// The sixteen addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet(pub Ipv4Addr);

impl Subnet {
    /// The length of its prefix.
    pub const PREFIX: u8 = 28;

    /// The address with this number; the first belongs to the engine.
    pub fn address(self, place: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.to_bits() + 2 + u32::try_from(place).unwrap_or(0))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, Self::PREFIX)
    }
}

/// A directory or file of the host in a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the component.
    pub target: PathBuf,
    /// It is writable.
    pub writable: bool,
}

impl Bind {
    /// A read-only bind.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }
}

/// A directory of the host that the agent sees through an overlay. Sockets and FIFOs of the host do not work there: the kernel finds them by
/// their inodes, and an overlay has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// On the host; valid in a mount option.
    pub source: PathBuf,
    /// In the component.
    pub target: PathBuf,
}

/// The source of the agent's working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workplace {
    /// The operator's directory, or a copy.
    Directory(PathBuf),
    /// An overlay: changes do not reach the tree below.
    Overlay {
        /// The operator's directory.
        lower: PathBuf,
        /// A directory with `upper` and `work`.
        changes: PathBuf,
    },
    /// A tmpfs.
    Empty,
}

/// The backend's facts, besides the plan.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The project's name.
    pub project: String,
    /// The value of [`STATE_LABEL`].
    pub owner: String,
    /// `runtime/<id>` on the host.
    pub runtime: PathBuf,
    /// User and group of each component.
    pub users: BTreeMap<String, (u32, u32)>,
    /// The image of each component: the digest of its configuration.
    pub images: BTreeMap<String, String>,
    /// How bridges are isolated.
    pub closed: Closed,
    /// The networks: [`INTERNAL`], then [`EGRESS`].
    pub subnets: [Subnet; 2],
    /// The host's directories that the agent sees.
    pub trees: Vec<Tree>,
    /// An empty directory: an overlay without changes needs two layers.
    pub empty: PathBuf,
    /// The host's files that the agent sees, and its own.
    pub agent: Vec<Bind>,
    /// The host's files that a sidecar needs for name resolution.
    pub resolution: Vec<Bind>,
    /// The agent's working directory.
    pub workplace: Workplace,
    /// The git directory elsewhere that its repository needs.
    pub git: Option<Workplace>,
}

/// The number of a component in the internal network: the agent first, then the sidecars in the order of the plan.
pub fn address(plan: &Plan, component: &str, facts: &Facts) -> Ipv4Addr {
    facts.subnets[0].address(place(plan, component))
}

fn place(plan: &Plan, component: &str) -> usize {
    plan.sidecars.iter().position(|s| s.component == component).map_or(0, |n| n + 1)
}

/// The project's file.
pub fn render(plan: &Plan, facts: &Facts) -> String {
    let mut services = serde_json::Map::from_iter([(AGENT.to_owned(), agent(plan, facts))]);
    services.extend(plan.sidecars.iter().map(|s| (s.component.clone(), sidecar(plan, s, facts))));
    let mut networks = serde_json::Map::new();
    let mut network = |name: &str, subnet: Subnet, internal: bool, options: Value| {
        let ipam = json!({"driver": "default", "config": [{"subnet": subnet.to_string()}]});
        let value =
            json!({"driver": "bridge", "internal": internal, "driver_opts": options, "ipam": ipam, "labels": labels(plan, facts, None)});
        networks.insert(name.to_owned(), value);
    };
    let closed = match facts.closed {
        Closed::Isolated => json!({"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}),
        Closed::WithoutAddress => json!({"com.docker.network.bridge.inhibit_ipv4": "true"}),
    };
    network(INTERNAL, facts.subnets[0], true, closed);
    if plan.sidecars.iter().any(|s| s.network == Network::Host) {
        network(EGRESS, facts.subnets[1], false, json!({"com.docker.network.bridge.enable_icc": "false"}));
    }
    let mut project = json!({"services": services, "networks": networks});
    let volumes = volumes(plan, facts);
    if !volumes.is_empty() {
        project["volumes"] = Value::Object(volumes);
    }
    format!("{:#}\n", literal(project))
}

/// The overlays that the engine mounts.
fn volumes(plan: &Plan, facts: &Facts) -> serde_json::Map<String, Value> {
    let overlay = |layers: String| {
        let options = json!({"type": "overlay", "device": "overlay", "o": format!("{layers},userxattr,nodev,nosuid")});
        json!({"driver": "local", "driver_opts": options, "labels": labels(plan, facts, None)})
    };
    let trees = facts.trees.iter().enumerate();
    let mut volumes: serde_json::Map<String, Value> = trees
        .map(|(place, tree)| (volume(place), overlay(format!("lowerdir={}:{}", tree.source.display(), facts.empty.display()))))
        .collect();
    for (name, place) in [(WORKSPACE, Some(&facts.workplace)), (GIT, facts.git.as_ref())] {
        if let Some(Workplace::Overlay { lower, changes }) = place {
            let [upper, work] = ["upper", "work"].map(|name| changes.join(name));
            let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
            volumes.insert(name.to_owned(), overlay(layers));
        }
    }
    volumes
}

/// The name of the volume of a tree.
fn volume(place: usize) -> String {
    format!("tree-{place}")
}

fn labels(plan: &Plan, facts: &Facts, component: Option<&str>) -> Value {
    let mut labels = json!({PROJECT_LABEL: facts.project, STATE_LABEL: facts.owner, ID_LABEL: plan.id});
    if let Some(component) = component {
        labels[COMPONENT_LABEL] = json!(component);
    }
    labels
}

/// The common part of every service, which no image can change: user, entry point, and no privileges.
fn service(plan: &Plan, component: &str, facts: &Facts, memory: u64, pids: u64) -> Value {
    let (uid, gid) = facts.users.get(component).copied().unwrap_or((65534, 65534));
    json!({
        "image": facts.images.get(component),
        "pull_policy": "never",
        "entrypoint": [format!("{INIT_DIR}/{}", bottle_init::ARGV0), bottle_init::JOIN, format!("{JOIN_DIR}/{JOIN_SOCKET}")],
        "command": [],
        "user": format!("{uid}:{gid}"),
        "working_dir": "/",
        "hostname": if component == AGENT { &plan.id } else { component },
        "read_only": true,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "no",
        "healthcheck": {"disable": true},
        "ipc": "private",
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": pids,
        // One byte: with zero, a crash would start the host's core dump handler (core(5)).
        "ulimits": {"core": 1},
        // Otherwise it could get an address by router advertisement, and engines allow everybody to ping.
        "sysctls": {"net.ipv4.ping_group_range": "1 0", "net.ipv6.conf.all.disable_ipv6": "1"},
        "logging": {"driver": "json-file"},
        "labels": labels(plan, facts, Some(component)),
    })
}

fn agent(plan: &Plan, facts: &Facts) -> Value {
    let mut service = service(plan, AGENT, facts, plan.limits.memory, plan.limits.pids);
    let (uid, gid) = facts.users.get(AGENT).copied().unwrap_or((65534, 65534));
    let memory = |target: &str, size: u64, mode: &str, more: &str| format!("{target}:rw,nosuid,nodev,size={size},mode={mode}{more}");
    let owned = format!(",exec,uid={uid},gid={gid}");
    let mut scratch = vec![
        memory("/tmp", plan.limits.scratch, "1777", &owned),
        memory("/var/tmp", plan.limits.scratch, "1777", &owned),
        memory("/run", plan.limits.scratch, "0755", &owned),
        memory(HOME, plan.limits.scratch, "0700", &owned),
        memory("/var/lib", SMALL_BYTES, "0755", &format!(",noexec,uid={uid},gid={gid}")),
    ];
    let mut volumes: Vec<Value> = own(facts, AGENT).iter().chain(&facts.agent).map(bind).collect();
    volumes.extend(facts.trees.iter().enumerate().map(|(place, tree)| {
        let target = tree.target.display().to_string();
        json!({"type": "volume", "source": volume(place), "target": target, "read_only": true, "volume": {"nocopy": true}})
    }));
    let shown = |place: &Workplace, name: &str, target: &Path| match place {
        Workplace::Directory(source) => Some(bind(&Bind { source: source.clone(), target: target.to_owned(), writable: true })),
        Workplace::Overlay { .. } => {
            Some(json!({"type": "volume", "source": name, "target": target.display().to_string(), "volume": {"nocopy": true}}))
        }
        Workplace::Empty => None,
    };
    if let (Some(place), Some(target)) = (&facts.git, &plan.workspace.git) {
        volumes.extend(shown(place, GIT, target));
    }
    // An engine makes no links, and the root is read-only: the second name is a second mount.
    let names = [plan.workspace.target.as_path()].into_iter().chain(plan.workspace.alias());
    volumes.extend(names.filter_map(|target| shown(&facts.workplace, WORKSPACE, target)));
    if facts.workplace == Workplace::Empty {
        scratch.push(memory(&plan.workspace.target.display().to_string(), plan.limits.scratch, "0755", &owned));
    }
    service["tmpfs"] = json!(scratch);
    service["volumes"] = json!(volumes);
    service["shm_size"] = json!(bottle_init::SHM_BYTES);
    // The engine's name server forwards to this address, where none listens: nothing is resolved for the agent.
    service["dns"] = json!(["127.0.0.1"]);
    service["networks"] = json!({INTERNAL: {"ipv4_address": address(plan, AGENT, facts)}});
    service
}

fn sidecar(plan: &Plan, sidecar: &SidecarPlan, facts: &Facts) -> Value {
    let component = &sidecar.component;
    let mut service = service(plan, component, facts, SIDECAR_MEMORY, SIDECAR_PIDS);
    let directory = facts.runtime.join(component);
    let mut binds = own(facts, component);
    binds.push(Bind::read_only(directory.join("config"), names::CONFIG_DIR));
    if sidecar.authority {
        binds.push(Bind::read_only(directory.join("ca"), names::CA_DIR));
    }
    if !sidecar.secrets.is_empty() {
        binds.push(Bind::read_only(directory.join("secrets"), names::SECRETS_DIR));
    }
    if sidecar.dials_siblings {
        binds.push(Bind::read_only(facts.runtime.join("link"), names::LINK_DIR));
    }
    if sidecar.host_resolution {
        binds.extend(facts.resolution.iter().cloned());
    }
    service["volumes"] = json!(binds.iter().map(bind).collect::<Vec<_>>());
    let mut networks = serde_json::Map::new();
    if sidecar.listeners.iter().any(|l| matches!(l.dialled_by, Dialler::Agent(_))) {
        networks.insert(INTERNAL.to_owned(), json!({"ipv4_address": address(plan, component, facts), "aliases": [component]}));
    }
    if sidecar.network == Network::Host {
        networks.insert(EGRESS.to_owned(), json!({"ipv4_address": facts.subnets[1].address(place(plan, component))}));
    } else {
        service["dns"] = json!(["127.0.0.1"]);
    }
    if networks.is_empty() {
        service["network_mode"] = json!("none");
        service.as_object_mut().map(|service| service.remove("dns"));
    } else {
        service["networks"] = Value::Object(networks);
    }
    service
}

/// The binds of every component: its first process, and the supervisor's socket.
fn own(facts: &Facts, component: &str) -> Vec<Bind> {
    vec![Bind::read_only(facts.runtime.join("init"), INIT_DIR), Bind::read_only(facts.runtime.join(component).join("join"), JOIN_DIR)]
}

fn bind(bind: &Bind) -> Value {
    let text = |path: &Path| path.display().to_string();
    json!({"type": "bind", "source": text(&bind.source), "target": text(&bind.target), "read_only": !bind.writable})
}

/// Compose expands variables after a dollar sign; two of them mean one.
fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Array(list) => Value::Array(list.into_iter().map(literal).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, literal(value))).collect()),
        other => other,
    }
}
