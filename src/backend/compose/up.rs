//! `compose up`: what it makes is compared with the plan, and only then is the agent's container awaited.

use std::cell::Cell;
use std::rc::Rc;

use super::command::Running;
use super::engine::Engine;
use super::objects::{self, ENGINE_HINT, failed_at};
use super::pending::Joining;
use super::project_file::components;
use crate::backend::{Effect, Resume, Start};
use crate::error::{Error, Result};
use crate::render::compose as render;

/// True while an engine may still make objects of a bottle: whoever removes them then has to look again.
pub(super) type UnderWay = Rc<Cell<bool>>;

/// `compose up` runs. Dropped, it is ended, and the engine may go on for a moment.
#[derive(Debug)]
pub(super) struct Up {
    running: Running,
    engine: Engine,
    project: String,
    under_way: UnderWay,
    agent: Joining,
}

impl Up {
    /// Starts it. What it makes is what the project's file says.
    pub(super) fn start(engine: &Engine, project: String, under_way: &UnderWay, agent: Joining, start: &Start<'_>) -> Result<Effect> {
        let file = start.claim.state().path().join(render::FILE).display().to_string();
        let arguments = ["--project-name", &project, "--file", &file, "up", "--detach", "--no-build", "--no-color"];
        let running = engine.compose(&arguments).map_err(failed_at("cannot start compose"))?;
        under_way.set(true);
        let end = running.end().map_err(failed_at("cannot watch compose"))?;
        let up = Self { running, engine: engine.clone(), project, under_way: under_way.clone(), agent };
        Ok(Effect::Pending(end, Box::new(up)))
    }
}

impl Resume for Up {
    fn resume(self: Box<Self>, start: &mut Start<'_>) -> Result<Effect> {
        let Self { running, engine, project, under_way, agent } = *self;
        // It has ended by itself, and so has what it asked for.
        under_way.set(false);
        objects::check_up(&engine, &project, components(start.plan), &start.input.images.archives, running)?;
        agent.wait()
    }

    fn overdue(&self) -> Error {
        let cause = format!("`{}` still runs", self.running.line());
        Error::failed("the engine did not make the containers in time", cause, ENGINE_HINT)
    }
}
