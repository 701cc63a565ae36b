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
use bottle::workspace::{
    Applied, Change, Changes, Choices, Ignored, Kind, Node, Reader, Report, Resolution, apply, copied, copy, overlay, patch,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use tempfile::TempDir;

use crate::support::{in_mount_namespace, memory};

pub(crate) const PLAIN: Choices = Choices { resolution: Resolution::Leave, links: false, paths: Vec::new(), dry_run: false };

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

/// Applies what was written below `written` to `target`; what was there at the start is in `base`, if that is there.
pub(crate) fn take(place: &Place, changes: &Changes, [written, target]: [&str; 2], since: u64, choices: &Choices) -> Applied {
    fs::create_dir_all(place.at("bottle")).unwrap();
    let (new, target, bottle) = (place.dir(written), place.dir(target), place.dir("bottle"));
    let base = place.at("base").exists().then(|| place.dir("base"));
    let at = bottle::workspace::Place { new: &new, target: &target, base: base.as_ref(), bottle: &bottle, since };
    apply(changes, &at, choices).unwrap()
}

/// What stays out, each with its reason.
pub(crate) fn out(applied: &Applied) -> Vec<String> {
    applied.out.iter().map(|skipped| format!("{}: {}", skipped.path.display(), skipped.why)).collect()
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
    let before = place.tree(target);
    let applied = take(place, changes, [written, target], since, &PLAIN);
    assert_eq!(out(&applied), Vec::<String>::new());
    assert_eq!(applied.done.len(), changes.list.len());
    for name in ["seen", target] {
        // The operator can always use what is theirs.
        chmod(&place.at(name).join("closed"), 0o700);
        chmod(&place.at(name).join("shut"), 0o700);
        chmod(&place.at(name).join("quiet"), 0o600);
    }
    assert_eq!(place.tree(target), place.tree("seen"));
    let again = take(place, changes, [written, target], since, &PLAIN);
    assert_eq!((paths(&again), out(&again), again.already), (vec![], vec![], changes.list.len() as u64), "{again:?}");
    let undone = bottle::workspace::undo(&place.dir("bottle"), &place.dir(target)).unwrap();
    assert_eq!(undone.out, []);
    assert_eq!(place.tree(target), before);
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

// covers: G07 W03
#[test]
fn a_summary_counts_shows_and_warns_without_a_raw_byte() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a", "x"), ("gone", "x"), (".gitignore", "target/\n")]);
    place.write("upper", &[("a", "y"), (".envrc", "evil"), ("run", "x"), ("evil\u{1b}[2J\u{202e}", "->/\u{1b}]0;x")]);
    place.write("upper", &[("Makefile", "x"), ("target/a", "x"), (".git/objects/ab/cd", "x"), (".git/refs/heads/agent/x", "x")]);
    place.write("upper", &[(".git/hooks/pre-commit", "x"), (".git/index", "x"), (".git/hooks/update.sample", "x")]);
    chmod(&place.at("upper/run"), 0o755);
    place.whiteout("upper/gone");
    let bad = std::ffi::OsStr::from_bytes(b"\xff\n");
    fs::write(place.at("upper").join(bad), "x").unwrap();
    let text = |changes: &Changes| Report::of(changes, &mut Ignored::of(&place.dir("lower"))).text();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let expected = "6 added, 1 modified, 1 deleted, 2 ignored by git\n  A .envrc\n  A .git/hooks/pre-commit\n  A Makefile\n  M a\n  \
                    A evil\\u{1b}[2J\\u{202e} -> /\\u{1b}]0;x\n  D gone\n  A run (executable)\n  A \\xff\\u{a}\n\
                    look at these before you work there, they run by themselves:\n  A .git/hooks/pre-commit: git runs it\n  \
                    A .envrc: the shell obeys it in this directory\n  A Makefile: the build runs it\n\
                    the agent committed: refs/heads/agent/x\n  files come by `bottle apply`, commits by a push through the gate, or in a bundle: `git bundle create FILE HEAD` inside\n";
    assert_eq!(text(&changes), expected);
    assert_eq!(text(&Changes::default()), "the workspace is unchanged\n");
    (0..30).for_each(|n| place.write("upper", &[(&format!("many{n}"), "x"), (&format!("d{n}/Makefile"), "x")]));
    let text = text(&overlay(&place.dir("lower"), &place.dir("upper")).unwrap());
    assert!(text.contains("  … and 56 more\n") && text.matches("Makefile: the build runs it").count() == 31, "{text}");
}

/// The patch for a program, and what is not in it.
fn patch_of(place: &Place, changes: &Changes, reader: Reader) -> (Vec<u8>, Vec<String>) {
    let (lower, upper) = (place.dir("lower"), place.dir("upper"));
    let list: Vec<&Change> = changes.list.iter().collect();
    let mut out = Vec::new();
    let skipped = patch(bottle::workspace::Trees { old: &lower, new: &upper, base: None }, &list, reader, &mut out).unwrap();
    (out, skipped.iter().map(|skipped| skipped.path.display().to_string()).collect())
}

// covers: W05
#[test]
fn git_applies_the_patch_and_takes_it_back() {
    let place = Place::new(&["lower", "upper", "target"]);
    let long: String = (0..200).map(|n| format!("line {n}\n")).collect();
    let old = [
        ("a.txt", "one\ntwo\n\tthree\nfour\nfive\n"),
        ("gone", "bye\n"),
        ("mode", "x\n"),
        ("binary", "x"),
        ("src/kept", "kept\n"),
        ("src/moved.rs", long.as_str()),
        ("src/deep/same", "the same\n"),
        ("becomes-link", "text\n"),
        ("link", "->a.txt"),
        ("empty-now", "x\n"),
        ("with space", "x\n"),
    ];
    place.write("lower", &old);
    place.write("target", &old);
    for root in ["lower", "target"] {
        fs::write(place.at(root).join("blob"), (0..=255u8).cycle().take(3000).collect::<Vec<_>>()).unwrap();
    }
    let edited = long.replace("line 7\n", "line seven\n");
    place.write(
        "upper",
        &[
            ("a.txt", "one\n2\u{1b}[31m\n\tthree\nfour\nfive"),
            ("new", "hi\r\n"),
            ("mode", "x\n"),
            ("binary", "\0y"),
            ("lib/moved.rs", &edited),
            ("lib/deep/same", "the same\n"),
            ("becomes-link", "->a.txt"),
            ("link", "->gone"),
            ("empty-now", ""),
            ("with space", "y\n"),
            ("\u{e4}\n\"\\", "odd\n"),
            ("added-binary", "\0\u{1}\u{2}"),
        ],
    );
    for gone in ["gone", "blob", "src/moved.rs", "src/deep"] {
        fs::create_dir_all(place.at("upper/src")).unwrap();
        place.whiteout(&format!("upper/{gone}"));
    }
    chmod(&place.at("upper/mode"), 0o755);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let (text, skipped) = patch_of(&place, &changes, Reader::Program);
    assert_eq!(skipped, Vec::<String>::new());
    let shown = String::from_utf8_lossy(&text);
    assert!(shown.contains("rename from src/moved.rs\nrename to lib/moved.rs\n"), "{shown}");
    assert!(shown.contains("similarity index 100%\nrename from src/deep/same\n"), "{shown}");
    fs::write(place.at("patch"), &text).unwrap();
    let git = |arguments: &[&str]| {
        let patch = place.at("patch");
        let mut command = Command::new("git");
        command.arg("apply").args(arguments).arg(&patch).current_dir(place.at("target"));
        let ended = command.env("GIT_CEILING_DIRECTORIES", place.temp.path()).output().unwrap();
        assert!(ended.status.success(), "{}\n{shown}", String::from_utf8_lossy(&ended.stderr));
    };
    let before = snapshot(&place.at("target"));
    git(&[]);
    let after = snapshot(&place.at("target"));
    let expected: BTreeMap<String, Vec<u8>> = {
        take(&place, &changes, ["upper", "lower"], u64::MAX, &PLAIN);
        snapshot(&place.at("lower"))
    };
    assert_eq!(after, expected);
    git(&["-R"]);
    assert_eq!(snapshot(&place.at("target")), before);
}

/// Files with their content and whether they are executable, links with their targets.
fn snapshot(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                ahead.push(path);
                continue;
            }
            let mut content = if meta.is_symlink() {
                [b"->", fs::read_link(&path).unwrap().as_os_str().as_bytes()].concat()
            } else {
                fs::read(&path).unwrap()
            };
            content.push(b'0' + u8::from(meta.mode() & 0o100 != 0));
            found.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), content);
        }
    }
    found
}

#[test]
fn a_person_is_shown_no_raw_byte() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a.txt", "one\n"), ("binary", "x")]);
    place.write("upper", &[("a.txt", "2\u{1b}[31m\ttab\n"), ("binary", "\0"), ("\u{1b}[2J", "x\n")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let (text, _) = patch_of(&place, &changes, Reader::Person { colour: false });
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    for line in ["-one\n+2\\u{1b}[31m\ttab\n", "binary: 1 bytes, 1 before\n", "rename", "\"b/\\033[2J\""] {
        assert_eq!(text.contains(line), line != "rename", "{line}\n{text}");
    }
    let (text, _) = patch_of(&place, &changes, Reader::Person { colour: true });
    assert!(String::from_utf8(text).unwrap().contains("\u{1b}[31m-one\u{1b}[m\n"));
}
