//! What the engine has: asked of it, and compared with what was meant. Nothing is concluded from an exit code of compose.

use std::collections::BTreeMap;
use std::time::Duration;

use bottle_contract::Untrusted;
use serde::Deserialize;

use super::command::Running;
use super::engine::Engine;
use crate::backend::Archive;
use crate::error::{Error, Result};
use crate::render::compose::{COMPONENT_LABEL, PROJECT_LABEL};

/// How long an engine may take to load the images of a bottle.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long `up` may take once it has ended its work: nothing more is waited for.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do about an engine that does not do as it should.
pub(super) const ENGINE_HINT: &str = "`docker info` shows how the engine is; `--backend embedded` needs none";

/// An error of the engine, or on the way to it.
pub(super) fn failed_at(what: &str) -> impl Fn(std::io::Error) -> Error + use<> {
    let what = what.to_owned();
    move |e| Error::failed(&what, e, ENGINE_HINT)
}

/// Whatever carries this name is not ours: nothing of this bottle has been made.
pub(super) fn refuse_taken(engine: &Engine, id: &str, project: &str) -> Result<()> {
    let ours = format!("label={PROJECT_LABEL}={project}");
    let composes = format!("label=com.docker.compose.project={project}");
    for filter in [&ours, &composes] {
        for list in [&["ps", "--all", "--quiet", "--filter", filter][..], &["network", "ls", "--quiet", "--filter", filter]] {
            let said = engine.ask(list).map_err(failed_at("cannot ask the engine"))?;
            if !said.trim().is_empty() {
                let cause = format!("the engine has containers or networks of a project `{project}`");
                return Err(Error::failed(
                    format!("cannot start bottle `{}`: its project's name is taken", id),
                    cause,
                    "`bottle cleanup --backend compose` removes what is left of bottles; or start it with another `--name`",
                ));
            }
        }
    }
    Ok(())
}

/// Loads the images that the engine does not have, and looks whether it then has what was meant.
pub(super) fn load(engine: &Engine, archives: &BTreeMap<String, Archive>) -> Result<()> {
    for archive in archives.values() {
        let has = || engine.ask(&["image", "inspect", "--format", "{{.Id}}", &archive.id]);
        if has().is_ok_and(|id| id.trim() == archive.id) {
            continue;
        }
        let path = archive.path.display().to_string();
        let failed = failed_at("cannot load an image into the engine");
        engine.ask_for(&["load", "--quiet", "--input", &path], LOAD_TIMEOUT).map_err(&failed)?;
        let id = has().map_err(&failed)?;
        if id.trim() != archive.id {
            let cause = format!("{} was loaded as {}, and {} was meant", path, id.trim(), archive.id);
            return Err(Error::failed("an image is not what it should be", cause, "`bottle images verify` tells what differs"));
        }
    }
    Ok(())
}

/// The subnets of all networks that the engine has.
pub(super) fn networks(engine: &Engine) -> Result<Vec<String>> {
    let failed = failed_at("cannot ask the engine for its networks");
    let ids = engine.ask(&["network", "ls", "--quiet"]).map_err(&failed)?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let arguments: Vec<&str> = ["network", "inspect", "--format", format].into_iter().chain(ids).collect();
    // One may have gone meanwhile: the others are told all the same.
    let finished = engine.start(&arguments).and_then(|running| running.finish(EXIT_TIMEOUT)).map_err(&failed)?;
    Ok(finished.stdout.split_whitespace().map(str::to_owned).collect())
}

/// Compose has ended: what counts is what the engine says.
pub(super) fn check_up<'p>(
    engine: &Engine,
    project: &str,
    components: impl Iterator<Item = &'p str>,
    archives: &BTreeMap<String, Archive>,
    running: Running,
) -> Result<()> {
    let finished = running.finish(EXIT_TIMEOUT).map_err(failed_at("compose did not end"))?;
    let containers = containers(engine, project)?;
    for component in components {
        let container = containers.iter().find(|c| c.config.labels.get(COMPONENT_LABEL).is_some_and(|label| label == component));
        let Some(container) = container else {
            let what = format!("the engine did not make the container of `{component}`");
            return Err(Error::failed(what, finished.cause(), "`docker info` shows how the engine is"));
        };
        if !container.state.running {
            let words = engine.start(&["logs", "--tail", "1", &container.id]).and_then(|running| running.finish(EXIT_TIMEOUT));
            let words = words.map(|said| format!("{}{}", said.stdout, said.stderr)).unwrap_or_default();
            let words = Untrusted::new(words.trim()).to_string();
            let State { exit_code, error, .. } = &container.state;
            let cause = format!("exit code {exit_code} {} {words}", Untrusted::new(error));
            let hint = "`docker info` shows how the engine is, `compose.log` in the state directory is kept";
            return Err(Error::failed(format!("the container of `{component}` does not run"), cause.trim(), hint));
        }
        if archives.get(component).is_none_or(|archive| archive.id != container.image) {
            let cause = format!("it was made of {}", container.image);
            return Err(Error::failed(format!("the container of `{component}` is of another image"), cause, "start it again"));
        }
    }
    Ok(())
}

fn containers(engine: &Engine, project: &str) -> Result<Vec<Container>> {
    let failed = failed_at("cannot ask the engine for the bottle's containers");
    let ids =
        engine.ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("label={PROJECT_LABEL}={project}")]).map_err(&failed)?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let said = engine.ask(&["inspect"].into_iter().chain(ids).collect::<Vec<_>>()).map_err(&failed)?;
    serde_json::from_str(&said).map_err(|e| failed(e.into()))
}

/// A container, as the engine describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    image: String,
    state: State,
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    exit_code: i64,
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: BTreeMap<String, String>,
}
