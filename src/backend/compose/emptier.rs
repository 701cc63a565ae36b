//! Emptying a directory in which the engine's root has made what an ordinary user cannot remove: by root, in a container that has nothing
//! else. The kernel makes an overlay's work directory as whoever mounts it, and leaves a node in it once the agent has deleted a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::Engine;
use super::names;
use crate::error::{Error, Result};
use crate::files::{Dir, entries};
use crate::plan::agent::AGENT;
use crate::render::compose::{self as render, INIT_DIR, PROJECT_LABEL, STATE_LABEL};
use crate::store::Claim;

/// The first argument of bottle's own program in the container; the second is the directory.
pub const EMPTY: &str = "empty";
/// The directory in the container.
const DIRECTORY: &str = "/run/bottle/emptied";
/// How long the container may take: a tree of a million files takes half of it.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(60);
/// Nobody writes a longer project.
const MAX_PROJECT_BYTES: u64 = 1 << 20;

/// In the container: removes all that is in `directory`. The exit code of the container's only process.
pub fn inside(directory: &Path) -> u8 {
    let emptied = Dir::open(directory).and_then(|dir| {
        let removed = entries(&dir)?.iter().map(|name| dir.remove_tree(name)).collect::<Vec<_>>();
        removed.into_iter().collect::<Result<()>>()
    });
    match emptied {
        Ok(()) => 0,
        Err(error) => {
            // The engine's client passes it on.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{}: {}\n", error.what, error.cause).as_bytes());
            error.code
        }
    }
}

/// Whose the container is. It carries the labels, so that one that a crash leaves is found with the rest.
struct Labels<'a> {
    project: &'a str,
    owner: &'a str,
}

/// Removes the work directory of an overlay that has been unmounted. The agent's changes stay.
pub(super) fn work_directory(engine: &Engine, project: &str, claim: &Claim) -> Result<()> {
    let state = claim.state();
    if state.stat("workspace")?.is_none() {
        return Ok(());
    }
    let workspace = state.open_subdir("workspace")?;
    let git = if workspace.stat("git")?.is_some() { Some(workspace.open_subdir("git")?) } else { None };
    [Some(workspace), git].into_iter().flatten().try_for_each(|place| {
        let Err(error) = place.remove_tree("work") else { return Ok(()) };
        let labels = Labels { project, owner: &names::owner(state.path().parent().unwrap_or(Path::new("/"))) };
        empty(engine, &labels, image(engine, Some(state)), program(Some(claim)), &place.path().join("work"), error)?;
        place.remove_tree("work")
    })
}

/// Removes what is in a bottle's workspace, with the changes.
pub fn workspace(claim: &Claim) -> Result<()> {
    let state = claim.state();
    let Err(error) = state.remove_tree("workspace") else { return Ok(()) };
    let owner = names::owner(state.path().parent().unwrap_or(Path::new("/")));
    let labels = Labels { project: &names::project(claim.id().as_str(), &owner), owner: &owner };
    let engine = today();
    empty(&engine, &labels, image(&engine, Some(state)), program(Some(claim)), &state.path().join("workspace"), error)?;
    state.remove_tree("workspace")
}

/// Empties a tree of which nothing but its place below the state directory is known.
pub fn stray(directory: &Path, why: Error) -> Result<()> {
    let owner = names::owner(directory.parent().unwrap_or(Path::new("/")));
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let labels = Labels { project: &names::project(name.trim_start_matches('.'), &owner), owner: &owner };
    let engine = today();
    empty(&engine, &labels, image(&engine, None), program(None), directory, why)
}

fn today() -> Engine {
    Engine::of(std::env::var("DOCKER_HOST").ok().as_deref())
}

/// Runs the container. `why` is the error without it.
fn empty(
    engine: &Engine,
    labels: &Labels<'_>,
    image: Option<String>,
    program: Option<PathBuf>,
    directory: &Path,
    why: Error,
) -> Result<()> {
    let failed = |cause: String| {
        let hint = format!("`sudo rm -r {}` removes it; other bottles are not concerned", directory.display());
        Err(Error::failed(why.what.clone(), format!("{}; the engine cannot do it either: {cause}", why.cause), hint))
    };
    let (Some(image), Some(program)) = (image, program) else { return failed("it has no image of bottle's".to_owned()) };
    if !names::is_plain_option(directory) || !names::is_plain_option(&program) {
        return failed("the path has signs that separate its options".to_owned());
    }
    let name = format!("{INIT_DIR}/{}", bottle_init::ARGV0);
    let mount = |source: &Path, target: &str, more: &str| format!("type=bind,source={},target={target}{more}", source.display());
    let (project, owner) = (format!("{PROJECT_LABEL}={}", labels.project), format!("{STATE_LABEL}={}", labels.owner));
    let (own, emptied) = (mount(&program, &name, ",readonly"), mount(directory, DIRECTORY, ""));
    let identity = ["run", "--rm", "--pull", "never", "--label", &project, "--label", &owner, "--user", "0:0"];
    let closed = ["--network", "none", "--read-only", "--security-opt", "no-new-privileges:true", "--pids-limit", "16"];
    // Enough to enter and change any directory that it is shown, which is this one.
    let privileges = ["--cap-drop", "ALL", "--cap-add", "DAC_OVERRIDE", "--cap-add", "FOWNER"];
    let work = ["--mount", &own, "--mount", &emptied, "--entrypoint", &name, &image, EMPTY, DIRECTORY];
    let arguments = [&identity[..], &closed, &privileges, &work].concat();
    engine.ask_for(&arguments, EMPTY_TIMEOUT).map(drop).or_else(|e| failed(e.to_string()))
}

/// Any image will do: the program is brought along. The agent's own is there, unless somebody has removed it.
fn image(engine: &Engine, state: Option<&Dir>) -> Option<String> {
    let planned = || {
        let text = state?.read_bounded(render::FILE, MAX_PROJECT_BYTES).ok()?;
        let project: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let image = project["services"][AGENT]["image"].as_str()?.to_owned();
        engine.ask(&["image", "inspect", "--format", "{{.Id}}", &image]).is_ok().then_some(image)
    };
    let any = || {
        let said = engine.ask(&["images", "--quiet", "--no-trunc", "--filter", "reference=localhost/bottle/*"]).ok()?;
        said.split_whitespace().next().map(str::to_owned)
    };
    planned().or_else(any)
}

/// Bottle's own program: as it was put into the bottle's containers, or as it runs now.
fn program(claim: Option<&Claim>) -> Option<PathBuf> {
    let provided = claim.and_then(|claim| Some(claim.runtime().ok()?.path().join("init").join(bottle_init::ARGV0)));
    provided.filter(|path| path.exists()).or_else(|| std::env::current_exe().ok())
}
