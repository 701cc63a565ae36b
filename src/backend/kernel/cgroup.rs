//! Control groups: limits where the host lets bottle set them, on the unified hierarchy or, for root, on the old ones.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of a group.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often that is tried.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// What the host lets this process limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The unified one: a group of ours, in which children can be made.
    Unified(PathBuf),
    /// Old ones: a directory for memory and one for processes.
    Separate {
        /// Below the memory controller.
        memory: PathBuf,
        /// Below the pids controller.
        pids: PathBuf,
    },
    /// None.
    Missing,
}

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

impl Hierarchy {
    /// Looks at the host: a hierarchy counts only where this process may make groups.
    pub fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = Path::new(MOUNT);
        let of = |controller: &str| {
            own.lines().filter_map(|line| line.split_once(':')).find_map(|(_, rest)| {
                let (names, path) = rest.split_once(':')?;
                names.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let usable = |dir: &Path| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
        if root.join("cgroup.controllers").exists() {
            // Processes of a group with controllers must be in its leaves, so the children go beside this process' group.
            if let Some(parent) = of("").map(|own| root.join(own)).and_then(|own| own.parent().map(Path::to_owned)) {
                let controls = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
                let has = |name: &str| controls.split_whitespace().any(|c| c == name);
                if usable(&parent) && usable(&parent.join("cgroup.procs")) && has("memory") && has("pids") {
                    return Self::Unified(parent);
                }
            }
            return Self::Missing;
        }
        match (of("memory"), of("pids")) {
            (Some(memory), Some(pids)) => {
                let (memory, pids) = (root.join("memory").join(memory), root.join("pids").join(pids));
                if usable(&memory) && usable(&pids) { Self::Separate { memory, pids } } else { Self::Missing }
            }
            _ => Self::Missing,
        }
    }

    /// The groups of the bottle `id`, not yet made.
    pub fn groups(&self, id: &str) -> Vec<PathBuf> {
        let name = format!("bottle-{id}-{}", std::process::id());
        match self {
            Self::Unified(parent) => vec![parent.join(name)],
            Self::Separate { memory, pids } => vec![memory.join(&name), pids.join(&name)],
            Self::Missing => Vec::new(),
        }
    }
}

/// Makes the groups and sets the limits: bytes of memory, and processes.
pub fn make(groups: &[PathBuf], memory: u64, pids: u64) -> io::Result<()> {
    for group in groups {
        match fs::create_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        for (file, value) in [("memory.max", memory), ("memory.limit_in_bytes", memory), ("pids.max", pids)] {
            let file = group.join(file);
            if file.exists() {
                fs::write(file, value.to_string())?;
            }
        }
        // Swap would undo the limit. Not every kernel counts it.
        let swap = group.join("memory.swap.max");
        if swap.exists() {
            fs::write(swap, "0")?;
        }
    }
    Ok(())
}

/// The lists of the groups' processes: who writes 0 to one enters the group.
pub fn entrances(groups: &[PathBuf]) -> io::Result<Vec<OwnedFd>> {
    let open = |group: &PathBuf| fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).map(OwnedFd::from);
    groups.iter().map(open).collect()
}

/// Removes a group; one that is gone is success. The kernel refuses while a dying process is still counted, so this is retried.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
            other => return other,
        }
    }
}
