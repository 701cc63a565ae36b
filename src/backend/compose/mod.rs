//! The compose backend: the same plan on an engine that teams already run.
//!
//! One project for each bottle, rendered by [`crate::render::compose`]. The engine makes namespaces, roots and networks; everything that
//! is said between the supervisor and a piece goes over the socket of [`join`], so that the pieces are told what to do, are watched, and
//! end, exactly as in the embedded backend, whatever becomes of the daemon.

pub mod command;
pub mod engine;
mod join;
pub mod subnets;
pub mod undo;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bottle_contract::names;
use bottle_init::spec::{Exec, Mode, Mount, SeccompProfile, Spec, Surroundings};
use serde::Deserialize;

use super::embedded::piece::{add, pipe};
use super::ids::{self, Ids};

use super::{Applied, Archive, Backend, Cell, Given, host_tree, programs, provision};
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};
use crate::manifest::model::WorkspaceMode;
use crate::plan::{Dialler, Plan, Step};
use crate::render::compose::{self as render, AGENT, Bind, Facts, PIECE_LABEL, PROJECT_LABEL, Workplace};
use crate::store::{Claim, Object, Workspace};
use crate::values::Values;
use command::Running;
use engine::Engine;
use join::Awaited;
use subnets::Range;

/// How long an engine may take to load the images of a bottle.
const LOAD: Duration = Duration::from_secs(60);
/// How long `up` may take once it has ended its work: nothing more is waited for.
const ENDED: Duration = Duration::from_secs(5);
/// Where the container's program is, in the images.
const ROOT: &str = "/";

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
    /// The first process of a piece.
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
    pub fn new(plan: &'p Plan, given: Given, engine: Engine) -> Self {
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
            left_out: Vec::new(),
            facts: None,
            awaited: BTreeMap::new(),
            listeners: BTreeMap::new(),
            pending: None,
        }
    }

    fn ids(&self, piece: &str) -> Ids {
        ids::in_plan(self.operator, self.plan, piece)
    }

    fn pieces(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        let plan = self.plan;
        std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.piece.as_str()))
    }

    fn failed(what: &str) -> impl Fn(std::io::Error) -> Error + use<> {
        let what = what.to_owned();
        move |e| Error::failed(&what, e, "`docker info` shows how the engine is; `--backend embedded` needs none")
    }

    /// The agent's working directory: an overlay that the engine mounts, with the changes in the same place and form as the embedded
    /// backend's. As root the agent is somebody else than the owner of the tree, and gets a copy of its own.
    fn workspace(&mut self, claim: &mut Claim) -> Result<()> {
        let source = &self.plan.workspace.source;
        let mode = match self.plan.workspace.mode {
            WorkspaceMode::Mount => {
                self.workplace = Workplace::Directory(source.clone());
                return Ok(());
            }
            WorkspaceMode::None => return Ok(()),
            WorkspaceMode::Overlay if self.ids(AGENT).foreign || !is_plain_option(source) || !is_plain_option(claim.state().path()) => {
                WorkspaceMode::Copy
            }
            mode => mode,
        };
        let path = claim.state().path().join("workspace");
        claim.record(Object::WorkspaceDir(path.clone()))?;
        let since = crate::clock::file_nanos();
        let dir = claim.state().subdir("workspace")?;
        let changes = if mode == WorkspaceMode::Overlay {
            dir.subdir("work")?;
            dir.subdir("upper")?.path().to_owned()
        } else {
            let copy = dir.subdir("copy")?;
            self.left_out.extend(provision::copy(source, &copy)?);
            copy.path().to_owned()
        };
        provision::same_mode(source, &changes);
        let ids = self.ids(AGENT);
        if ids.foreign {
            own_tree(&changes, ids).map_err(|e| Error::failed("cannot give the agent its copy", e, "bottle as root needs CAP_CHOWN"))?;
        }
        let copied = if mode == WorkspaceMode::Copy { crate::clock::file_nanos() } else { 0 };
        self.workplace = match mode {
            WorkspaceMode::Overlay => Workplace::Overlay { lower: source.clone(), changes: path },
            _ => Workplace::Directory(changes.clone()),
        };
        claim.update(|m| m.workspace = Some(Workspace { mode, source: source.clone(), dir: changes, since, copied }))
    }

    /// Everything that the containers will find, then the containers.
    fn cage(&mut self, claim: &mut Claim) -> Result<Applied> {
        let owner = owner(claim.state().path().parent().unwrap_or(Path::new("/")));
        let project = project(&self.plan.id, &owner);
        self.refuse_taken(&project)?;
        let host = self.engine.host().map(str::to_owned);
        claim.record(Object::ComposeProject { project: project.clone(), host })?;
        self.load()?;
        let runtime = claim.runtime()?;
        first_process(runtime)?;
        runtime.subdir("link")?;
        for piece in self.pieces() {
            let directory = runtime.subdir(piece)?.subdir("join")?;
            self.awaited.insert(piece.to_owned(), Awaited::open(directory, self.ids(piece))?);
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

    /// Whatever carries this name is not ours: nothing of this bottle has been made.
    fn refuse_taken(&self, project: &str) -> Result<()> {
        let ours = format!("label={PROJECT_LABEL}={project}");
        let composes = format!("label=com.docker.compose.project={project}");
        for filter in [&ours, &composes] {
            for list in [&["ps", "--all", "--quiet", "--filter", filter][..], &["network", "ls", "--quiet", "--filter", filter]] {
                let said = self.engine.ask(list).map_err(Self::failed("cannot ask the engine"))?;
                if !said.trim().is_empty() {
                    let cause = format!("the engine has containers or networks of a project `{project}`");
                    return Err(Error::failed(
                        format!("cannot start bottle `{}`: its project's name is taken", self.plan.id),
                        cause,
                        "`bottle cleanup --backend compose` removes what is left of bottles; or start it with another `--name`",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Loads the images that the engine does not have, and looks whether it then has what was meant.
    fn load(&self) -> Result<()> {
        for archive in self.archives.values() {
            let has = || self.engine.ask(&["image", "inspect", "--format", "{{.Id}}", &archive.id]);
            if has().is_ok_and(|id| id.trim() == archive.id) {
                continue;
            }
            let path = archive.path.display().to_string();
            let failed = Self::failed("cannot load an image into the engine");
            self.engine.ask_for(&["load", "--quiet", "--input", &path], LOAD).map_err(&failed)?;
            let id = has().map_err(&failed)?;
            if id.trim() != archive.id {
                let cause = format!("{} was loaded as {}, and {} was meant", path, id.trim(), archive.id);
                return Err(Error::failed("an image is not what it should be", cause, "`bottle images verify` tells what differs"));
            }
        }
        Ok(())
    }

    fn facts(&self, project: &str, owner: &str, claim: &Claim) -> Result<Facts> {
        let mut taken = Range::routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
        taken.extend(self.networks()?.iter().filter_map(|subnet| Range::parse(subnet)));
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
        let users = self.pieces().map(|piece| (piece.to_owned(), self.ids(piece))).map(|(piece, ids)| (piece, (ids.uid, ids.gid)));
        Ok(Facts {
            project: project.to_owned(),
            owner: owner.to_owned(),
            runtime,
            users: users.collect(),
            images: self.archives.iter().map(|(piece, archive)| (piece.clone(), archive.id.clone())).collect(),
            closed: self.engine.closed,
            subnets,
            sandbox: None,
            agent: view::tools(self.plan, &host_tree::read()),
            resolution,
            workplace: self.workplace.clone(),
        })
    }

    /// The subnets of all networks that the engine has.
    fn networks(&self) -> Result<Vec<String>> {
        let failed = Self::failed("cannot ask the engine for its networks");
        let ids = self.engine.ask(&["network", "ls", "--quiet"]).map_err(&failed)?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
        let arguments: Vec<&str> = ["network", "inspect", "--format", format].into_iter().chain(ids).collect();
        // One may have gone meanwhile: the others are told all the same.
        let finished = self.engine.start(&arguments).and_then(|running| running.finish(ENDED)).map_err(&failed)?;
        Ok(finished.stdout.split_whitespace().map(str::to_owned).collect())
    }

    fn up(&mut self, claim: &Claim, project: &str) -> Result<Applied> {
        let file = claim.state().path().join(render::FILE).display().to_string();
        let arguments = ["--project-name", project, "--file", &file, "up", "--detach", "--no-build", "--no-color"];
        let running = self.engine.compose(&arguments).map_err(Self::failed("cannot start compose"))?;
        let end = running.end().map_err(Self::failed("cannot watch compose"))?;
        self.pending = Some(Pending::Up(running));
        Ok(Applied::Waits(end))
    }

    /// Compose has ended: what counts is what the engine says.
    fn upped(&mut self, running: Running) -> Result<()> {
        let finished = running.finish(ENDED).map_err(Self::failed("compose did not end"))?;
        let project = self.facts.as_ref().map(|facts| facts.project.clone()).unwrap_or_default();
        let containers = self.containers(&project)?;
        for piece in self.pieces() {
            let container = containers.iter().find(|c| c.config.labels.get(PIECE_LABEL).is_some_and(|label| label == piece));
            let Some(container) = container else {
                let what = format!("the engine did not make the container of `{piece}`");
                return Err(Error::failed(what, finished.cause(), "`docker info` shows how the engine is"));
            };
            if !container.state.running {
                let words = self.engine.start(&["logs", "--tail", "1", &container.id]).and_then(|running| running.finish(ENDED));
                let words = words.map(|said| format!("{}{}", said.stdout, said.stderr)).unwrap_or_default();
                let words = bottle_contract::Untrusted::new(words.trim()).to_string();
                let State { exit_code, error, .. } = &container.state;
                let cause = format!("exit code {exit_code} {} {words}", bottle_contract::Untrusted::new(error));
                let hint = "`docker info` shows how the engine is, `compose.log` in the state directory is kept";
                return Err(Error::failed(format!("the container of `{piece}` does not run"), cause.trim(), hint));
            }
            if self.archives.get(piece).is_none_or(|archive| archive.id != container.image) {
                let cause = format!("it was made of {}", container.image);
                return Err(Error::failed(format!("the container of `{piece}` is of another image"), cause, "start it again"));
            }
        }
        Ok(())
    }

    fn containers(&self, project: &str) -> Result<Vec<Container>> {
        let failed = Self::failed("cannot ask the engine for the bottle's containers");
        let ids = self
            .engine
            .ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("label={PROJECT_LABEL}={project}")])
            .map_err(&failed)?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let said = self.engine.ask(&["inspect"].into_iter().chain(ids).collect::<Vec<_>>()).map_err(&failed)?;
        serde_json::from_str(&said).map_err(|e| failed(e.into()))
    }

    fn join(&mut self, piece: &str) -> Result<Applied> {
        let awaited = self
            .awaited
            .get(piece)
            .ok_or_else(|| Error::failed(format!("nobody waits for `{piece}`"), "it was not prepared", "this is a fault of bottle"))?;
        let fd = awaited.fd().try_clone_to_owned().map_err(Self::failed("cannot wait for a container"))?;
        self.pending = Some(Pending::Join(piece.to_owned()));
        Ok(Applied::Waits(fd))
    }

    /// The piece is there: it is told what to do.
    fn joined(&mut self, piece: &str) -> Result<Applied> {
        let Some(awaited) = self.awaited.remove(piece) else { return Ok(Applied::Done) };
        let joined = awaited.accept(piece, self.ids(piece))?;
        let failed = Self::failed(&format!("cannot tell `{piece}` what to do"));
        let (spec, fds, mut cell) = if piece == AGENT { self.agent(&failed)? } else { self.sidecar(piece, &failed)? };
        join::set_up(&joined, &spec, &fds).map_err(&failed)?;
        let cell = Cell {
            piece: piece.to_owned(),
            pid: joined.pid,
            pidfd: joined.pidfd,
            control: joined.control,
            held: true,
            outputs: std::mem::take(&mut cell.outputs),
            input: cell.input,
            ready: cell.ready,
        };
        Ok(Applied::Piece(cell))
    }

    fn agent(&mut self, failed: &dyn Fn(std::io::Error) -> Error) -> Result<(Spec, Vec<OwnedFd>, Ends)> {
        let plan = self.plan;
        let mut fds = Vec::new();
        let mut ends = Ends::default();
        let mut stdio_fds = [0; 3];
        if !plan.agent.terminal {
            let (input_theirs, input_ours) = pipe().map_err(failed)?;
            let (stdout_ours, stdout_theirs) = pipe().map_err(failed)?;
            let (stderr_ours, stderr_theirs) = pipe().map_err(failed)?;
            stdio_fds = [add(&mut fds, input_theirs), add(&mut fds, stdout_theirs), add(&mut fds, stderr_theirs)];
            ends.outputs = vec![("stdout", stdout_ours), ("stderr", stderr_ours)];
            ends.input = Some(input_ours);
        }
        let links = plan.agent.links.iter().map(|(target, to)| Mount::Symlink { to: to.clone(), target: target.clone() });
        let files = plan.agent.files.iter().map(|(target, text)| Mount::File { target: target.clone(), text: text.clone(), mode: 0o600 });
        let spec = Spec {
            mounts: links.chain(files).collect(),
            terminal: plan.agent.terminal,
            window: self.window,
            stdio_fds,
            exec: Exec {
                program_fd: None,
                argv: plan.agent.argv.clone(),
                env: self.values.env.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect(),
                cwd: plan.agent.directory.clone(),
            },
            seccomp: match plan.workspace.mode {
                WorkspaceMode::Mount => SeccompProfile::AgentOnHostTree,
                WorkspaceMode::Overlay | WorkspaceMode::Copy | WorkspaceMode::None => SeccompProfile::Agent,
            },
            writable: super::embedded::root::agent_writable(plan),
            ..piece_spec(AGENT, &plan.id, Mode::Agent, Vec::new())
        };
        Ok((spec, fds, ends))
    }

    fn sidecar(&mut self, piece: &str, failed: &dyn Fn(std::io::Error) -> Error) -> Result<(Spec, Vec<OwnedFd>, Ends)> {
        let sidecar = provision::sidecar(self.plan, piece)?;
        let facts = self.facts.as_ref().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let mut fds = Vec::new();
        let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        let (log_ours, log_theirs) = pipe().map_err(failed)?;
        let (ready_ours, ready_theirs) = pipe().map_err(failed)?;
        let null = add(&mut fds, null.into());
        let log = add(&mut fds, log_theirs);
        // Order matters: what the first process opens comes before what it is passed.
        let (mut opened, mut passed, mut bind, mut passed_fds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for listener in &sidecar.listeners {
            match &listener.dialled_by {
                Dialler::Agent(port) => {
                    opened.push(listener.name.as_str());
                    bind.push(SocketAddr::new(render::address(self.plan, piece, facts).into(), *port));
                }
                Dialler::Siblings(_) => {
                    let socket = self.listeners.remove(&(piece.to_owned(), listener.name.clone())).ok_or_else(|| {
                        let what = format!("`{piece}` has no socket `{}`", listener.name);
                        Error::failed(what, "it was not opened", "this is a fault of bottle")
                    })?;
                    passed.push(listener.name.as_str());
                    passed_fds.push(add(&mut fds, socket));
                }
            }
        }
        passed_fds.push(add(&mut fds, ready_theirs));
        let names = [opened, passed].concat();
        let mut env = bottle_contract::handoff::environment(&names, 0);
        // It is not the first process, and cannot know its number.
        env.retain(|(name, _)| name != "LISTEN_PID");
        if sidecar.host_resolution {
            env.push(("SSL_CERT_FILE".into(), format!("{}/{}", names::CONFIG_DIR, provision::ROOTS)));
        }
        let spec = Spec {
            stdio_fds: [null, log, log],
            passed_fds,
            exec: Exec { program_fd: None, argv: vec![format!("/{}", programs::file_name(piece))], env, cwd: ROOT.into() },
            ..piece_spec(piece, piece, Mode::Sidecar, bind)
        };
        Ok((spec, fds, Ends { outputs: vec![("stderr", log_ours)], input: None, ready: Some(ready_ours) }))
    }
}

/// Our ends of a piece's descriptors.
#[derive(Default)]
struct Ends {
    outputs: Vec<(&'static str, OwnedFd)>,
    input: Option<OwnedFd>,
    ready: Option<OwnedFd>,
}

/// What the specifications of all pieces have in common.
fn piece_spec(piece: &str, hostname: &str, mode: Mode, bind: Vec<SocketAddr>) -> Spec {
    Spec {
        piece: piece.to_owned(),
        hostname: hostname.to_owned(),
        mode,
        surroundings: Surroundings::Container { bind },
        own_network: true,
        listen: Vec::new(),
        image: None,
        mounts: Vec::new(),
        terminal: false,
        window: (0, 0),
        stdio_fds: [0; 3],
        passed_fds: Vec::new(),
        // The engine has put it into those of its container.
        group_fds: Vec::new(),
        exec: Exec { program_fd: None, argv: Vec::new(), env: Vec::new(), cwd: ROOT.into() },
        // A limit on processes would count those of the operator on the whole host: the container's own limit is used.
        rlimits: vec![(libc::RLIMIT_CORE, 0)],
        seccomp: SeccompProfile::Sidecar,
        writable: Vec::new(),
    }
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

/// Gives a tree that this process has just made to a piece.
fn own_tree(top: &Path, ids: Ids) -> std::io::Result<()> {
    let mut ahead: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                ahead.push(entry?.path());
            }
        }
        if (meta.uid(), meta.gid()) != (ids.uid, ids.gid) {
            lchown(&path, Some(ids.uid), Some(ids.gid))?;
        }
    }
    Ok(())
}

impl Backend for Compose<'_> {
    fn name(&self) -> &'static str {
        "compose"
    }

    fn check(&self) -> Result<Vec<String>> {
        for sidecar in &self.plan.sidecars {
            programs::find(&sidecar.piece)?;
        }
        if self.ids(AGENT).foreign && self.plan.workspace.mode == WorkspaceMode::Mount {
            return Err(Error::failed(
                "root cannot show its own directory to an agent in a container",
                "the agent is another user there, and an engine maps no owners",
                "write `workspace: overlay`, or start bottle as the owner of the directory",
            ));
        }
        let mut notes = vec![format!("runs on {}", self.engine.name)];
        notes.extend(self.engine.notes.iter().cloned());
        if self.ids(AGENT).foreign && self.plan.workspace.mode == WorkspaceMode::Overlay {
            notes.push("as root, the working directory is copied".to_owned());
        }
        Ok(notes)
    }

    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Applied> {
        match step {
            Step::RuntimeDirectory => claim.runtime().map(drop)?,
            Step::Authority(piece) => {
                let certificate = provision::authority(piece, &self.plan.id, claim, self.ids(piece))?;
                if self.plan.agent.trusts == *piece {
                    self.agent_ca = certificate;
                }
            }
            Step::Configuration(piece) => {
                provision::configuration(provision::sidecar(self.plan, piece)?, &self.values, claim, self.ids(piece))?;
            }
            Step::Secrets(piece, _) => provision::secrets(provision::sidecar(self.plan, piece)?, &self.values, claim, self.ids(piece))?,
            Step::Workspace(_) => self.workspace(claim)?,
            // They are in the project.
            Step::Limits => {}
            Step::Cage => return self.cage(claim),
            Step::Listen(piece, Dialler::Siblings(socket)) => {
                let link = claim.runtime()?.subdir("link")?;
                let listener = provision::unix_listener(&link, socket, self.ids(piece).foreign)?;
                let sidecar = provision::sidecar(self.plan, piece)?;
                let name = sidecar.listeners.iter().find(|l| matches!(&l.dialled_by, Dialler::Siblings(other) if other == socket));
                self.listeners.insert((piece.clone(), name.map(|l| l.name.clone()).unwrap_or_default()), listener);
            }
            // The sidecar's first process opens it, in the network that it shares with the agent.
            Step::Listen(_, Dialler::Agent(_)) => {}
            Step::Sidecar(piece) => return self.join(piece),
            Step::Release => {}
        }
        Ok(Applied::Done)
    }

    fn proceed(&mut self, _claim: &mut Claim) -> Result<Applied> {
        match self.pending.take() {
            Some(Pending::Up(running)) => {
                self.upped(running)?;
                self.join(AGENT)
            }
            Some(Pending::Join(piece)) => self.joined(&piece),
            None => Ok(Applied::Done),
        }
    }

    fn awaited(&mut self) -> Option<Error> {
        let hint = "`docker info` shows how the engine is; `--backend embedded` needs none";
        match self.pending.as_ref()? {
            Pending::Up(running) => {
                Some(Error::failed("the engine did not make the containers in time", format!("`{}` still runs", running.line()), hint))
            }
            Pending::Join(piece) => {
                Some(Error::failed(format!("the container of `{piece}` did not call in time"), "it runs, and has not connected", hint))
            }
        }
    }

    fn listeners(&mut self, _sockets: Vec<OwnedFd>) -> Result<()> {
        Err(Error::failed("a piece opened sockets", "in containers each opens its own", "this is a fault of bottle"))
    }

    fn left_out(&mut self) -> Vec<String> {
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
        errors.extend(super::undo::objects(claim));
        errors
    }
}
