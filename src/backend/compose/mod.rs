//! The compose backend: the same plan on an engine that teams already run.
//!
//! One project for each bottle, rendered by [`crate::render::compose`]. The engine makes namespaces, roots and networks; everything that
//! is said between the supervisor and a component goes over the socket of [`join`], so that the components are told what to do, are watched, and
//! end, exactly as in the embedded backend, whatever becomes of the daemon.

pub mod command;
pub mod emptier;
pub mod engine;
mod join;
mod objects;
pub mod subnets;
pub mod undo;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use bottle_init::spec::{Mount, Spec, Surroundings};

use super::ids::{self, Ids};
use super::prepared_workspace::{Overlays, View};
use super::{Archive, Backend, BackendInput, Effect, Process, Stdio, host_tree, prepared_workspace, provision, sidecar_programs, spec};
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};
use crate::manifest::model::WorkspaceMode;
use crate::plan::agent::AGENT;
use crate::plan::{Dialler, Plan, Step};
use crate::render::compose::{self as render, Bind, Facts, Workplace};
use crate::store::{Claim, Object};
use crate::values::Values;
use command::Running;
use engine::Engine;
use join::{Awaited, Joined};
use objects::failed_at;
use subnets::Range;

/// One bottle under this backend.
pub struct Compose<'p> {
    plan: &'p Plan,
    values: Values,
    window: (u16, u16),
    operator: (u32, u32),
    engine: Engine,
    archives: BTreeMap<String, Archive>,
    agent_ca: String,
    workplace: Workplace,
    git: Option<Workplace>,
    left_out: Vec<String>,
    facts: Option<Facts>,
    awaited: BTreeMap<String, Awaited>,
    listeners: BTreeMap<(String, String), OwnedFd>,
    pending: Option<Pending>,
}

/// What a step waits for.
enum Pending {
    /// `compose up`.
    Up(Running),
    /// The first process of a component.
    Join(String),
}

/// Whose bottles these are, as a label: every object carries it.
pub fn owner(state: &Path) -> String {
    sha256_hex(state.as_os_str().as_encoded_bytes())[..16].to_owned()
}

/// The project of a bottle. Two users of an engine may have bottles of one name.
pub fn project(id: &str, owner: &str) -> String {
    format!("bottle-{id}-{}", &owner[..8])
}

impl<'p> Compose<'p> {
    /// For one start, on an engine that was found.
    pub fn new(plan: &'p Plan, given: BackendInput, engine: Engine) -> Self {
        let operator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self {
            plan,
            values: given.values,
            window: given.window,
            operator,
            engine,
            archives: given.archives,
            agent_ca: String::new(),
            workplace: Workplace::Empty,
            git: None,
            left_out: Vec::new(),
            facts: None,
            awaited: BTreeMap::new(),
            listeners: BTreeMap::new(),
            pending: None,
        }
    }

    fn ids(&self, component: &str) -> Ids {
        ids::in_plan(self.operator, self.plan, component)
    }

