//! The agent's work outlives whatever becomes of its record, the disk and the state directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bottle::commands::cleanup;
use bottle::manifest::model::WorkspaceMode;
use bottle::store::{Claim, Phase, Status, Workspace};

use crate::store::Home;
use crate::support::{has, layout, memory, names, on_small_tmpfs, place, said};

/// Cleans up: its code, and what it said on its output.
pub(crate) fn clean(home: &Home, arguments: &cleanup::Args) -> (u8, String) {
    let mut out = Vec::new();
    let code = cleanup::run(arguments, &home.layout, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

pub(crate) const PLAIN: cleanup::Args = cleanup::Args { dry_run: false, all: false, force: false, older_than: None, backend: None };
pub(crate) const ALL: cleanup::Args = cleanup::Args { dry_run: false, all: true, force: false, older_than: None, backend: None };

pub(crate) const FORCED: cleanup::Args = cleanup::Args { force: true, ..ALL };

/// A bottle that was killed while its agent worked: in an overlay, `made` is its work.
pub(crate) fn killed_at_work(home: &Home, name: &str) {
    let mut claim = home.claim(name);
    let source = home.disk.path().join("tree");
    fs::create_dir_all(&source).unwrap();
    let upper = home.state(name).join("workspace/upper");
    fs::create_dir_all(&upper).unwrap();
    fs::write(upper.join("made"), "work").unwrap();
    let workspace =
        Workspace { mode: WorkspaceMode::Overlay, source, dir: upper, since: 0, copied: 0, git: None, base: None, hidden: Vec::new() };
    claim.update(|m| (m.workspace, m.phase) = (Some(workspace), Phase::Running)).unwrap();
}

// covers: I15
#[test]
fn a_broken_record_does_not_cost_the_agents_work() {
    for broken in ["", "{", "garbage"] {
        let home = Home::new();
        killed_at_work(&home, "web");
        let record = home.state("web").join("metadata.json");
        fs::write(&record, broken).unwrap();
        let upper = home.state("web").join("workspace/upper");
        // Again and again: it is not forgotten, either.
        for _ in 0..2 {
            let (code, text) = clean(&home, &PLAIN);
            let sentence = format!("preserved the agent's work of web in {}: its metadata cannot be read (", upper.display());
            assert!(code == 0 && text.starts_with(&sentence), "{text}");
            assert_eq!(fs::read_to_string(upper.join("made")).unwrap(), "work");
            assert_eq!(fs::read_to_string(&record).unwrap(), broken);
        }
        assert!(matches!(&home.statuses()[..], [(name, Status::Unreadable(_))] if name == "web"));
        assert!(names(home.layout.open_runtime().unwrap().path()).is_empty());
    }
}

// covers: I15
#[test]
fn a_broken_record_without_work_is_removed() {
    let home = Home::new();
    drop(home.claim("web"));
    fs::write(home.state("web").join("metadata.json"), "").unwrap();
    assert_eq!(clean(&home, &PLAIN), (0, "removed the leftovers of web\n".to_owned()));
    assert_eq!(home.statuses(), []);
}

// covers: I15
#[test]
fn the_record_of_a_bottle_at_work_is_on_the_disk_before_it_has_its_name() {
    if !has("strace") {
        return;
    }
    let home = Home::new();
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", "/dev/stdout"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::work::child_works", "--ignored"])
        .env("BOTTLE_TEST_PLACE", home.disk.path())
        .env("BOTTLE_TEST_MEMORY", home.memory.path())
        .output()
        .unwrap();
    let text = said(&traced);
    let calls: Vec<&str> = text.lines().filter(|line| line.contains(".unfinished-")).collect();
    let last = calls.iter().rposition(|line| line.contains("rename") && line.contains("metadata.json")).expect(&text);
    assert!(last > 0 && calls[last - 1].contains("fsync("), "{text}");
}

#[test]
#[ignore = "run by the_record_of_a_bottle_at_work_is_on_the_disk_before_it_has_its_name"]
fn child_works() {
    let memory = std::path::PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let mut claim = Claim::new(&layout(&place(), &memory), "web", None).unwrap();
    claim.update(|m| m.phase = Phase::Running).unwrap();
}

