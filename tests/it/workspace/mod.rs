//! Workspaces: trees that an agent wrote, copied, compared and shown.

mod apply;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bottle::clock::file_nanos;
use bottle::files::Dir;
use bottle::workspace::{Applied, Changes, Choices, Kind, Node, apply, copied, copy, diff, overlay, summary};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use tempfile::TempDir;

use crate::support::{in_mount_namespace, memory};

pub(crate) const PLAIN: Choices = Choices { force: false, git: false };

/// A temporary directory with named directories in it.
pub(crate) struct Place {
    pub(crate) temp: TempDir,
}

impl Place {
    pub(crate) fn new(dirs: &[&str]) -> Self {
        Self::in_temp(memory(), dirs)
    }

    /// On a file system that has had extended attributes of users for longer than tmpfs.
    pub(crate) fn on_disk(dirs: &[&str]) -> Self {
        Self::in_temp(tempfile::tempdir().unwrap(), dirs)
    }

    pub(crate) fn in_temp(temp: TempDir, dirs: &[&str]) -> Self {
        let place = Self { temp };
        dirs.iter().for_each(|dir| fs::create_dir(place.at(dir)).unwrap());
        place
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    pub(crate) fn dir(&self, path: &str) -> Dir {
        Dir::open(&self.at(path)).unwrap()
    }

    /// Writes files below `root`; content `->x` is a symlink, `/` a directory.
    pub(crate) fn write(&self, root: &str, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.at(root).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("->") {
                Some(target) => symlink(target, &path).unwrap(),
                None if *content == "/" => fs::create_dir_all(&path).unwrap(),
                None => fs::write(&path, content).unwrap(),
            }
        }
    }