    fn components(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        let plan = self.plan;
        std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.component.as_str()))
    }

    /// The agent's working directory: an overlay that the engine mounts, with the changes in the same place and form as the embedded
    /// backend's. As root the agent is somebody else than the owner of the tree, and gets a copy of its own.
    fn workspace(&mut self, claim: &mut Claim) -> Result<()> {
        let plan = &self.plan.workspace;
        let ids = self.ids(AGENT);
        let can = |source: &Path| !ids.foreign && is_plain_option(source) && is_plain_option(claim.state().path());
        let git = plan.mode != WorkspaceMode::Copy && plan.git.as_deref().is_some_and(can);
        let overlays = Overlays { tree: can(&plan.source), git };
        let (views, left_out) = prepared_workspace::make(plan, overlays, ids.foreign.then_some(ids), claim)?;
        self.left_out.extend(left_out);
        let workplace = |view: View| match view.is_overlay {
            true => Workplace::Overlay { lower: view.source, changes: view.directory },
            false => Workplace::Directory(view.changes),
        };
        self.workplace = match (views.tree, plan.mode) {
            (Some(view), _) => workplace(view),
            (None, WorkspaceMode::None) => Workplace::Empty,
            (None, _) => Workplace::Directory(plan.source.clone()),
        };
        self.git = views.git.map(workplace);
        Ok(())
    }

    /// Everything that the containers will find, then the containers.
    fn cage(&mut self, claim: &mut Claim) -> Result<Effect> {
        let owner = owner(claim.state().path().parent().unwrap_or(Path::new("/")));
        let project = project(&self.plan.id, &owner);
        objects::refuse_taken(&self.engine, &self.plan.id, &project)?;
        let host = self.engine.host().map(str::to_owned);
        claim.record(Object::ComposeProject { project: project.clone(), host })?;
        objects::load(&self.engine, &self.archives)?;
        let runtime = claim.runtime()?;
        first_process(runtime)?;
        runtime.subdir("link")?;
        for component in self.components() {
            let directory = runtime.subdir(component)?.subdir("join")?;
            self.awaited.insert(component.to_owned(), Awaited::open(directory, self.ids(component))?);
        }
        let _lock = claim.lock_store()?;
        let mut facts = self.facts(&project, &owner, claim)?;
        let etc = runtime.subdir(AGENT)?.subdir("etc")?;
        let addresses = facts.clone();
        let address = |name: &str| render::address(self.plan, name, &addresses);
        facts.agent.extend(view::etc(self.plan, &self.agent_ca, self.ids(AGENT), &etc, address)?);
        claim.state().replace_unsynced(render::FILE, render::render(self.plan, &facts).as_bytes(), PRIVATE)?;
        self.facts = Some(facts);
        self.up(claim, &project)
    }

    fn facts(&self, project: &str, owner: &str, claim: &Claim) -> Result<Facts> {
        let mut taken = Range::routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
        taken.extend(objects::networks(&self.engine)?.iter().filter_map(|subnet| Range::parse(subnet)));
        // Others of ours may be about to make what they wrote down.
        taken.extend(claim.others(render::FILE)?.iter().flat_map(|text| planned(text)));
        let subnets = subnets::choose(project, &taken).ok_or_else(|| {
            Error::failed("there is no free network for the bottle", "10.208.0.0/12 is taken", "`bottle cleanup` removes what is left")
        })?;
        let runtime = claim.runtime()?.path().to_owned();
        let directory = claim.runtime()?.subdir("resolution")?;
        let mut resolution = Vec::new();
        // The engine has a name server for its containers; the host's own names it does not know.
        if let Some((path, text)) = provision::resolution().into_iter().find(|(path, _)| path.ends_with("hosts")) {
            directory.write_new("hosts", text.as_bytes(), crate::files::PUBLIC)?;
            resolution.push(Bind::read_only(directory.path().join("hosts"), path));
        }
        let tools = view::tools(self.plan, &host_tree::read())?;
        let users = self
            .components()
            .map(|component| (component.to_owned(), self.ids(component)))
            .map(|(component, ids)| (component, (ids.uid, ids.gid)));
        Ok(Facts {
            project: project.to_owned(),
            owner: owner.to_owned(),
            runtime,
            users: users.collect(),
            images: self.archives.iter().map(|(component, archive)| (component.clone(), archive.id.clone())).collect(),
            closed: self.engine.closed,
            subnets,
            sandbox: None,
            trees: tools.trees,
            empty: claim.runtime()?.subdir("empty")?.path().to_owned(),
            agent: tools.files,
            resolution,
            workplace: self.workplace.clone(),
            git: self.git.clone(),
        })
    }

    fn up(&mut self, claim: &Claim, project: &str) -> Result<Effect> {
        let file = claim.state().path().join(render::FILE).display().to_string();
        let arguments = ["--project-name", project, "--file", &file, "up", "--detach", "--no-build", "--no-color"];
        let running = self.engine.compose(&arguments).map_err(failed_at("cannot start compose"))?;
        let end = running.end().map_err(failed_at("cannot watch compose"))?;
        self.pending = Some(Pending::Up(running));
        Ok(Effect::Pending(end))
    }

    fn join(&mut self, component: &str) -> Result<Effect> {
        let awaited = self.awaited.get(component).ok_or_else(|| {
            Error::failed(format!("nobody waits for `{component}`"), "it was not prepared", "this is a bug in bottle: please report it")
        })?;
        let fd = awaited.fd().try_clone_to_owned().map_err(failed_at("cannot wait for a container"))?;
        self.pending = Some(Pending::Join(component.to_owned()));
        Ok(Effect::Pending(fd))
    }

    /// The component is there: it is told what to do.
    fn joined(&mut self, component: &str) -> Result<Effect> {
        let Some(awaited) = self.awaited.remove(component) else { return Ok(Effect::Done) };
        let joined = awaited.accept(component, self.ids(component))?;
        let failed = failed_at(&format!("cannot tell `{component}` what to do"));
        let (spec, fds, stdio) = if component == AGENT { self.agent(&failed)? } else { self.sidecar(component, &failed)? };
        join::set_up(&joined, &spec, &fds).map_err(&failed)?;
        let Joined { pid, pidfd, control } = joined;
        Ok(Effect::Spawned(Process { component: component.to_owned(), pid, pidfd, control, held: true, stdio }))
    }

    fn agent(&mut self, failed: &dyn Fn(std::io::Error) -> Error) -> Result<(Spec, Vec<OwnedFd>, Stdio)> {
        let plan = self.plan;
        let mut fds = Vec::new();
        let mut spec = spec::agent(plan, &self.values, self.window, container(Vec::new()));
        let stdio = Stdio::of_agent(&mut spec, &mut fds).map_err(failed)?;
        let links = plan.agent.links.iter().map(|(target, to)| Mount::Symlink { to: to.clone(), target: target.clone() });
        let files = plan.agent.files.iter().map(|(target, text)| Mount::File { target: target.clone(), text: text.clone(), mode: 0o600 });
        spec.mounts = links.chain(files).collect();
        let places = [Some(&self.workplace), self.git.as_ref()];
        spec.renames_directories = places.into_iter().flatten().any(|place| matches!(place, Workplace::Overlay { .. }));
        Ok((spec, fds, stdio))
    }

    fn sidecar(&mut self, component: &str, failed: &dyn Fn(std::io::Error) -> Error) -> Result<(Spec, Vec<OwnedFd>, Stdio)> {
        let sidecar = provision::sidecar(self.plan, component)?;
        let facts = self.facts.as_ref().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        // Order matters: what the first process opens comes before what it is passed.
        let (mut opened, mut passed, mut bind, mut sockets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for listener in &sidecar.listeners {
            match &listener.dialled_by {
                Dialler::Agent(port) => {
                    opened.push(listener.name.as_str());
                    bind.push(SocketAddr::new(render::address(self.plan, component, facts).into(), *port));
                }
                Dialler::Siblings(_) => {
                    let socket = self.listeners.remove(&(component.to_owned(), listener.name.clone())).ok_or_else(|| {
                        let what = format!("`{component}` has no socket `{}`", listener.name);
                        Error::failed(what, "it was not opened", "this is a bug in bottle: please report it")
                    })?;
                    passed.push(listener.name.as_str());
                    sockets.push(socket);
                }
            }
        }
        // It is not the first process, and cannot know its number.
        let mut handed = bottle_contract::handoff::environment(&[opened, passed].concat(), 0);
        handed.retain(|(name, _)| name != "LISTEN_PID");
        let mut spec = spec::sidecar(sidecar, format!("/{}", sidecar_programs::file_name(component)), handed, container(bind));
        let mut fds = Vec::new();
        let stdio = Stdio::of_sidecar(&mut spec, &mut fds, sockets).map_err(failed)?;
        Ok((spec, fds, stdio))
    }
}

