//! The store after crashes and damage: what somebody else wrote is told, and never believed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bottle::store::{Bottles, Claim, Object, Status, Takeover};
use rustix::fs::{CWD, Mode};

use crate::store::{Home, id};
use crate::support::{layout, names, place, said};

// covers: K09
#[test]
fn a_bottle_of_another_boot_is_known_as_such() {
    let home = Home::new();
    drop(home.claim("web"));
    let file = home.state("web").join("metadata.json");
    let text = fs::read_to_string(&file).unwrap();
    let boot = bottle::store::boot_id().unwrap();
    fs::write(&file, text.replace(&boot, "00000000-0000-0000-0000-000000000000")).unwrap();
    // What was in memory is gone after a reboot.
    fs::remove_dir_all(home.memory.path().join("bottle")).unwrap();
    let entries = Bottles::list(&home.layout).unwrap();
    assert_eq!((entries[0].status.clone(), entries[0].same_boot), (Status::Crashed, false));
    let Takeover::Dead(mut claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!() };
    assert!(claim.runtime().unwrap_err().what.contains("gone"));
    claim.remove_runtime().unwrap();
    claim.remove().unwrap();
    assert_eq!(home.statuses(), []);
}

// covers: K12
#[test]
fn damaged_metadata_is_told_and_never_believed() {
    let home = Home::new();
    let other = home.claim("other");
    let text = serde_json::to_string(home.claim("web").metadata()).unwrap();
    let file = home.state("web").join("metadata.json");
    let unreadable = |what: &str| {
        let list = home.statuses();
        assert!(matches!(&list[..], [(a, Status::Running), (b, Status::Unreadable(_))] if a == "other" && b == "web"), "{what}: {list:?}");
    };
    for length in 0..text.len() {
        fs::write(&file, &text[..length]).unwrap();
        unreadable(&format!("{length} bytes"));
    }
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        text.replacen(from, to, 1)
    };
    for damaged in [
        change("\"version\":1", "\"version\":2"),
        change("\"version\":1", "\"version\":1,\"version\":1"),
        change("\"version\":1", "\"version\":1,\"unknown\":true"),
        change("\"id\":\"web\"", "\"id\":\"other\""),
        change("\"id\":\"web\"", "\"id\":\"../other\""),
        change("\"phase\":\"starting\"", "\"phase\":\"flying\""),
        change("{\"runtime_dir\":\"", "{\"runtime_dir\":\"/tmp/../etc/"),
        change("{\"runtime_dir\":\"/", "{\"runtime_dir\":\""),
        "[".repeat(100_000),
        "null".to_owned(),
    ] {
        fs::write(&file, &damaged).unwrap();
        unreadable(&damaged[..damaged.len().min(200)]);
    }
    fs::write(&file, &text).unwrap();
    assert_eq!(home.statuses()[1].1, Status::Crashed);
    // Taken over, a damaged bottle names only what can be found without its metadata.
    fs::write(&file, "garbage").unwrap();
    let Takeover::Dead(claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!() };
    assert!(claim.damage().is_some());
    assert_eq!(claim.metadata().objects, [Object::RuntimeDir(claim.runtime().unwrap().path().to_owned())]);
    claim.remove().unwrap();
    drop(other);
}

// covers: K12
#[test]
fn random_damage_never_panics_or_leads_outside() {
    let home = Home::new();
    let text = serde_json::to_vec(home.claim("web").metadata()).unwrap();
    let file = home.state("web").join("metadata.json");
    // xorshift: the same damage in every run.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize % below
    };
    for _ in 0..2_000 {
        let mut damaged = text.clone();
        for _ in 0..=random(4) {
            let at = random(damaged.len());
            match random(3) {
                0 => damaged[at] = random(256) as u8,
                1 => drop(damaged.remove(at)),
                _ => damaged.insert(at, b"\"{}[],:\\0\x00\xff"[random(11)]),
            }
        }
        fs::write(&file, &damaged).unwrap();
        let list = home.statuses();
        assert!(matches!(&list[..], [(_, Status::Crashed | Status::Unreadable(_) | Status::Ended)]), "{list:?}");
    }
}