    pub(crate) fn whiteout(&self, path: &str) {
        rustix::fs::mknodat(CWD, self.at(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    pub(crate) fn mark(&self, path: &str, name: &str, value: &[u8]) {
        rustix::fs::setxattr(self.at(path), name, value, XattrFlags::empty()).unwrap();
    }

    /// Everything below a directory: content of files, targets of links, with modes.
    pub(crate) fn tree(&self, root: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut ahead = vec![self.at(root)];
        while let Some(dir) = ahead.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let shown = if meta.is_symlink() {
                    format!("->{}", fs::read_link(&path).unwrap().display())
                } else if meta.is_dir() {
                    ahead.push(path.clone());
                    format!("/ {:o}", meta.mode() & 0o7777)
                } else {
                    format!("{} {:o}", fs::read_to_string(&path).unwrap(), meta.mode() & 0o7777)
                };
                found.insert(path.strip_prefix(self.at(root)).unwrap().to_str().unwrap().to_owned(), shown);
            }
        }
        found
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Waits for the file system's clock to go on twice: after once it may still be behind the fine stamps that some kernels give.
pub(crate) fn tick() -> u64 {
    for _ in 0..2 {
        let now = file_nanos();
        while file_nanos() == now {
            std::thread::yield_now();
        }
    }
    file_nanos()
}

/// The changes, each in a word.
pub(crate) fn show(changes: &Changes) -> Vec<String> {
    let letter = |kind| match kind {
        Kind::Added => 'A',
        Kind::Modified => 'M',
        Kind::Deleted => 'D',
        Kind::TypeChanged => 'T',
    };
    let suffix = |node: &Node| match node {
        Node::Dir => "/",
        Node::Symlink { .. } => "@",
        Node::File { .. } => "",
        Node::Other => "?",
    };
    changes.list.iter().map(|change| format!("{} {}{}", letter(change.kind), change.path.display(), suffix(&change.node))).collect()
}

pub(crate) fn paths(applied: &Applied) -> Vec<&str> {
    applied.done.iter().map(|path| path.to_str().unwrap()).collect()
}

// covers: R19
#[test]
fn a_copy_has_everything_but_devices_and_dangerous_modes() {
    let place = Place::new(&["source", "target"]);
    place.write(
        "source",
        &[
            ("a/b/file", "content"),
            ("a/link", "->b/file"),
            ("dangling", "->/nowhere"),
            ("empty", "/"),
            ("run.sh", "#!/bin/sh"),
            ("none", ""),
        ],
    );
    chmod(&place.at("source/run.sh"), 0o4755);
    chmod(&place.at("source/a"), 0o2555);
    rustix::fs::mkfifoat(CWD, place.at("source/fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("source/socket")).unwrap();
    place.whiteout("source/device");
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000));
    fs::File::options().write(true).open(place.at("source/none")).unwrap().set_times(old).unwrap();
    let report = copy(&place.dir("source"), &place.dir("target")).unwrap();
    assert_eq!((report.files, report.dirs, report.links, report.bytes), (3, 3, 2, 16));
    let skipped: Vec<_> = report.skipped.iter().map(|s| format!("{}: {}", s.path.display(), s.why)).collect();
    assert_eq!(skipped, ["device: it is a device", "fifo: it is a fifo", "socket: it is a socket"]);
    let tree = place.tree("target");
    let expected = [
        ("a", "/ 555"),
        ("a/b", "/ 755"),
        ("a/b/file", "content 644"),
        ("a/link", "->b/file"),
        ("dangling", "->/nowhere"),
        ("empty", "/ 755"),
        ("none", " 644"),
        ("run.sh", "#!/bin/sh 755"),
    ];
    assert_eq!(tree, expected.into_iter().map(|(path, shown)| (path.to_owned(), shown.to_owned())).collect());
    assert_eq!(fs::metadata(place.at("target/none")).unwrap().mtime(), 1_000_000_000);
    chmod(&place.at("source/a"), 0o755);
    chmod(&place.at("target/a"), 0o755);
}

#[test]
fn a_copy_into_its_own_source_ends() {
    let place = Place::new(&["source"]);
    place.write("source", &[("file", "x"), ("state/copy", "/")]);
    let report = copy(&place.dir("source"), &place.dir("source/state/copy")).unwrap();
    assert_eq!((report.files, report.dirs), (1, 1));
    assert_eq!(report.skipped[0].why, "it is where the copy goes");
}

#[test]
fn an_upper_directory_says_what_changed() {
    let place = Place::on_disk(&["lower", "upper"]);
    place.write(
        "lower",
        &[
            ("same", "x"),
            ("touched", "x"),
            ("modified", "x"),
            ("gone", "x"),
            ("gonedir/a/b", "x"),
            ("opaque/old", "x"),
            ("opaque/kept", "x"),
            ("opaque/sub/deep", "x"),
            ("file2dir", "x"),
            ("dir2file/a", "x"),
            ("link", "->same"),
            ("file2link", "x"),
            ("mode", "x"),
            ("merged/untouched", "x"),
        ],
    );
    place.write(
        "upper",
        &[
            ("touched", "x"),
            ("modified", "longer"),
            ("opaque/new", "x"),
            ("opaque/kept", "y"),
            ("opaque/sub/other", "x"),
            ("file2dir/inside", "x"),
            ("dir2file", "x"),
            ("link", "->other"),
            ("file2link", "->/etc/passwd"),
            ("mode", "x"),
            ("new/deep/file", "x"),
            ("merged/added", "x"),
        ],
    );
    place.whiteout("upper/gone");
    place.whiteout("upper/gonedir");
    place.whiteout("upper/never-was");
    place.mark("upper/opaque", "user.overlay.opaque", b"y");
    chmod(&place.at("upper/mode"), 0o4755);
    rustix::fs::mkfifoat(CWD, place.at("upper/fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let expected = [
        "T dir2file",
        "D dir2file/a",
        "T file2dir/",
        "A file2dir/inside",
        "T file2link@",
        "D gone",
        "D gonedir/",
        "D gonedir/a/",
        "D gonedir/a/b",
        "M link@",
        "A merged/added",
        "M mode",
        "M modified",
        "A new/",
        "A new/deep/",
        "A new/deep/file",
        "M opaque/kept",
        "A opaque/new",
        "D opaque/old",
        "D opaque/sub/deep",
        "A opaque/sub/other",
    ];
    assert_eq!(show(&changes), expected);
    assert_eq!(changes.list.iter().find(|change| change.path == Path::new("mode")).unwrap().mode, 0o755);
    assert_eq!(changes.skipped.len(), 1);
    for (name, value) in [("user.overlay.redirect", &b"/x"[..]), ("user.overlay.opaque", b"x")] {
        place.mark("upper/new", name, value);
        assert!(overlay(&place.dir("lower"), &place.dir("upper")).unwrap_err().hint.contains("not written by an overlay"), "{name}");
        rustix::fs::removexattr(place.at("upper/new"), name).unwrap();
    }
}

/// What an agent does, as a shell script in the tree.
const SCRIPT: &str = "echo new > added; echo more >> modified; rm gone; rm -r gonedir; mkdir -p fresh/sub; echo x > fresh/sub/f; \
     rm -r again; mkdir again; echo y > again/other; chmod 755 mode; rm swap; ln -s modified swap; mv moved elsewhere; touch touched; \
     rm type; mkdir type; echo z > type/z; mkdir -m 000 closed; mkdir shut; echo w > shut/w; chmod 000 shut; echo q > quiet; chmod 000 quiet";

const BEFORE: [(&str, &str); 12] = [
    ("modified", "one\n"),
    ("gone", "x"),
    ("gonedir/a/b", "x"),
    ("again/old", "x"),
    ("again/other", "x"),
    ("mode", "x"),
    ("swap", "x"),
    ("moved/in/here", "x"),
    ("touched", "x"),
    ("type", "x"),
    ("same/file", "x"),
    ("quiet", "x"),
];

const AFTER: [&str; 22] = [
    "A added",
    "D again/old",
    "M again/other",
    "A closed/",
    "A elsewhere/",
    "A elsewhere/in/",
    "A elsewhere/in/here",
    "A fresh/",
    "A fresh/sub/",
    "A fresh/sub/f",
    "D gone",
    "D gonedir/",
    "D gonedir/a/",
    "D gonedir/a/b",
    "M mode",
    "M modified",
    "D moved/",
    "D moved/in/",
    "D moved/in/here",
    "M quiet",
    "A shut/",
    "A shut/w",
];

// covers: R19
#[test]
fn what_a_real_overlay_holds_becomes_the_tree_that_the_agent_saw() {
    let place = Place::on_disk(&["lower", "upper", "work", "merged", "seen"]);
    place.write("lower", &BEFORE);
    place.write("seen", &BEFORE);
    let since = tick();
    let mount = "mount -t overlay -o userxattr,lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work none $1/merged";
    let script = format!("{mount} && (cd $1/merged && {SCRIPT}) && cd $1/seen && {SCRIPT}");
    let output = in_mount_namespace(&script, place.temp.path()).arg("true").output().unwrap();
    assert!(output.status.success(), "{}", crate::support::said(&output));
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let expected: Vec<&str> = AFTER.into_iter().chain(["T swap@", "T type/", "A type/z"]).collect();
    assert_eq!(show(&changes), expected);
    brought_back(&place, &changes, "lower", "upper", since);
    // The kernel leaves its work directory without any rights, where only `remove_tree` gets through.
    Dir::open(place.temp.path()).unwrap().remove_tree("work").unwrap();
}

#[test]
fn a_changed_copy_becomes_the_tree_that_the_agent_saw() {
    let place = Place::new(&["source", "copy", "seen"]);
    place.write("source", &BEFORE);
    place.write("seen", &BEFORE);
    let since = tick();
    copy(&place.dir("source"), &place.dir("copy")).unwrap();
    let completed = tick();
    for tree in ["copy", "seen"] {
        assert!(Command::new("sh").args(["-c", SCRIPT]).current_dir(place.at(tree)).status().unwrap().success());
    }
    let changes = copied(&place.dir("source"), &place.dir("copy"), since, completed).unwrap();
    let expected: Vec<&str> = AFTER.into_iter().chain(["T swap@", "T type/", "A type/z"]).collect();
    assert_eq!(show(&changes), expected);
    brought_back(&place, &changes, "source", "copy", since);
}

/// Applies, and compares with what the agent saw.
fn brought_back(place: &Place, changes: &Changes, target: &str, written: &str, since: u64) {
    let applied = apply(changes, &place.dir(written), &place.dir(target), since, PLAIN).unwrap();
    assert_eq!((applied.conflicts.len(), applied.stopped.clone(), applied.left_out.len()), (0, None, 0), "{applied:?}");
    assert_eq!(applied.done.len(), changes.list.len());
    for name in ["seen", target] {
        // The operator can always use what is theirs.
        chmod(&place.at(name).join("closed"), 0o700);
        chmod(&place.at(name).join("shut"), 0o700);
        chmod(&place.at(name).join("quiet"), 0o600);
    }
    assert_eq!(place.tree(target), place.tree("seen"));
    let again = apply(changes, &place.dir(written), &place.dir(target), since, PLAIN).unwrap();
    assert_eq!((paths(&again), again.conflicts.len(), again.already), (vec![], 0, changes.list.len() as u64), "{again:?}");
}

#[test]
fn a_tree_without_bottom_is_walked_in_bounded_depth() {
    let place = Place::new(&["lower", "upper", "target"]);
    let mut deep = place.dir("upper");
    for _ in 0..5_000 {
        deep = deep.subdir("d").unwrap();
    }
    drop(deep);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    assert!(changes.list.len() > 1_000 && changes.skipped.len() == 1, "{} and {:?}", changes.list.len(), changes.skipped.len());
    assert_eq!(changes.skipped[0].why, "it lies too deep");
    let report = copy(&place.dir("upper"), &place.dir("target")).unwrap();
    assert!(report.dirs > 1_000 && report.skipped.len() == 1);
    for dir in ["upper", "target"] {
        Dir::open(place.temp.path()).unwrap().remove_tree(dir).unwrap();
    }
}

// covers: G07
#[test]
fn a_summary_counts_shows_and_warns_without_a_raw_byte() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a", "x"), ("gone", "x")]);
    place.write("upper", &[("a", "y"), (".envrc", "evil"), ("run", "x"), ("evil\u{1b}[2J\u{202e}", "->/\u{1b}]0;x")]);
    chmod(&place.at("upper/run"), 0o755);
    place.whiteout("upper/gone");
    let bad = std::ffi::OsStr::from_bytes(b"\xff\n");
    fs::write(place.at("upper").join(bad), "x").unwrap();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let expected = "4 added, 1 modified, 1 deleted\n  A .envrc\n  M a\n  A evil\\u{1b}[2J\\u{202e} -> /\\u{1b}]0;x\n  D gone\n  A run (executable)\n  A \\xff\\u{a}\n\
                    look at these before you work there, they run by themselves:\n  A .envrc: the shell obeys it in this directory\n";
    assert_eq!(summary(&changes), expected);
    assert_eq!(summary(&Changes::default()), "the workspace is unchanged\n");
    place.write("upper", &(0..30).map(|_| ("x", "y")).collect::<Vec<_>>());
    (0..30).for_each(|n| place.write("upper", &[(&format!("many{n}"), "x")]));
    assert!(summary(&overlay(&place.dir("lower"), &place.dir("upper")).unwrap()).contains("  … and 25 more\n"));
}

#[test]
fn a_diff_shows_text_and_names_the_rest() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a.txt", "one\ntwo\n\tthree\nfour\nfive\n"), ("gone", "bye\n"), ("mode", "x"), ("binary", "x")]);
    place.write(
        "upper",
        &[("a.txt", "one\n2\u{1b}[31m\n\tthree\nfour\nfive"), ("new", "hi\r\n"), ("mode", "x"), ("binary", "\0"), ("link", "->a.txt")],
    );
    place.whiteout("upper/gone");
    chmod(&place.at("upper/mode"), 0o755);
    fs::write(place.at("upper/huge"), vec![b'x'; 2 << 20]).unwrap();
    let (lower, upper) = (place.dir("lower"), place.dir("upper"));
    let mut out = Vec::new();
    diff(&lower, &upper, &overlay(&lower, &upper).unwrap(), &mut out).unwrap();
    let expected = "M a.txt\n@@ -1,5 +1,5 @@\n one\n-two\n+2\\u{1b}[31m\n \tthree\n four\n-five\n+five\n\\ no newline at the end\n\
                    M binary\n  (binary, not shown)\n\
                    D gone\n@@ -1,1 +0,0 @@\n-bye\n\
                    A huge\n  (more than 1048576 bytes, not shown)\n\
                    A link -> a.txt\n\
                    M mode (executable)\n  (mode 0755)\n\
                    A new\n@@ -0,0 +1,1 @@\n+hi\\u{d}\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