/// The engine has made the namespaces, and put the component into control groups.
fn container(bind: Vec<SocketAddr>) -> Surroundings {
    Surroundings::Container { bind }
}

/// The subnets in another bottle's project.
fn planned(text: &[u8]) -> Vec<Range> {
    let project: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let networks = project["networks"].as_object().into_iter().flatten();
    networks.filter_map(|(_, network)| Range::parse(network["ipam"]["config"][0]["subnet"].as_str()?)).collect()
}

/// Puts bottle's own program where every container finds its first process.
fn first_process(runtime: &Dir) -> Result<()> {
    let directory = runtime.subdir("init")?;
    let failed =
        |e: std::io::Error| Error::failed("cannot put bottle's own program into the containers", e, "free memory, then start it again");
    let mut own = fs::File::open("/proc/self/exe").map_err(failed)?;
    directory.copy_in(bottle_init::ARGV0, &mut own, 0o755)?;
    // Other users execute it; its parent stays closed to them.
    rustix::fs::fchmod(directory.fd(), rustix::fs::Mode::from_raw_mode(0o755)).map_err(|e| failed(e.into()))
}

/// True for a path that can be an option of a mount: these are separated by commas, and layers by colons.
fn is_plain_option(path: &Path) -> bool {
    path.to_str().is_some_and(|path| !path.contains([',', ':', '\\', '"']))
}