// covers: I13
#[test]
fn a_full_disk_does_not_stand_in_the_way_of_a_removal() {
    for test in ["store::work::child_removes_all", "store::work::child_removes_the_rest"] {
        let disk = memory();
        let output = on_small_tmpfs(test, "size=512k", disk.path());
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Takes all the room that there is.
fn fill(place: &std::path::Path) {
    let mut file = fs::File::create(place.join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    assert!(fs::write(place.join("more"), [1; 4096]).is_err());
}

/// A home on the small disk, with a bottle that was killed.
fn full() -> Home {
    let (disk, memory) = (tempfile::Builder::new().tempdir_in(place()).unwrap(), memory());
    let layout = layout(disk.path(), memory.path());
    let home = Home { disk, memory, layout };
    killed_at_work(&home, "web");
    fill(&place());
    home
}

#[test]
#[ignore = "run by a_full_disk_does_not_stand_in_the_way_of_a_removal"]
fn child_removes_all() {
    let home = full();
    assert_eq!(clean(&home, &FORCED), (0, "removed the leftovers of web\n".to_owned()));
    assert_eq!(names(&home.layout.state), [".lock"]);
    assert!(names(home.layout.open_runtime().unwrap().path()).is_empty());
}

#[test]
#[ignore = "run by a_full_disk_does_not_stand_in_the_way_of_a_removal"]
fn child_removes_the_rest() {
    let home = full();
    // Its end cannot be recorded, but its keys go.
    assert_eq!(clean(&home, &PLAIN), (125, String::new()));
    assert!(names(home.layout.open_runtime().unwrap().path()).is_empty());
    fs::remove_file(place().join("filler")).unwrap();
    assert_eq!(clean(&home, &PLAIN), (0, "removed the leftovers of web\n".to_owned()));
    assert_eq!(home.statuses(), [("web".into(), Status::Ended)]);
    assert_eq!(fs::read_to_string(home.state("web").join("workspace/upper/made")).unwrap(), "work");
}

// covers: I14
#[test]
fn keys_in_memory_are_found_without_the_state_directory() {
    for all in [false, true] {
        let home = Home::new();
        let claim = home.claim("web");
        claim.runtime().unwrap().write_new("key.pem", b"key", 0o600).unwrap();
        drop((claim, home.claim("other")));
        // By hand: one bottle's directory, or that of all.
        fs::remove_dir_all(if all { home.layout.state.clone() } else { home.state("web") }).unwrap();
        let dry = cleanup::Args { dry_run: true, ..PLAIN };
        let of = |verb: &str| {
            let other = if all { "runtime directory" } else { "leftovers" };
            let (other, web) = (format!("{verb} the {other} of other\n"), format!("{verb} the runtime directory of web\n"));
            (0, other + &web)
        };
        assert_eq!(clean(&home, &dry), of("would remove"));
        assert_eq!(clean(&home, &PLAIN), of("removed"));
        assert_eq!(names(home.layout.open_runtime().unwrap().path()), Vec::<String>::new());
        assert_eq!(clean(&home, &PLAIN), (0, "nothing to do\n".to_owned()));
    }
}

// covers: I14
#[test]
fn keys_of_a_bottle_that_runs_without_its_state_directory_stay() {
    let home = Home::new();
    let claim = home.claim("web");
    fs::remove_dir_all(home.state("web")).unwrap();
    assert_eq!(clean(&home, &PLAIN), (125, String::new()));
    assert!(claim.runtime().unwrap().path().is_dir());
    drop(claim);
    assert_eq!(clean(&home, &PLAIN), (0, "removed the runtime directory of web\n".to_owned()));
}

// covers: I16
#[test]
fn a_lock_that_a_umask_has_closed_is_opened_again() {
    let home = Home::new();
    killed_at_work(&home, "web");
    for lock in [home.layout.state.join(".lock"), home.state("web").join("lock")] {
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Root opens anything: the modes are asked for.
    assert_eq!(home.statuses(), [("web".into(), Status::Crashed)]);
    assert_eq!([".lock", "web/lock"].map(|name| crate::support::mode(&home.layout.state.join(name))), [0o600; 2]);
    assert_eq!(clean(&home, &PLAIN), (0, "removed the leftovers of web\n".to_owned()));
}

// covers: I27
#[test]
fn a_list_of_a_read_only_state_is_a_list() {
    let home = Home::new();
    killed_at_work(&home, "web");
    for missing in [false, true] {
        if missing {
            fs::remove_file(home.layout.state.join(".lock")).unwrap();
        }
        let output = crate::support::in_mount_namespace("mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"", home.disk.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "store::work::child_lists", "--ignored", "--nocapture"])
            .env("BOTTLE_TEST_PLACE", home.disk.path())
            .env("BOTTLE_TEST_MEMORY", home.memory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
#[ignore = "run by a_list_of_a_read_only_state_is_a_list"]
fn child_lists() {
    let memory = std::path::PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let layout = layout(&place(), &memory);
    assert!(fs::write(layout.state.join("new"), "").is_err());
    let list: Vec<_> =
        bottle::store::Bottles::list(&layout).unwrap().into_iter().map(|entry| (entry.id.to_string(), entry.status)).collect();
    assert_eq!(list, [("web".into(), Status::Crashed)]);
    assert!(bottle::store::Bottles::find(&layout, &"web".parse().unwrap()).unwrap().is_some());
}

// covers: W08
#[test]
fn work_that_was_not_applied_is_removed_only_by_force() {
    let home = Home::new();
    killed_at_work(&home, "web");
    killed_at_work(&home, "done");
    fs::remove_file(home.state("done").join("workspace/upper/made")).unwrap();
    drop(home.claim("plain"));
    let dry = cleanup::Args { dry_run: true, ..ALL };
    let would = "would remove the leftovers of done\nwould remove the leftovers of plain\nwould not remove the leftovers of web\n";
    assert_eq!(clean(&home, &dry), (0, would.to_owned()));
    // The others go all the same.
    assert_eq!(clean(&home, &ALL), (125, "removed the leftovers of done\nremoved the leftovers of plain\n".to_owned()));
    assert_eq!(home.statuses(), [("web".into(), Status::Ended)]);
    assert_eq!(clean(&home, &ALL), (125, String::new()));
    assert_eq!(fs::read_to_string(home.state("web").join("workspace/upper/made")).unwrap(), "work");
    // What is in the operator's tree is nobody's loss.
    fs::write(home.disk.path().join("tree/made"), "work").unwrap();
    assert_eq!(clean(&home, &ALL), (0, "removed the logs of web\n".to_owned()));
}

// covers: W08 I15
#[test]
fn work_without_a_readable_record_is_removed_only_by_force() {
    let home = Home::new();
    killed_at_work(&home, "web");
    fs::write(home.state("web").join("metadata.json"), "").unwrap();
    assert_eq!(clean(&home, &ALL), (125, String::new()));
    assert_eq!(fs::read_to_string(home.state("web").join("workspace/upper/made")).unwrap(), "work");
    assert_eq!(clean(&home, &FORCED), (0, "removed the leftovers of web\n".to_owned()));
    assert_eq!(home.statuses(), []);
}
