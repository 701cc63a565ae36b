//! Files: modes from the first instant, links that lead nowhere, removals.

mod faults;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bottle::files::{Dir, PRIVATE, PUBLIC};
use rustix::fs::{CWD, Mode, RenameFlags};

use crate::support::{child, in_mount_namespace, is_root, memory, mode, names, place, said};

pub(crate) fn private() -> (tempfile::TempDir, Dir) {
    let temp = memory();
    let dir = Dir::create_private(&temp.path().join("private")).unwrap();
    (temp, dir)
}

// covers: F01
#[test]
fn modes_are_exact_under_any_umask_at_every_instant() {
    for umask in ["000", "022", "077", "777"] {
        let temp = memory();
        let (keys, certs) = (temp.path().join("keys"), temp.path().join("certs"));
        let mut writer =
            child("files::child_writes_many").env("BOTTLE_TEST_PLACE", temp.path()).env("BOTTLE_TEST_UMASK", umask).spawn().unwrap();
        let mut seen = [0_u64; 2];
        let status = loop {
            let done = writer.try_wait().unwrap();
            for (dir, is_key) in [(&keys, true), (&certs, false)] {
                for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                    let Ok(stat) = fs::symlink_metadata(entry.path()) else { continue };
                    if stat.is_dir() {
                        continue;
                    }
                    let (name, mode) = (entry.file_name(), stat.mode() & 0o7777);
                    let unfinished = name.as_encoded_bytes().starts_with(b".");
                    let right = match (is_key, unfinished) {
                        (true, false) => mode == 0o600,
                        // Before its mode is set, a file has what the umask leaves of 0600.
                        (true, true) => mode & !0o600 == 0,
                        (false, false) => mode == 0o644,
                        (false, true) => mode == 0o644 || mode & !0o600 == 0,
                    };
                    assert!(right, "umask {umask}: {name:?} had mode {mode:04o}");
                    seen[usize::from(is_key)] += 1;
                }
            }
            if let Some(status) = done {
                break status;
            }
        };
        assert!(status.success(), "umask {umask}");
        assert!(seen.iter().all(|&count| count > 10), "umask {umask}: the watcher saw {seen:?}");
        assert_eq!([mode(&keys), mode(&certs), mode(&keys.join("below"))], [0o700; 3], "umask {umask}");
    }
}

#[test]
#[ignore = "run by modes_are_exact_under_any_umask_at_every_instant"]
fn child_writes_many() {
    let umask = u32::from_str_radix(&std::env::var("BOTTLE_TEST_UMASK").unwrap(), 8).unwrap();
    rustix::process::umask(Mode::from_raw_mode(umask));
    let keys = Dir::create_private(&place().join("keys")).unwrap();
    let certs = Dir::create_private(&place().join("certs")).unwrap();
    keys.subdir("below").unwrap();
    for round in 0..300 {
        keys.write_new(format!("{round}.pem"), &[b'k'; 5000], PRIVATE).unwrap();
        keys.replace("key.pem", &[b'k'; 5000], PRIVATE).unwrap();
        certs.write_new(format!("{round}.pem"), &[b'c'; 5000], PUBLIC).unwrap();
        certs.replace("cert.pem", &[b'c'; 5000], PUBLIC).unwrap();
    }
}