impl Backend for Compose<'_> {
    fn name(&self) -> &'static str {
        "compose"
    }

    fn check(&self) -> Result<Vec<String>> {
        for sidecar in &self.plan.sidecars {
            sidecar_programs::find(&sidecar.component)?;
        }
        if self.ids(AGENT).foreign && self.plan.workspace.mode == WorkspaceMode::Mount {
            return Err(Error::failed(
                "root cannot show its own directory to an agent in a container",
                "the agent is another user there, and an engine maps no owners",
                "write `workspace: overlay`, or start bottle as the owner of the directory",
            ));
        }
        if self.plan.workspace.mode == WorkspaceMode::Mount && self.plan.workspace.source.to_str().is_none() {
            return Err(Error::failed(
                "an engine cannot show this directory to an agent",
                "its path is not UTF-8 text",
                "write `workspace: overlay`, which copies it, or use `--backend embedded`",
            ));
        }
        let mut notes = vec![format!("runs on {}", self.engine.name)];
        if self.plan.workspace.mode == WorkspaceMode::Mount {
            notes.push("the agent has no unix sockets, as the working directory itself is mounted".to_owned());
        }
        notes.extend(self.engine.notes.iter().cloned());
        if self.ids(AGENT).foreign && self.plan.workspace.mode == WorkspaceMode::Overlay {
            notes.push("as root, the working directory is copied".to_owned());
        }
        Ok(notes)
    }

    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Effect> {
        match step {
            Step::RuntimeDirectory => claim.runtime().map(drop)?,
            Step::Authority(component) => {
                let certificate = provision::authority(component, &self.plan.id, claim, self.ids(component))?;
                if self.plan.agent.trusts == *component {
                    self.agent_ca = certificate;
                }
            }
            Step::Configuration(component) => {
                provision::configuration(provision::sidecar(self.plan, component)?, &self.values, claim, self.ids(component))?;
            }
            Step::Secrets(component, _) => {
                provision::secrets(provision::sidecar(self.plan, component)?, &self.values, claim, self.ids(component))?
            }
            Step::Workspace(_) => self.workspace(claim)?,
            // They are in the project.
            Step::Limits => {}
            Step::Cage => return self.cage(claim),
            Step::Listen(component, Dialler::Siblings(socket)) => {
                let link = claim.runtime()?.subdir("link")?;
                let listener = provision::unix_listener(&link, socket, self.ids(component).foreign)?;
                let sidecar = provision::sidecar(self.plan, component)?;
                let name = sidecar.listeners.iter().find(|l| matches!(&l.dialled_by, Dialler::Siblings(other) if other == socket));
                self.listeners.insert((component.clone(), name.map(|l| l.name.clone()).unwrap_or_default()), listener);
            }
            // The sidecar's first process opens it, in the network that it shares with the agent.
            Step::Listen(_, Dialler::Agent(_)) => {}
            Step::Sidecar(component) => return self.join(component),
            Step::Release => {}
        }
        Ok(Effect::Done)
    }

    fn resume(&mut self, _claim: &mut Claim) -> Result<Effect> {
        match self.pending.take() {
            Some(Pending::Up(running)) => {
                let project = self.facts.as_ref().map(|facts| facts.project.clone()).unwrap_or_default();
                objects::check_up(&self.engine, &project, self.components(), &self.archives, running)?;
                self.join(AGENT)
            }
            Some(Pending::Join(component)) => self.joined(&component),
            None => Ok(Effect::Done),
        }
    }

    fn pending_error(&mut self) -> Option<Error> {
        let hint = "`docker info` shows how the engine is; `--backend embedded` needs none";
        match self.pending.as_ref()? {
            Pending::Up(running) => {
                Some(Error::failed("the engine did not make the containers in time", format!("`{}` still runs", running.line()), hint))
            }
            Pending::Join(component) => {
                Some(Error::failed(format!("the container of `{component}` did not call in time"), "it runs, and has not connected", hint))
            }
        }
    }

    fn listeners(&mut self, _sockets: Vec<OwnedFd>) -> Result<()> {
        Err(Error::failed("a component opened sockets", "in containers each opens its own", "this is a bug in bottle: please report it"))
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    fn released(&mut self) {
        self.values = Values::nothing();
    }

    fn undo(&mut self, claim: &mut Claim) -> Vec<Error> {
        let cut_short = matches!(self.pending.take(), Some(Pending::Up(_)));
        self.awaited.clear();
        self.listeners.clear();
        let mut errors = Vec::new();
        if !cut_short {
            // Nothing is under way at the engine.
            errors.extend(claim.update(|m| m.phase = crate::store::Phase::Stopping).err());
        }
        errors.extend(super::undo::objects(claim, super::undo::Directory::Kept));
        errors
    }
}
