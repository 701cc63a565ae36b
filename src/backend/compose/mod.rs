//! The compose backend: the same plan on an engine that teams already run.
//!
//! One project for each bottle, rendered by [`crate::render::compose`]. The engine makes namespaces, roots and networks; everything that
//! is said between the supervisor and a component goes over the socket of [`join`], so that the components are told what to do, are watched, and
//! end, exactly as in the embedded backend, whatever becomes of the daemon.

pub mod command;
pub mod emptier;
pub mod engine;
mod join;
mod names;
mod objects;
mod pending;
mod project_file;
pub mod subnets;
pub mod undo;
mod up;
mod view;

use std::collections::BTreeMap;
use std::path::Path;

use super::ids::{self, Ids};
use super::prepared_workspace::{Overlays, View};
use super::{Backend, Effect, Logs, Start, kernel, prepared_workspace, provision, sidecar_programs};
use crate::error::{Error, Result};
use crate::manifest::model::WorkspaceMode;
use crate::plan::agent::AGENT;
use crate::plan::{Plan, Step};
use crate::render::compose::{self as render, Facts, Workplace};
use crate::store::{Claim, Object, Phase};
use engine::Engine;
use join::Awaited;
use names::is_plain_option;
pub use names::{owner, project};
use pending::Joining;
use project_file::{Label, components};
use up::{UnderWay, Up};

/// One bottle under this backend.
pub struct Compose {
    engine: Engine,
    operator: (u32, u32),
    workplace: Workplace,
    git: Option<Workplace>,
    facts: Option<Facts>,
    awaited: BTreeMap<String, Awaited>,
    under_way: UnderWay,
}

impl Compose {
    /// For one start, on an engine that was found.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            operator: ids::operator(),
            workplace: Workplace::Empty,
            git: None,
            facts: None,
            awaited: BTreeMap::new(),
            under_way: UnderWay::default(),
        }
    }

    /// To remove what an earlier start made, which may have been killed in the middle of it. Each bottle names its engine.
    pub fn for_removal() -> Self {
        let compose = Self::new(Engine::of(None));
        compose.under_way.set(true);
        compose
    }

    fn ids(&self, plan: &Plan, component: &str) -> Ids {
        ids::in_plan(self.operator, plan, component)
    }

    /// The agent's working directory: an overlay that the engine mounts, with the changes in the same place and form as the embedded
    /// backend's. As root the agent is somebody else than the owner of the tree, and gets a copy of its own.
    fn workspace(&mut self, start: &mut Start<'_>) -> Result<Vec<String>> {
        let plan = &start.plan.workspace;
        let ids = self.ids(start.plan, AGENT);
        let state = start.claim.state().path().to_owned();
        let can = |source: &Path| !ids.foreign && is_plain_option(source) && is_plain_option(&state);
        let git = plan.mode != WorkspaceMode::Copy && plan.git.as_deref().is_some_and(can);
        let overlays = Overlays { tree: can(&plan.source), git };
        let (views, left_out) = prepared_workspace::make(plan, overlays, ids.foreign.then_some(ids), start.claim)?;
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
        Ok(left_out)
    }

    /// Everything that the containers will find, then the containers.
    fn cage(&mut self, start: &mut Start<'_>) -> Result<Effect> {
        let plan = start.plan;
        let owner = owner(start.claim.state().path().parent().unwrap_or(Path::new("/")));
        let project = project(&plan.id, &owner);
        objects::refuse_taken(&self.engine, &plan.id, &project)?;
        let host = self.engine.host().map(str::to_owned);
        start.claim.record(Object::ComposeProject { project: project.clone(), host })?;
        objects::load(&self.engine, &start.input.images.archives)?;
        let runtime = start.claim.runtime()?;
        project_file::first_process(runtime)?;
        runtime.subdir("link")?;
        for component in components(plan) {
            let directory = runtime.subdir(component)?.subdir("join")?;
            self.awaited.insert(component.to_owned(), Awaited::open(directory, self.ids(plan, component))?);
        }
        let _lock = start.claim.lock_store()?;
        let label = Label { project: &project, owner: &owner };
        self.facts = Some(project_file::write(&self.engine, &label, (&self.workplace, self.git.as_ref()), self.operator, start)?);
        let agent = self.joining(AGENT, plan)?;
        Up::start(&self.engine, project, &self.under_way, agent, start)
    }

    /// A container that is there, or about to be.
    fn joining(&mut self, component: &str, plan: &Plan) -> Result<Joining> {
        let awaited = self.awaited.remove(component).zip(self.facts.as_ref());
        let (awaited, facts) = awaited.ok_or_else(|| {
            Error::failed(format!("nobody waits for `{component}`"), "it was not prepared", "this is a bug in bottle: please report it")
        })?;
        let address = render::address(plan, component, facts);
        let places = [Some(&self.workplace), self.git.as_ref()];
        let renames_directories = places.into_iter().flatten().any(|place| matches!(place, Workplace::Overlay { .. }));
        Ok(Joining { component: component.to_owned(), awaited, ids: self.ids(plan, component), address, renames_directories })
    }
}

impl Backend for Compose {
    fn check(&self, plan: &Plan) -> Result<Vec<String>> {
        for sidecar in &plan.sidecars {
            sidecar_programs::find(&sidecar.component)?;
        }
        let is_foreign = self.ids(plan, AGENT).foreign;
        let mode = plan.workspace.mode;
        if is_foreign && mode == WorkspaceMode::Mount {
            return Err(Error::failed(
                "root cannot show its own directory to an agent in a container",
                "the agent is another user there, and an engine maps no owners",
                "write `workspace: overlay`, or start bottle as the owner of the directory",
            ));
        }
        if mode == WorkspaceMode::Mount && plan.workspace.source.to_str().is_none() {
            return Err(Error::failed(
                "an engine cannot show this directory to an agent",
                "its path is not UTF-8 text",
                "write `workspace: overlay`, which copies it, or use `--backend embedded`",
            ));
        }
        let mut notes = vec![format!("runs on {}", self.engine.name)];
        if mode == WorkspaceMode::Mount {
            notes.push("the agent has no unix sockets, as the working directory itself is mounted".to_owned());
        }
        notes.push("names do not resolve, so programs that know no proxy reach nothing".to_owned());
        notes.extend(self.engine.notes.iter().cloned());
        if is_foreign && mode == WorkspaceMode::Overlay {
            notes.push("as root, the working directory is copied".to_owned());
        }
        Ok(notes)
    }

    fn apply(&mut self, step: &Step, start: &mut Start<'_>) -> Result<Effect> {
        if provision::apply(step, start, self.operator)? {
            return Ok(Effect::Done(Vec::new()));
        }
        match step {
            Step::Workspace(_) => self.workspace(start).map(Effect::Done),
            Step::Cage => self.cage(start),
            Step::Sidecar(component) => self.joining(component, start.plan)?.wait(),
            // Limits are in the project, and a sidecar's first process opens the ports that the agent dials, in the network that both share.
            _ => Ok(Effect::Done(Vec::new())),
        }
    }

    fn undo(&mut self, object: &Object, claim: &Claim, logs: Logs) -> Result<()> {
        let Object::ComposeProject { project, host } = object else { return kernel::undo(object) };
        let cut_short = self.under_way.get() && claim.metadata().phase == Phase::Starting;
        undo::project(project, host.as_deref(), claim, cut_short, logs)
    }
}
