//! The embedded backend: namespaces, no daemon, no root, nothing to install.
//!
//! The agent's network namespace holds only `lo`. The sockets on it are opened by the agent's own first process,
//! before it gives up its privileges, and handed to the sidecars that serve them: so `egress:9099` answers inside,
//! though no packet can leave.

pub mod cgroup;
pub mod host_tree;
pub mod ids;
pub mod piece;
pub mod programs;
pub mod root;
mod sources;
pub mod spawn;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bottle_contract::{Untrusted, names};
use bottle_init::spec::{Exec, Mode, SeccompProfile, Source, Spec, Surroundings};

use super::{Applied, Backend};
use crate::ca::Authority;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, PUBLIC};
use crate::manifest::model::WorkspaceMode;
use crate::plan::{Dialler, Network, Plan, SidecarPlan, Step};
use crate::store::{Claim, Object, Workspace};
use crate::values;
use cgroup::Hierarchy;
use ids::Ids;

/// The agent's place in the numbering of pieces; sidecars follow.
const AGENT: u32 = 0;
/// How long the kernel may take to let go of a control group.
const LET_GO: Duration = Duration::from_secs(2);

/// What this backend needs besides the plan.
pub struct Values {
    values: values::Values,
    window: (u16, u16),
    image: Option<PathBuf>,
}

impl Values {
    /// The values of a start, and the rows and columns of the operator's terminal.
    pub fn of(values: values::Values, window: (u16, u16)) -> Self {
        Self { values, window, image: None }
    }

    /// The unpacked image that the agent's root is made of.
    pub fn with_image(self, image: Option<PathBuf>) -> Self {
        Self { image, ..self }
    }

    /// For a look at the host only.
    pub fn none(window: (u16, u16)) -> Self {
        Self::of(values::Values { env: Vec::new(), tokens: BTreeMap::new(), fingerprints: serde_json::Value::Null }, window)
    }
}

/// One bottle under this backend.
pub struct Embedded<'p> {
    plan: &'p Plan,
    values: values::Values,
    window: (u16, u16),
    operator: (u32, u32),
    hierarchy: Hierarchy,
    groups: Vec<PathBuf>,
    own_executable: OwnedFd,
    agent_ca: String,
    changes: PathBuf,
    left_out: Vec<String>,
    image: Option<PathBuf>,
    listeners: BTreeMap<(String, String), OwnedFd>,
    awaited: Vec<(String, String)>,
}

impl<'p> Embedded<'p> {
    /// For one start.
    pub fn new(plan: &'p Plan, values: Values) -> Result<Self> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let own_executable = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())
            .map_err(|e| Error::failed("cannot find bottle's own program", format!("open /proc/self/exe: {e}"), "mount /proc"))?;
        let operator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let awaited = plan
            .sidecars
            .iter()
            .flat_map(|s| s.listeners.iter().map(move |l| (s, l)))
            .filter(|(_, l)| matches!(l.dialled_by, Dialler::Agent(_)))
            .map(|(s, l)| (s.piece.clone(), l.name.clone()))
            .collect();
        Ok(Self {
            plan,
            values: values.values,
            window: values.window,
            operator,
            hierarchy: Hierarchy::find(),
            groups: Vec::new(),
            own_executable,
            agent_ca: String::new(),
            changes: PathBuf::new(),
            left_out: Vec::new(),
            image: values.image,
            listeners: BTreeMap::new(),
            awaited,
        })
    }

    fn ids(&self, piece: &str) -> Ids {
        let position = self.plan.sidecars.iter().position(|s| s.piece == piece);
        let index = position.map_or(AGENT, |n| AGENT + 1 + u32::try_from(n).unwrap_or(0));
        ids::for_piece(self.operator, &self.plan.id, index)
    }