// covers: F02
#[test]
fn another_user_can_never_open_a_key() {
    if !is_root() {
        return;
    }
    // Directory and program are open to the other user: only the file's own mode protects it.
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = temp.path().join("program");
    // Written by another process: this one may fork meanwhile, and a program that somebody has open for writing cannot be run.
    let copied = Command::new("install").arg("-m755").arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success());
    let memory = memory();
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = memory.path().join("open");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let dir = Dir::open(&place).unwrap();
    dir.write_new("cert.pem", b"public", PUBLIC).unwrap();
    let mut poller = Command::new(&program)
        .args(["--exact", "files::child_polls", "--ignored", "--nocapture"])
        .env("BOTTLE_TEST_PLACE", &place)
        .uid(65534)
        .gid(65534)
        .spawn()
        .unwrap();
    let mut rounds = 0;
    while rounds < 3_000 {
        let key = format!("{rounds}.pem");
        dir.write_new(&key, b"secret", PRIVATE).unwrap();
        dir.replace("key.pem", b"secret", PRIVATE).unwrap();
        dir.replace("cert.pem", b"public", PUBLIC).unwrap();
        dir.remove_tree(&key).unwrap();
        rounds += 1;
        assert!(poller.try_wait().unwrap().is_none(), "the poller ended early");
    }
    dir.write_new("stop", b"", PUBLIC).unwrap();
    assert!(poller.wait().unwrap().success());
}

#[test]
#[ignore = "run by another_user_can_never_open_a_key"]
fn child_polls() {
    let mut certs = 0;
    while !place().join("stop").exists() {
        for entry in fs::read_dir(place()).unwrap().flatten() {
            if let Ok(content) = fs::read(entry.path()) {
                assert_ne!(content, b"secret", "{:?}", entry.path());
                certs += u64::from(content == b"public");
            }
        }
    }
    assert!(certs > 0, "the poller saw nothing at all");
}

