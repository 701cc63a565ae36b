//! What exists at a moment, apart from processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Leftover;

/// Names and lines; which of them are a run's is decided here, by its marker and directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    mounts: BTreeSet<String>,
    control_groups: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    sockets: BTreeSet<String>,
}

impl Picture {
    pub(crate) fn take(marker: &str, directories: &[PathBuf]) -> Self {
        let ours = |text: &str| {
            text.contains(marker) || directories.iter().filter_map(|directory| directory.to_str()).any(|directory| text.contains(directory))
        };
        let mut picture = Self {
            mounts: mounts(&text("/proc/self/mountinfo")).filter(|mount| ours(mount) || is_namespace_of_a_bottle(mount)).collect(),
            control_groups: control_groups(Path::new("/sys/fs/cgroup")),
            sockets: sockets(&text("/proc/net/unix")).filter(|name| ours(name)).collect(),
            ..Self::default()
        };
        for directory in directories {
            walk(directory, &mut |path, _| {
                picture.files.insert(path.to_path_buf());
            });
        }
        picture
    }

    /// What was not there `before`, is not kept on purpose, and is not the home of a process that is not the run's.
    pub(crate) fn new_since(
        &self,
        before: &Self,
        kept: impl Fn(&Path) -> bool,
        linked: impl Fn(i32) -> bool,
        runs: &[i32],
    ) -> Vec<Leftover> {
        let mut left: Vec<Leftover> = Vec::new();
        left.extend(self.mounts.difference(&before.mounts).cloned().map(Leftover::Mount));
        let groups = self.control_groups.difference(&before.control_groups);
        let ours = |group: &&PathBuf| {
            let inhabitants = inhabitants(group);
            inhabitants.iter().copied().all(&linked) && (!inhabitants.is_empty() || is_of(group, runs))
        };
        left.extend(groups.filter(ours).cloned().map(Leftover::ControlGroup));
        left.extend(self.files.difference(&before.files).filter(|path| !kept(path)).cloned().map(Leftover::File));
        left.extend(self.sockets.difference(&before.sockets).cloned().map(Leftover::Socket));
        left
    }
}

/// Mount lines without their ids, which differ after an unmount and a mount of the same (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> impl Iterator<Item = String> {
    mountinfo.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned)
}

/// A namespace that is kept alive by a mount, under a name of ours.
fn is_namespace_of_a_bottle(mount: &str) -> bool {
    mount.contains(" - nsfs ") && mount.contains("/bottle")
}

/// The names of bound sockets: a path, or `@` and an abstract name.
fn sockets(table: &str) -> impl Iterator<Item = String> {
    // "Num RefCount Protocol Flags Type St Inode Path": the first seven have no spaces.
    table.lines().skip(1).filter_map(|line| {
        let mut rest = line;
        for _ in 0..7 {
            rest = rest.trim_start().split_once(' ')?.1;
        }
        Some(rest.trim_start().to_owned())
    })
}

/// The control groups with a name of ours, in all hierarchies.
fn control_groups(root: &Path) -> BTreeSet<PathBuf> {
    let mut groups = BTreeSet::new();
    walk(root, &mut |path, is_directory| {
        if is_directory && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"bottle")) {
            groups.insert(path.to_path_buf());
        }
    });
    groups
}

/// An empty group may be another run's, on its way in or out: its name ends with the number of who made it.
fn is_of(group: &Path, runs: &[i32]) -> bool {
    let name = group.file_name().unwrap_or_default().to_string_lossy();
    let number = name.rsplit('-').next().and_then(|last| last.parse().ok());
    number.is_none_or(|number| runs.contains(&number))
}

/// The processes in a control group and in the groups below it.
fn inhabitants(group: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    let mut read = |directory: &Path| {
        let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
    };
    read(group);
    walk(group, &mut |path, is_directory| {
        if is_directory {
            read(path);
        }
    });
    pids
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path, bool)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&entry.path(), is_directory);
        if is_directory {
            walk(&entry.path(), visit);
        }
    }
}

/// A table of the kernel's; names in it may be any bytes.
fn text(path: &str) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read_as_they_are_written() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n";
        assert_eq!(mounts(mountinfo).collect::<Vec<_>>(), ["/ /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw"]);
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 12346\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12347 @abstract\n";
        assert_eq!(sockets(table).collect::<Vec<_>>(), ["/run/a b.sock", "@abstract"]);
    }

    #[test]
    fn only_what_is_new_counts() {
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        let before = Picture { files: set(&["/t/old"]), ..Picture::default() };
        let after = Picture { files: set(&["/t/old", "/t/new", "/t/log"]), ..Picture::default() };
        let left = after.new_since(&before, |path| path.ends_with("log"), |_| false, &[]);
        assert_eq!(left, [Leftover::File("/t/new".into())]);
    }

    #[test]
    fn a_control_group_is_left_unless_a_stranger_lives_in_it() {
        let root = tempfile::tempdir().unwrap();
        for (group, processes) in [
            ("v2/bottle-a", ""),
            ("v2/bottle-b/agent", "5\n"),
            ("pids/bottle-c", "6\n"),
            ("v2/other", ""),
            ("v2/bottle-d-7", ""),
            ("v2/bottle-d-8", ""),
        ] {
            fs::create_dir_all(root.path().join(group)).unwrap();
            fs::write(root.path().join(group).join("cgroup.procs"), processes).unwrap();
        }
        let after = Picture { control_groups: control_groups(root.path()), ..Picture::default() };
        let left = after.new_since(&Picture::default(), |_| false, |pid| pid == 5, &[7]);
        let expected = ["v2/bottle-a", "v2/bottle-b", "v2/bottle-d-7"].map(|group| Leftover::ControlGroup(root.path().join(group)));
        assert_eq!(left, expected);
    }
}