    fn sidecar(&self, piece: &str) -> Result<&'p SidecarPlan> {
        let found = self.plan.sidecars.iter().find(|s| s.piece == piece);
        found.ok_or_else(|| Error::failed(format!("the plan has no `{piece}`"), "a step names it", "this is a fault of bottle"))
    }

    fn cage(&mut self, claim: &mut Claim) -> Result<Applied> {
        let ports = self.plan.sidecars.iter().flat_map(|s| &s.listeners).filter_map(|l| match l.dialled_by {
            Dialler::Agent(port) => Some(port),
            Dialler::Siblings(_) => None,
        });
        let host = host_tree::read();
        let facts = root::AgentFacts { host: &host, ca_pem: &self.agent_ca, changes: &self.changes };
        let mut spec = Spec {
            piece: "agent".into(),
            hostname: self.plan.id.clone(),
            mode: Mode::Agent,
            surroundings: Surroundings::Fresh,
            own_network: true,
            listen: ports.collect(),
            image: self.image.clone().map(Source::Path),
            mounts: root::agent(self.plan, &facts),
            terminal: self.plan.agent.terminal,
            window: self.window,
            stdio_fds: [0; 3],
            passed_fds: Vec::new(),
            exec: Exec {
                program_fd: None,
                argv: self.plan.agent.argv.clone(),
                env: self.values.env.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect(),
                cwd: self.plan.agent.directory.clone(),
            },
            rlimits: vec![(libc::RLIMIT_CORE, 0), (libc::RLIMIT_NPROC, self.plan.limits.pids)],
            seccomp: match self.plan.workspace.mode {
                WorkspaceMode::Mount => SeccompProfile::AgentOnHostTree,
                // Changes are taken over without these bits.
                WorkspaceMode::Overlay | WorkspaceMode::Copy | WorkspaceMode::None => SeccompProfile::Agent,
            },
            writable: root::agent_writable(self.plan),
        };
        let ids = self.ids("agent");
        let mut fds = sources::detach(&mut spec, ids)?;
        let cell = piece::start_agent(&mut spec, &mut fds, ids, self.own_executable.as_fd(), &self.groups, claim)?;
        Ok(if spec.listen.is_empty() { Applied::Piece(cell) } else { Applied::PieceThenListeners(cell) })
    }

    fn start_sidecar(&mut self, sidecar: &SidecarPlan, claim: &mut Claim) -> Result<Applied> {
        let names: Vec<&str> = sidecar.listeners.iter().map(|l| l.name.as_str()).collect();
        let mut listeners = Vec::new();
        for name in &names {
            let key = (sidecar.piece.clone(), (*name).to_owned());
            let socket = self.listeners.remove(&key).ok_or_else(|| {
                Error::failed(format!("`{}` has no socket `{name}`", sidecar.piece), "it was not opened", "this is a fault of bottle")
            })?;
            listeners.push(socket);
        }
        let mut env = bottle_contract::handoff::environment(&names, 1);
        let resolution = if sidecar.host_resolution { piece::resolution() } else { Vec::new() };
        if sidecar.host_resolution {
            env.push(("SSL_CERT_FILE".into(), format!("{}/{}", names::CONFIG_DIR, piece::ROOTS)));
        }
        let program = programs::find(&sidecar.piece)?;
        let runtime = claim.runtime()?.path().to_owned();
        let mut spec = Spec {
            piece: sidecar.piece.clone(),
            hostname: sidecar.piece.clone(),
            mode: Mode::Sidecar,
            surroundings: Surroundings::Fresh,
            own_network: sidecar.network == Network::None,
            listen: Vec::new(),
            image: None,
            mounts: root::sidecar(sidecar, &runtime, &resolution),
            terminal: false,
            window: (0, 0),
            stdio_fds: [0; 3],
            passed_fds: Vec::new(),
            exec: Exec { program_fd: None, argv: vec![programs::file_name(&sidecar.piece)], env, cwd: "/".into() },
            rlimits: vec![(libc::RLIMIT_CORE, 0)],
            seccomp: SeccompProfile::Sidecar,
            writable: Vec::new(),
        };
        let ids = self.ids(&sidecar.piece);
        let mut fds = sources::detach(&mut spec, ids)?;
        piece::start_sidecar(&mut spec, &mut fds, program, listeners, ids, self.own_executable.as_fd(), claim).map(Applied::Piece)
    }

    fn authority(&mut self, name: &str, claim: &Claim) -> Result<()> {
        let authority = Authority::generate(&format!("bottle {name} {}", self.plan.id), SystemTime::now())?;
        let dir = claim.runtime()?.subdir(name)?.subdir("ca")?;
        dir.write_new(names::CA_CERT, authority.cert_pem.as_bytes(), PUBLIC)?;
        dir.write_new(names::CA_KEY, authority.key_pem.as_bytes(), PRIVATE)?;
        piece::give(&dir, &[names::CA_CERT, names::CA_KEY], self.ids(name))?;
        if self.plan.agent.trusts == name {
            self.agent_ca = authority.cert_pem;
        }
        Ok(())
    }

    fn configuration(&self, sidecar: &SidecarPlan, claim: &Claim) -> Result<()> {
        let dir = claim.runtime()?.subdir(&sidecar.piece)?.subdir("config")?;
        let (name, text) = sidecar
            .config
            .render(&self.values.fingerprints)
            .map_err(|e| Error::failed(format!("cannot write the configuration of {}", sidecar.piece), e, "this is a fault of bottle"))?;
        let mut files = vec![(name.to_owned(), text.into_bytes())];
        for (name, path) in &sidecar.trust {
            files.push((name.clone(), piece::read_certificates(path)?));
        }
        if sidecar.host_resolution {
            files.push((piece::ROOTS.into(), piece::system_roots()));
        }
        for (name, bytes) in &files {
            dir.write_new(name, bytes, PRIVATE)?;
        }
        piece::give(&dir, &files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), self.ids(&sidecar.piece))
    }

    fn secrets(&self, sidecar: &SidecarPlan, claim: &Claim) -> Result<()> {
        let dir = claim.runtime()?.subdir(&sidecar.piece)?.subdir("secrets")?;
        for secret in &sidecar.secrets {
            let value = self.values.tokens.get(&secret.token_ref).ok_or_else(|| {
                Error::failed(format!("the token `{}` has no value", secret.token_ref), "it was not resolved", "this is a fault of bottle")
            })?;
            dir.write_new(&secret.slot, value.as_bytes(), PRIVATE)?;
        }
        piece::give(&dir, &sidecar.secrets.iter().map(|s| s.slot.as_str()).collect::<Vec<_>>(), self.ids(&sidecar.piece))
    }

    fn workspace(&mut self, claim: &mut Claim) -> Result<()> {
        let mode = self.plan.workspace.mode;
        if matches!(mode, WorkspaceMode::None | WorkspaceMode::Mount) {
            return Ok(());
        }
        let path = claim.state().path().join("workspace");
        claim.record(Object::WorkspaceDir(path.clone()))?;
        let since = crate::clock::file_nanos();
        let dir = claim.state().subdir("workspace")?;
        let changes = if mode == WorkspaceMode::Overlay {
            dir.subdir("work")?;
            dir.subdir("upper")?.path().to_owned()
        } else {
            let copy = dir.subdir("copy")?;
            let report = crate::workspace::copy(&Dir::open(&self.plan.workspace.source)?, &copy)?;
            self.left_out.extend(report.skipped.iter().map(|skipped| {
                let path = Untrusted::new(skipped.path.as_os_str().as_encoded_bytes());
                format!("{path} is not in the agent's copy: {}", skipped.why)
            }));
            copy.path().to_owned()
        };
        // The agent's view of the top directory has the mode of the operator's.
        let top = std::fs::metadata(&self.plan.workspace.source).map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o777);
        if let Ok(mode) = top {
            let _ = rustix::fs::chmod(&changes, rustix::fs::Mode::from_raw_mode(mode | 0o700));
        }
        self.changes = if mode == WorkspaceMode::Overlay { path } else { changes.clone() };
        let source = self.plan.workspace.source.clone();
        let copied = if mode == WorkspaceMode::Copy { crate::clock::file_nanos() } else { 0 };
        claim.update(|m| m.workspace = Some(Workspace { mode, source, dir: changes, since, copied }))
    }

    fn limits(&mut self, claim: &mut Claim) -> Result<()> {
        self.groups = self.hierarchy.groups(&self.plan.id);
        for group in &self.groups {
            claim.record(Object::Cgroup(group.clone()))?;
        }
        let limits = &self.plan.limits;
        cgroup::make(&self.groups, limits.memory, limits.pids).map_err(|e| {
            Error::failed("cannot limit the agent", format!("control group: {e}"), "`bottle doctor` shows what this host allows")
        })
    }

    fn listen(&mut self, piece: &str, dialler: &Dialler, claim: &Claim) -> Result<()> {
        let Dialler::Siblings(socket) = dialler else { return Ok(()) };
        let link = claim.runtime()?.subdir("link")?;
        let listener = piece::unix_listener(&link, socket, self.ids(piece).foreign)?;
        let sidecar = self.sidecar(piece)?;
        let name = sidecar.listeners.iter().find(|l| l.dialled_by == *dialler).map(|l| l.name.clone()).unwrap_or_default();
        self.listeners.insert((piece.to_owned(), name), listener);
        Ok(())
    }
}