// covers: F03 F04
#[test]
fn whatever_sits_at_the_name_keeps_its_content() {
    let (temp, dir) = private();
    let victim = temp.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let at = |name: &str| dir.path().join(name);
    symlink(&victim, at("symlink")).unwrap();
    symlink(temp.path().join("nowhere"), at("dangling")).unwrap();
    fs::hard_link(&victim, at("hardlink")).unwrap();
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    for name in ["symlink", "dangling", "hardlink", "fifo", "socket", "directory"] {
        let error = dir.write_new(name, b"key", PRIVATE).unwrap_err();
        assert!(error.cause.contains("File exists"), "{name}: {error}");
        let replaced = dir.replace(name, b"key", PRIVATE);
        if name == "directory" {
            assert!(replaced.unwrap_err().cause.contains("directory"));
        } else {
            replaced.unwrap();
            assert_eq!((fs::read(at(name)).unwrap(), mode(&at(name))), (b"key".to_vec(), 0o600), "{name}");
        }
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
    assert!(!temp.path().join("nowhere").exists());
    assert_eq!(names(dir.path()), ["dangling", "directory", "fifo", "hardlink", "socket", "symlink"]);
}

// covers: F03 F04
#[test]
fn what_is_read_is_a_regular_file_of_bounded_size() {
    let (temp, dir) = private();
    fs::write(temp.path().join("victim"), "precious").unwrap();
    symlink(temp.path().join("victim"), dir.path().join("symlink")).unwrap();
    rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    fs::write(dir.path().join("file"), "12345").unwrap();
    for name in ["symlink", "fifo", "directory", "missing", "../victim", "."] {
        assert!(dir.read_bounded(name, 100).is_err(), "{name}");
    }
    assert_eq!(dir.read_bounded("file", 5).unwrap(), b"12345");
    assert!(dir.read_bounded("file", 4).unwrap_err().cause.contains("more than 4 bytes"));
    assert_eq!(dir.read_bounded("file", u64::MAX).unwrap(), b"12345");
}

// covers: F12 F03
#[test]
fn a_directory_that_others_could_change_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    for (name, mode) in [("group", 0o770), ("world", 0o707), ("sticky", 0o1777), ("closed", 0o755)] {
        fs::create_dir(at(name)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for name in ["group", "world"] {
        for path in [at(name), at(name).join("private"), at(name).join("a/b")] {
            let error = Dir::create_private(&path).unwrap_err();
            assert!(error.hint.contains("chmod"), "{error}");
        }
        assert_eq!(names(&at(name)), Vec::<String>::new());
    }
    Dir::create_private(&at("sticky/private")).unwrap();
    // Ours, but readable for others: narrowed, for nobody else can have written there.
    Dir::create_private(&at("closed")).unwrap();
    assert_eq!(mode(&at("closed")), 0o700);
    Dir::create_private(&at("closed/a/b/c")).unwrap();
    assert_eq!([mode(&at("closed/a")), mode(&at("closed/a/b")), mode(&at("closed/a/b/c"))], [0o700; 3]);
    assert!(Dir::create_private(Path::new("relative")).is_err());
    fs::write(at("closed/file"), "").unwrap();
    assert!(Dir::create_private(&at("closed/file")).is_err());
    assert!(Dir::open_private(&at("missing")).unwrap().is_none());
    assert!(!at("missing").exists());
}

// covers: F12 F03
#[test]
fn a_directory_or_link_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    let nobody = |path: &Path| std::os::unix::fs::lchown(path, Some(65534), Some(65534)).unwrap();
    fs::create_dir_all(at("theirs/inside")).unwrap();
    nobody(&at("theirs"));
    fs::create_dir(at("ours")).unwrap();
    fs::create_dir(at("sticky")).unwrap();
    fs::set_permissions(at("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink(at("ours"), at("sticky/theirs")).unwrap();
    nobody(&at("sticky/theirs"));
    symlink(at("ours"), at("sticky/mine")).unwrap();
    for path in ["theirs", "theirs/inside", "theirs/new", "sticky/theirs", "sticky/theirs/new"] {
        let error = Dir::create_private(&at(path)).unwrap_err();
        assert!(error.cause.contains("65534"), "{path}: {error}");
    }
    Dir::create_private(&at("sticky/mine/new")).unwrap();
    assert_eq!(names(&at("ours")), ["new"]);
    let dir = Dir::create_private(&at("ours")).unwrap();
    fs::create_dir(at("ours/theirs")).unwrap();
    nobody(&at("ours/theirs"));
    assert!(dir.subdir("theirs").is_err());
}

// covers: F03 F12
#[test]
fn links_above_are_walked_and_a_loop_of_them_ends() {
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    fs::create_dir(at("real")).unwrap();
    symlink("real", at("relative")).unwrap();
    symlink(at("relative"), at("absolute")).unwrap();
    symlink("real/../real", at("dotted")).unwrap();
    symlink("loop", at("loop")).unwrap();
    for (name, inside) in [("relative", "a"), ("absolute", "b"), ("dotted", "c")] {
        let dir = Dir::create_private(&at(name).join(inside)).unwrap();
        dir.write_new("file", b"x", PRIVATE).unwrap();
    }
    assert_eq!(names(&at("real")), ["a", "b", "c"]);
    assert!(Dir::create_private(&at("loop/x")).unwrap_err().cause.contains("symbolic links"));
    // In the program's own directories no link is followed.
    let dir = Dir::create_private(&at("real")).unwrap();
    symlink(at("real/a"), at("real/link")).unwrap();
    assert!(dir.subdir("link").is_err());
    assert!(dir.open_subdir("link").is_err());
}

// covers: F05
#[test]
fn a_swapped_component_never_leads_out() {
    let temp = memory();
    let (place, victim) = (temp.path().join("place"), temp.path().join("victim"));
    fs::create_dir_all(place.join("dir")).unwrap();
    fs::create_dir(&victim).unwrap();
    symlink(&victim, place.join("evil")).unwrap();
    let dir = Dir::create_private(&place).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut landed, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, place.join("dir"), CWD, place.join("evil"), RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (begin, mut round) = (Instant::now(), 0);
        while round < 10_000 || ((landed == 0 || refused == 0) && begin.elapsed() < Duration::from_secs(60)) {
            round += 1;
            match dir.subdir("dir").and_then(|below| below.replace_unsynced(format!("key{}", round % 7), b"secret", PRIVATE)) {
                Ok(()) => landed += 1,
                Err(_) => refused += 1,
            }
            let _ = dir.read_bounded("dir", 10);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&victim), Vec::<String>::new());
    assert!(landed > 0 && refused > 0, "{landed} landed, {refused} refused, {swaps:?} swaps");
}

// covers: F05
#[test]
fn a_removal_never_follows_a_link_that_is_swapped_in() {
    let temp = memory();
    let victim = temp.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "x").unwrap();
    let dir = Dir::create_private(&temp.path().join("place")).unwrap();
    symlink(&victim, dir.path().join("evil")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (inner, evil) = (dir.path().join("tree/inner"), dir.path().join("evil"));
                let _ = rustix::fs::renameat_with(CWD, &inner, CWD, &evil, RenameFlags::EXCHANGE);
                if !evil.is_symlink() && !inner.is_symlink() {
                    let _ = symlink(&victim, &evil);
                }
            }
        });
        for _ in 0..2_000 {
            let _ = fs::create_dir_all(dir.path().join("tree/inner/deep"));
            let _ = dir.remove_tree("tree");
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The test's own create_dir_all may have gone through the link and left `deep` there.
    assert_eq!(fs::read(victim.join("precious")).unwrap(), b"x");
}

