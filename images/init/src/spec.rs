//! What the supervisor wants the inside half to do, as data.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything about one component. Numbers in `*_fd` fields index the descriptors that came with the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `agent`, `egress`, …
    pub component: String,
    /// The UTS host name.
    pub hostname: String,
    /// Stay as pid 1, or become the program.
    pub mode: Mode,
    /// Who made the namespaces and the root.
    pub surroundings: Surroundings,
    /// This process is in a network namespace of its own and must bring `lo` up.
    pub own_network: bool,
    /// Addresses of that namespace's `lo`, with the length of a prefix whose every address is local. IPv6 where there is IPv6.
    pub local: Vec<(IpAddr, u8)>,
    /// Sockets to open in that namespace and to hand to the supervisor, in this order.
    pub listen: Vec<Socket>,
    /// The tree that the root is made of, kept as it is: what is written to the root goes to memory. `None`: nothing.
    pub image: Option<Source>,
    /// What is mounted into the root, in order.
    pub mounts: Vec<Mount>,
    /// Where a terminal of the bottle's own devpts is wanted.
    pub terminal: bool,
    /// Rows and columns of the terminal at start.
    pub window: (u16, u16),
    /// The supervisor's pidfd: a process asks to be killed with its parent, which is in vain if that has ended already. `None` in a
    /// container, which no process of the supervisor's begins.
    pub supervisor_fd: Option<usize>,
    /// Standard input, output and error.
    pub stdio_fds: [usize; 3],
    /// Descriptors that the program finds from 3 on.
    pub passed_fds: Vec<usize>,
    /// The program.
    pub exec: Exec,
    /// Soft and hard limits by `RLIMIT_*` number.
    pub rlimits: Vec<(u32, u64)>,
    /// Lists of the processes of control groups, open for writing: this process enters each.
    pub group_fds: Vec<usize>,
    /// Which system calls are refused.
    pub seccomp: SeccompProfile,
    /// Which unix sockets there are inside.
    pub sockets: UnixSockets,
    /// Directories of an overlay's lower layer are renamed by pid 1: the kernel cannot.
    pub renames_directories: bool,
    /// Paths below which landlock lets the component write.
    pub writable: Vec<PathBuf>,
}

/// Who made the namespaces and the root that this process finds itself in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surroundings {
    /// The supervisor made empty namespaces; everything else is for this process to do.
    Fresh,
    /// A container engine made them, with the root, and took the privileges away; this process is pid 1 there.
    Container {
        /// The addresses that a sidecar serves: opened here, and found by the program before the descriptors that it is passed.
        bind: Vec<SocketAddr>,
    },
}

/// A socket in the agent's network that a sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// Listens at this address.
    Tcp(SocketAddr),
    /// Listens at this port of every address, over IPv6, too, if one of [`Spec::local`] could be had.
    TcpEverywhere(u16),
    /// Receives datagrams at this address.
    Udp(SocketAddr),
    /// Receives the kernel's refusals of connections to these ports of [`Spec::local`].
    Refusals(Vec<u16>),
}

/// What becomes of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It executes the program in place; in a container it stays, so that the container ends with its supervisor.
    Sidecar,
    /// It stays as pid 1 and starts the program as its child.
    Agent,
}

/// The program to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// A descriptor of the executable; `None`: `argv[0]`, looked up in the inside `PATH`.
    pub program_fd: Option<usize>,
    /// Arguments, the name first.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: PathBuf,
}

/// Which system calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompProfile {
    /// For an agent: what it takes to build and test software, no kernel administration, and no setuid files: what it changes lies on the
    /// host as its owner's, who may be root.
    Agent,
    /// The same for an agent that writes into a tree of the host: in addition, nothing setgid, which others on the host could execute with
    /// the operator's group.
    AgentOnHostTree,
    /// For a sidecar: in addition, no new processes and no tracing.
    Sidecar,
    /// For pid 1 of an agent whose sockets it judges: it takes descriptors from the agent's processes, which they may not.
    Judge,
}

/// Which unix sockets there are inside: one of the host in a tree that is shown must not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixSockets {
    /// All: no file of a socket of the host is in the root.
    All,
    /// Those that are connected to what somebody inside listens on; none for datagrams.
    Judged,
    /// Pairs, which have no name: nobody is there who could judge others.
    Pairs,
}

/// One step of building the root. Targets are absolute paths in the new root; what is missing of them is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mount {
    /// A tree of the host, or one that came as a detached mount.
    Bind {
        /// Where it comes from.
        source: Source,
        /// Where it goes.
        target: PathBuf,
        /// The agent may write to it.
        writable: bool,
    },
    /// An empty file system in memory. Bytes.
    Tmpfs {
        /// Where it goes.
        target: PathBuf,
        /// Its size.
        size: u64,
        /// Its mode.
        mode: u32,
        /// Programs may be executed from it.
        executable: bool,
    },
    /// Process information of this pid namespace, with what tells about the host masked.
    Proc,
    /// Null devices, shared memory and a devpts of its own.
    Dev,
    /// The lower tree, with changes kept in `changes/upper`.
    Overlay {
        /// The tree that stays as it is.
        lower: Source,
        /// A directory with `upper` and `work`.
        changes: Source,
        /// Where it goes.
        target: PathBuf,
    },
    /// A symbolic link.
    Symlink {
        /// Its target, verbatim.
        to: PathBuf,
        /// Where it goes.
        target: PathBuf,
    },
    /// A directory.
    Directory {
        /// Where it goes.
        target: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A small file with this text.
    File {
        /// Where it goes.
        target: PathBuf,
        /// Its text.
        text: String,
        /// Its mode.
        mode: u32,
    },
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path that this process can open itself.
    Path(#[serde(with = "crate::host_path")] PathBuf),
    /// A detached mount, made by a supervisor that is root.
    Fd(usize),
}

/// What went wrong inside, for the supervisor to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done.
    pub what: String,
    /// The system's own words.
    pub cause: String,
}

impl Failure {
    /// Names the step and the cause.
    pub fn new(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self { what: what.into(), cause: cause.to_string() }
    }
}

impl Spec {
    /// Reads the specification from the first descriptor, a memory file.
    pub(crate) fn take(fds: &mut [Option<OwnedFd>]) -> Result<Self, Failure> {
        let file = fds.first_mut().and_then(Option::take).ok_or_else(|| Failure::new("receive the specification", "no descriptor came"))?;
        let mut file = std::fs::File::from(file);
        std::io::Seek::rewind(&mut file).map_err(|e| Failure::new("read the specification", e))?;
        serde_json::from_reader(std::io::BufReader::new(file)).map_err(|e| Failure::new("read the specification", e))
    }
}

/// Takes the descriptor that a specification names.
pub(crate) fn take_fd(fds: &mut [Option<OwnedFd>], index: usize) -> Result<OwnedFd, Failure> {
    fds.get_mut(index).and_then(Option::take).ok_or_else(|| Failure::new("take over a descriptor", format!("number {index} did not come")))
}