impl Backend for Embedded<'_> {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn check(&self) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for sidecar in &self.plan.sidecars {
            programs::find(&sidecar.piece)?;
        }
        if self.hierarchy == Hierarchy::Missing {
            if self.plan.limits.memory_is_required {
                return Err(Error::failed(
                    "this host does not let bottle limit memory",
                    "no control group that this user may write",
                    "run it in a delegated group (`systemd-run --user --scope bottle …`), or remove `limits.memory` from the manifest",
                ));
            }
            notes.push("memory is not limited: this host delegates no control group".to_owned());
        }
        Ok(notes)
    }

    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Applied> {
        match step {
            Step::RuntimeDirectory => claim.runtime().map(drop)?,
            Step::Authority(piece) => self.authority(piece, claim)?,
            Step::Configuration(piece) => self.configuration(self.sidecar(piece)?, claim)?,
            Step::Secrets(piece, _) => self.secrets(self.sidecar(piece)?, claim)?,
            Step::Workspace(_) => self.workspace(claim)?,
            Step::Limits => self.limits(claim)?,
            Step::Cage => return self.cage(claim),
            Step::Listen(piece, dialler) => self.listen(piece, dialler, claim)?,
            Step::Sidecar(piece) => return self.start_sidecar(self.sidecar(piece)?, claim),
            Step::Release => {}
        }
        Ok(Applied::Done)
    }

    fn listeners(&mut self, sockets: Vec<OwnedFd>) -> Result<()> {
        if sockets.len() != self.awaited.len() {
            let cause = format!("{} were expected, {} came", self.awaited.len(), sockets.len());
            return Err(Error::failed("the agent's network did not open its sockets", cause, "this is a fault of bottle"));
        }
        self.listeners.extend(self.awaited.drain(..).zip(sockets));
        Ok(())
    }

    fn left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    fn released(&mut self) {
        self.values = values::Values { env: Vec::new(), tokens: BTreeMap::new(), fingerprints: serde_json::Value::Null };
    }

    fn undo(&mut self, claim: &mut Claim) -> Vec<Error> {
        self.listeners.clear();
        undo_objects(claim)
    }
}

/// Removes everything that is recorded of a bottle whose processes have ended, last first. `bottle cleanup` uses the
/// same for a bottle whose supervisor was killed.
pub fn undo_objects(claim: &mut Claim) -> Vec<Error> {
    let mut errors = Vec::new();
    let objects = claim.metadata().objects.clone();
    let deadline = Instant::now() + LET_GO;
    for object in objects.iter().rev() {
        let result = match object {
            Object::Cgroup(path) => cgroup::remove(path, deadline).map_err(|e| {
                Error::failed(format!("cannot remove the control group {}", path.display()), e, "`bottle cleanup` tries again")
            }),
            Object::RuntimeDir(_) => claim.remove_runtime(),
            Object::Process { pid, start_time, .. } => piece::end(*pid, *start_time),
            // Kept for `bottle diff` and `bottle apply`.
            Object::WorkspaceDir(_) => continue,
            Object::ComposeProject(_) => continue,
        };
        match result {
            Ok(()) => errors.extend(claim.forget(object).err()),
            Err(error) => errors.push(error),
        }
    }
    errors
}