#[test]
fn a_tree_of_any_shape_is_removed() {
    let (temp, dir) = private();
    let victim = temp.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "x").unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("closed/inner")).unwrap();
    fs::write(tree.join("closed/inner/file"), "x").unwrap();
    symlink(&victim, tree.join("link")).unwrap();
    symlink(&victim, tree.join("closed/inner/link")).unwrap();
    rustix::fs::mkfifoat(CWD, tree.join("fifo"), Mode::from_raw_mode(0)).unwrap();
    // A whiteout, which everybody may make.
    let whiteout = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, tree.join("whiteout"), whiteout, Mode::empty(), 0).unwrap();
    fs::write(tree.join("\u{1b}[2J\n"), "x").unwrap();
    for path in ["closed/inner", "closed"] {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Deeper than a path can name, and than descriptors would reach.
    let mut deep = Dir::open(&tree).unwrap();
    for _ in 0..3_000 {
        deep = deep.subdir("d").unwrap();
    }
    drop(deep);
    dir.remove_tree("tree").unwrap();
    dir.remove_tree("tree").unwrap();
    assert_eq!(names(dir.path()), Vec::<String>::new());
    assert_eq!(names(&victim), ["precious"]);
    // A link at the top is removed itself.
    symlink(&victim, dir.path().join("link")).unwrap();
    dir.remove_tree("link").unwrap();
    assert_eq!(names(&victim), ["precious"]);
    for name in ["..", ".", "", "a/b"] {
        assert!(dir.remove_tree(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_mount_inside_a_tree_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join("place");
    let (tree, victim) = (place.join("tree/mounted"), temp.path().join("victim"));
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "x").unwrap();
    fs::write(place.join("tree/other"), "x").unwrap();
    let script = format!("mount --bind '{}' \"$1\"", victim.display());
    let mut command = in_mount_namespace(&script, &tree);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "files::child_removes", "--ignored", "--nocapture"]);
    let output = command.env("BOTTLE_TEST_PLACE", &place).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(names(&victim), ["precious"]);
    // The error did not stop the rest.
    assert_eq!(names(&place.join("tree")), ["mounted"]);
}

#[test]
#[ignore = "run by a_mount_inside_a_tree_is_left_alone"]
fn child_removes() {
    let error = Dir::open(&place()).unwrap().remove_tree("tree").unwrap_err();
    assert!(error.what.contains("tree/mounted"), "{error}");
}

#[test]
fn two_removals_of_one_tree_both_succeed() {
    let (_temp, dir) = private();
    for _ in 0..20 {
        for n in 0..200 {
            let path: PathBuf = dir.path().join(format!("tree/{}/{n}", n % 10));
            fs::create_dir_all(path).unwrap();
        }
        std::thread::scope(|scope| {
            let removals = [scope.spawn(|| dir.remove_tree("tree")), scope.spawn(|| dir.remove_tree("tree"))];
            for removal in removals {
                removal.join().unwrap().unwrap();
            }
        });
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }
}
