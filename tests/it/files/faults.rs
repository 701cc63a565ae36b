//! Files when something goes wrong: crashes, full disks, read-only places.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bottle::files::{Dir, PRIVATE};

use crate::files::private;
use crate::support::{has, in_mount_namespace, names, on_small_tmpfs, place, said};

// covers: F06
#[test]
fn a_reader_sees_the_old_file_or_the_new_one() {
    let (_temp, dir) = private();
    let versions: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![b'a' + n; 1000 + 3000 * usize::from(n)]).collect();
    dir.replace("config", &versions[0], PRIVATE).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3_000 {
                dir.replace_unsynced("config", &versions[round % versions.len()], PRIVATE).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut reads = 0;
        while !stop.load(Ordering::Relaxed) {
            let content = fs::read(dir.path().join("config")).unwrap();
            assert!(versions.contains(&content), "{} bytes that nobody wrote", content.len());
            reads += 1;
        }
        assert!(reads > 10);
    });
    assert_eq!(names(dir.path()), ["config"]);
}

// covers: F07 F08
#[test]
fn a_crash_leaves_the_old_file_or_the_new_one_and_the_next_start_sweeps() {
    if !has("strace") {
        return;
    }
    let (temp, dir) = private();
    let mut outcomes = [0; 2];
    for call in ["openat2", "write", "fchmod", "fsync", "rename,renameat,renameat2"] {
        for when in 1..=3 {
            dir.replace("key.pem", &[b'o'; 3000], PRIVATE).unwrap();
            let inject = format!("--inject={call}:signal=SIGKILL:when={when}");
            let trace = temp.path().join("trace");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(&trace).arg(inject).arg("--").arg(std::env::current_exe().unwrap());
            command.args(["--exact", "files::faults::child_replaces", "--ignored", "--nocapture"]).env("BOTTLE_TEST_PLACE", dir.path());
            command.output().unwrap();
            let content = dir.read_bounded("key.pem", 10_000).unwrap();
            assert!(content == [b'o'; 3000] || content == [b'n'; 4000], "{call} {when}: {} bytes", content.len());
            outcomes[usize::from(content[0] == b'n')] += 1;
            dir.sweep_unfinished().unwrap();
            assert_eq!(names(dir.path()), ["key.pem"], "{call} {when}");
        }
    }
    assert!(outcomes[0] > 0, "no crash came before the rename");
}

#[test]
#[ignore = "run by a_crash_leaves_the_old_file_or_the_new_one_and_the_next_start_sweeps"]
fn child_replaces() {
    Dir::open(&place()).unwrap().replace("key.pem", &[b'n'; 4000], PRIVATE).unwrap();
}

// covers: F08
#[test]
fn content_is_on_disk_before_the_name_and_the_name_before_the_return() {
    if !has("strace") {
        return;
    }
    let (temp, dir) = private();
    let trace = temp.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-e", "trace=openat2,write,fchmod,fsync,rename,renameat,renameat2", "-o"]).arg(&trace).arg("--");
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "files::faults::child_replaces", "--ignored", "--nocapture"]);
    assert!(command.env("BOTTLE_TEST_PLACE", dir.path()).output().unwrap().status.success());
    let trace = fs::read_to_string(trace).unwrap();
    let ours = trace.lines().filter(|line| line.contains(dir.path().to_str().unwrap()));
    let calls: Vec<&str> = ours.filter_map(|line| line.split_whitespace().nth(1)?.split('(').next()).collect();
    assert_eq!(calls, ["openat2", "write", "fchmod", "fsync", "renameat", "fsync"], "{trace}");
    let open = trace.lines().find(|line| line.contains("openat2(")).unwrap();
    for flag in ["O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC", "mode=0600", "RESOLVE_BENEATH", "RESOLVE_NO_SYMLINKS"] {
        assert!(open.contains(flag), "{flag} in {open}");
    }
}

// covers: F10
#[test]
fn a_full_disk_leaves_nothing_behind() {
    for options in ["size=16k", "size=1m,nr_inodes=4"] {
        let temp = tempfile::tempdir().unwrap();
        let output = on_small_tmpfs("files::faults::child_fills", options, temp.path());
        assert!(output.status.success(), "{options}: {}", said(&output));
    }
}

#[test]
#[ignore = "run by a_full_disk_leaves_nothing_behind"]
fn child_fills() {
    let dir = Dir::create_private(&place()).unwrap();
    let mut written = Vec::new();
    let error = loop {
        let name = format!("{:03}.pem", written.len());
        match dir.write_new(&name, &[b'k'; 3000], PRIVATE) {
            Ok(()) => written.push(name),
            Err(error) => break error,
        }
        assert!(written.len() < 100, "the file system is not small");
    };
    assert!(error.what.starts_with("no space to write"), "{error}");
    assert!(error.cause.contains("No space left on device"), "{error}");
    assert!(dir.replace(&written[0], &[b'n'; 40_000], PRIVATE).is_err());
    assert_eq!(names(dir.path()), written);
    for name in &written {
        assert_eq!(dir.read_bounded(name, 10_000).unwrap(), [b'k'; 3000]);
    }
    dir.remove_tree(&written[0]).unwrap();
    dir.write_new("again.pem", &[b'k'; 3000], PRIVATE).unwrap();
}

// covers: F11
#[test]
fn a_read_only_place_is_a_clear_error() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join("place");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"";
    let mut command = in_mount_namespace(script, &place);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "files::faults::child_is_refused", "--ignored", "--nocapture"]);
    let output = command.env("BOTTLE_TEST_PLACE", &place).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(names(&place), Vec::<String>::new());
}

#[test]
#[ignore = "run by a_read_only_place_is_a_clear_error"]
fn child_is_refused() {
    let dir = Dir::create_private(&place()).unwrap();
    for error in [
        dir.write_new("key", b"x", PRIVATE).unwrap_err(),
        dir.subdir("dir").unwrap_err(),
        Dir::create_private(&place().join("a/b")).unwrap_err(),
    ] {
        assert!(error.cause.contains("Read-only file system") && error.hint.contains("BOTTLE_HOME"), "{error}");
    }
}