// covers: K12
#[test]
fn odd_files_in_the_state_directory_are_told_and_not_followed() {
    let home = Home::new();
    drop(home.claim("web"));
    let victim = home.disk.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::copy(home.state("web").join("metadata.json"), victim.join("metadata.json")).unwrap();
    fs::write(victim.join("lock"), "").unwrap();
    symlink(&victim, home.state("linked")).unwrap();
    rustix::fs::mkfifoat(CWD, home.state("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    fs::write(home.state("file"), "").unwrap();
    fs::create_dir(home.state("empty")).unwrap();
    fs::write(home.state("Not an id"), "").unwrap();
    for (name, lock, metadata) in [
        ("lockfifo", "fifo", "file"),
        ("metafifo", "file", "fifo"),
        ("metalink", "file", "link"),
        ("metadir", "file", "dir"),
        ("huge", "file", "huge"),
        ("locklink", "link", "file"),
    ] {
        fs::create_dir(home.state(name)).unwrap();
        for (file, kind) in [("lock", lock), ("metadata.json", metadata)] {
            let path = home.state(name).join(file);
            match kind {
                "fifo" => rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap(),
                "link" => symlink(victim.join(file), path).unwrap(),
                "dir" => fs::create_dir(path).unwrap(),
                "huge" => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
                _ => fs::write(path, "{}").unwrap(),
            }
        }
    }
    let list = home.statuses();
    assert_eq!(list.len(), 11, "{list:?}");
    for (name, status) in &list {
        assert_eq!(matches!(status, Status::Unreadable(_)), name != "web", "{name}: {status:?}");
    }
    for name in ["linked", "fifo", "file"] {
        assert!(Claim::take_over(&home.layout, &id(name)).is_err(), "{name}");
    }
    assert_eq!(home.claim("linked").id().as_str(), "linked-2");
    assert_eq!(names(&victim), ["lock", "metadata.json"]);
    // What a claim left unfinished is swept by the next one.
    fs::create_dir_all(home.state(".new-0123/logs")).unwrap();
    drop(home.claim("web"));
    assert!(!home.state(".new-0123").exists());
}

// covers: F10
#[test]
fn a_claim_that_fails_leaves_nothing() {
    let home = Home::new();
    drop(home.claim("web"));
    let before = (names(&home.layout.state), names(&home.memory.path().join("bottle")));
    // The runtime directory can be opened, but not written.
    let runtime = home.layout.open_runtime().unwrap();
    let output = crate::support::in_mount_namespace("mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"", runtime.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::damage::child_cannot_claim", "--ignored", "--nocapture"])
        .env("BOTTLE_TEST_PLACE", home.disk.path())
        .env("BOTTLE_TEST_MEMORY", home.memory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((names(&home.layout.state), names(&home.memory.path().join("bottle"))), before);
}

#[test]
#[ignore = "run by a_claim_that_fails_leaves_nothing"]
fn child_cannot_claim() {
    let memory = PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let error = Claim::new(&layout(&place(), &memory), "new", None).unwrap_err();
    assert!(error.cause.contains("Read-only file system"), "{error}");
}

// covers: F07 K08
#[test]
fn a_claim_killed_at_any_call_leaves_what_the_next_one_undoes() {
    if !crate::support::has("strace") {
        return;
    }
    let home = Home::new();
    drop(home.claim("first"));
    let mut left = [0; 2];
    for call in ["mkdirat", "openat2", "write", "flock", "rename,renameat,renameat2", "fchmod"] {
        for when in 1..=8 {
            let killed = std::process::Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null"])
                .arg(format!("--inject={call}:signal=SIGKILL:when={when}"))
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "store::damage::child_claims_once", "--ignored", "--nocapture"])
                .env("BOTTLE_TEST_PLACE", home.disk.path())
                .env("BOTTLE_TEST_MEMORY", home.memory.path())
                .output()
                .unwrap();
            let statuses = home.statuses();
            let known = |(name, status): &(String, Status)| *status == Status::Crashed && (name == "first" || name == "killed");
            assert!(statuses.iter().all(known), "{call} {when}: {statuses:?} {killed:?}");
            left[usize::from(statuses.len() > 1)] += 1;
            drop(home.claim("next"));
            for name in ["killed", "next"] {
                if let Takeover::Dead(claim) = Claim::take_over(&home.layout, &id(name)).unwrap() {
                    claim.remove().unwrap();
                }
            }
            assert_eq!(names(&home.layout.state), [".lock", "first"], "{call} {when}");
            assert_eq!(names(home.layout.open_runtime().unwrap().path()), ["first"], "{call} {when}");
        }
    }
    assert!(left.iter().all(|&count| count > 3), "{left:?}");
}

#[test]
#[ignore = "run by a_claim_killed_at_any_call_leaves_what_the_next_one_undoes"]
fn child_claims_once() {
    let memory = PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    Claim::new(&layout(&place(), &memory), "killed", None).unwrap();
}
