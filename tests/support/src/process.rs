//! The machine's processes, and which of them belong to a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The namespaces that a run may make (namespaces(7)).
pub const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// One process. What may not be read is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id as the reader of /proc sees it.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The letter of proc_pid_stat(5).
    pub state: char,
    /// Its command line, or its name in brackets where it has none.
    pub command: String,
    /// The inode of each of its namespaces.
    pub namespaces: BTreeMap<&'static str, u64>,
    /// Its environment, command line, links or mounts name the run's marker.
    pub marked: bool,
}

/// All processes. `marker` is a text that only the run's own processes can contain.
pub fn snapshot(marker: &str) -> Vec<Process> {
    // A mount below the marked directory in our own namespace is in every copy of it, whoever made that.
    let mounts_tell = !contains(&read(Path::new("/proc/self/mountinfo")), marker);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| read_process(pid, marker, mounts_tell)).collect()
}

/// The namespaces of this process: no run made them.
pub fn own_namespaces() -> BTreeMap<&'static str, u64> {
    namespaces(Path::new("/proc/self"))
}

fn read_process(pid: i32, marker: &str, mounts_tell: bool) -> Option<Process> {
    let folder = Path::new("/proc").join(pid.to_string());
    let stat = fs::read(folder.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold anything, also parentheses and spaces.
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat[end + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let cmdline = read(&folder.join("cmdline"));
    let command = String::from_utf8_lossy(&cmdline).trim_end_matches('\0').replace('\0', " ");
    let marked = !marker.is_empty()
        && (contains(&cmdline, marker)
            || contains(&read(&folder.join("environ")), marker)
            || ["cwd", "root", "exe"]
                .iter()
                .any(|link| fs::read_link(folder.join(link)).is_ok_and(|target| contains(target.as_os_str().as_bytes(), marker)))
            || mounts_tell && contains(&read(&folder.join("mountinfo")), marker));
    Some(Process {
        pid,
        parent,
        state,
        command: if command.is_empty() { format!("[{}]", &stat[start + 1..end]) } else { command },
        namespaces: namespaces(&folder),
        marked,
    })
}

fn namespaces(folder: &Path) -> BTreeMap<&'static str, u64> {
    let inode = |kind: &str| {
        let link = fs::read_link(folder.join("ns").join(kind)).ok()?;
        link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
    };
    NAMESPACES.into_iter().filter_map(|kind| Some((kind, inode(kind)?))).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

fn contains(bytes: &[u8], marker: &str) -> bool {
    !marker.is_empty() && bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
}

/// The processes of a run: below one of its `wardens`, or marked; those below them; and those that share with them a namespace
/// which is not `own`. The wardens, and this process, are not among them.
pub fn linked<'a>(processes: &'a [Process], wardens: &[i32], own: &BTreeMap<&'static str, u64>, this: i32) -> Vec<&'a Process> {
    let outside = |pid: i32| pid == this || wardens.contains(&pid);
    let mut found: BTreeSet<i32> = BTreeSet::new();
    let mut namespaces: BTreeSet<(&str, u64)> = BTreeSet::new();
    loop {
        let before = found.len();
        for process in processes.iter().filter(|process| !outside(process.pid)) {
            // What the test itself started is a warden, of this run or of another: it has the mark by its arguments.
            let belongs = (process.marked && process.parent != this)
                || wardens.contains(&process.parent)
                || found.contains(&process.parent)
                || process.namespaces.iter().any(|(kind, inode)| namespaces.contains(&(*kind, *inode)));
            if belongs && found.insert(process.pid) {
                namespaces.extend(
                    process.namespaces.iter().filter(|(kind, inode)| own.get(*kind) != Some(inode)).map(|(kind, inode)| (*kind, *inode)),
                );
            }
        }
        if found.len() == before {
            return processes.iter().filter(|process| found.contains(&process.pid)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, net: u64, marked: bool) -> Process {
        let namespaces = BTreeMap::from([("net", net)]);
        Process { pid, parent, state: 'S', command: format!("p{pid}"), namespaces, marked }
    }

    fn pids(processes: &[Process], wardens: &[i32]) -> Vec<i32> {
        linked(processes, wardens, &BTreeMap::from([("net", 1)]), 100).iter().map(|process| process.pid).collect()
    }

    #[test]
    fn strangers_are_not_linked() {
        let all = [process(1, 0, 1, false), process(100, 1, 1, true), process(7, 100, 1, false), process(8, 1, 9, false)];
        assert_eq!(pids(&all, &[]), Vec::<i32>::new());
    }

    #[test]
    fn whoever_is_below_a_warden_is_linked_and_whoever_shares_their_namespaces() {
        let all = [
            process(50, 100, 1, false),
            process(51, 50, 7, false),
            process(52, 51, 1, false),
            process(60, 1, 7, false),
            process(61, 1, 8, false),
        ];
        assert_eq!(pids(&all, &[50]), [51, 52, 60]);
    }

    #[test]
    fn a_mark_links_a_process_that_fell_to_the_first() {
        let all = [process(1, 0, 1, false), process(70, 1, 5, true), process(71, 70, 1, false), process(72, 1, 5, false)];
        assert_eq!(pids(&all, &[]), [70, 71, 72]);
    }
}
