//! The store: layouts, claims, liveness.

mod damage;
mod holder;
mod work;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bottle::store::{Bottles, Claim, Exit, Facts, Id, Layout, Object, Phase, Reservation, Status, Takeover};
use tempfile::TempDir;

use crate::support::{child, layout, memory, mode, names, place};

pub(crate) struct Home {
    pub(crate) disk: TempDir,
    pub(crate) memory: TempDir,
    pub(crate) layout: Layout,
}

impl Home {
    pub(crate) fn new() -> Self {
        // Both in memory, so that the tests do not wait for a disk.
        let (disk, memory) = (memory(), memory());
        let layout = layout(disk.path(), memory.path());
        Self { disk, memory, layout }
    }

    pub(crate) fn claim(&self, base: &str) -> Claim {
        Claim::new(&self.layout, base, None).unwrap()
    }

    pub(crate) fn statuses(&self) -> Vec<(String, Status)> {
        Bottles::list(&self.layout).unwrap().into_iter().map(|entry| (entry.id.to_string(), entry.status)).collect()
    }

    pub(crate) fn state(&self, id: &str) -> PathBuf {
        self.layout.state.join(id)
    }
}

pub(crate) fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn facts(pairs: &[(&str, &str)]) -> Facts {
    let mut facts = Facts { uid: 1000, ..Facts::default() };
    for (name, value) in pairs {
        let value = Some(OsString::from(value));
        match *name {
            "BOTTLE_HOME" => facts.bottle_home = value,
            "HOME" => facts.home = value,
            "XDG_CONFIG_HOME" => facts.config_home = value,
            "XDG_STATE_HOME" => facts.state_home = value,
            "XDG_DATA_HOME" => facts.data_home = value,
            "XDG_RUNTIME_DIR" => facts.runtime_dir = value,
            _ => panic!("{name}"),
        }
    }
    facts
}

#[test]
fn a_layout_follows_from_the_environment() {
    let show = |pairs| {
        let layout = Layout::compute(&facts(pairs)).unwrap();
        [&layout.config, &layout.state, &layout.images].map(|path| path.to_str().unwrap().to_owned())
    };
    assert_eq!(
        show(&[("HOME", "/home/x")]),
        ["/home/x/.config/bottle", "/home/x/.local/state/bottle", "/home/x/.local/share/bottle/images"]
    );
    assert_eq!(show(&[("BOTTLE_HOME", "/b/"), ("XDG_STATE_HOME", "/s")]), ["/b/config", "/b/state", "/b/images"]);
    let all = [("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s"), ("XDG_DATA_HOME", "/d")];
    assert_eq!(show(&all), ["/c/bottle", "/s/bottle", "/d/bottle/images"]);
    let own = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let layout = Layout::compute(&facts(&[("HOME", "/home/x"), ("XDG_RUNTIME_DIR", "/run/user/1000")])).unwrap();
    let other = Layout::compute(&facts(&[("BOTTLE_HOME", "/b")])).unwrap();
    let bases: Vec<_> = layout.runtime.iter().map(|path| path.parent().unwrap().to_str().unwrap()).collect();
    assert_eq!(bases, ["/run/user/1000/bottle", "/dev/shm/bottle-1000"]);
    assert_ne!(own(&layout.runtime[0]), own(&other.runtime[0]));
    assert!(own(&layout.runtime[0]).parse::<Id>().is_err(), "no bottle can have this name");
    let root = Layout::compute(&Facts { uid: 0, ..facts(&[("HOME", "/root")]) }).unwrap();
    assert!(root.runtime.iter().any(|path| path.starts_with("/run/bottle")));
}

// covers: F11
#[test]
fn an_environment_without_a_place_is_a_clear_error() {
    for (pairs, words) in [
        (&[][..], "HOME is not set"),
        (&[("HOME", "/")], "the home directory is `/`"),
        (&[("HOME", "//.")], "the home directory is `/`"),
        (&[("HOME", "home/x")], "relative"),
        (&[("HOME", "/home/x/../y")], "`..`"),
        (&[("BOTTLE_HOME", "b")], "BOTTLE_HOME is `b`"),
        (&[("HOME", "/home/x"), ("XDG_STATE_HOME", "s")], "XDG_STATE_HOME is `s`"),
        (&[("HOME", "/home/x"), ("XDG_RUNTIME_DIR", "run")], "XDG_RUNTIME_DIR is `run`"),
        (&[("HOME", "/home/\n")], "\\u{a}"),
    ] {
        let error = Layout::compute(&facts(pairs)).unwrap_err();
        assert!(error.to_string().contains(words) && !error.hint.is_empty(), "{pairs:?}: {error}");
    }
}

// covers: X07 F11
#[test]
fn keys_live_in_memory_in_a_directory_short_enough_for_sockets() {
    let (disk, memory) = (tempfile::tempdir().unwrap(), memory());
    let with = |runtime: Vec<PathBuf>| Layout { runtime, shared: None, ..layout(disk.path(), memory.path()) };
    let deep = memory.path().join("d".repeat(60));
    let good = memory.path().join("bottle/state.x");
    let fine = with(vec![disk.path().join("bottle/state.x"), deep.join("bottle/state.x"), good.clone()]);
    let dir = fine.open_runtime().unwrap();
    assert_eq!((dir.path(), mode(dir.path()), mode(dir.path().parent().unwrap())), (good.as_path(), 0o700, 0o700));
    assert_eq!(names(disk.path()), Vec::<String>::new(), "nothing is made on a disk");
    let error = with(vec![disk.path().join("bottle/state.x"), deep.join("bottle/state.x")]).open_runtime().unwrap_err();
    assert!(error.cause.contains("not on tmpfs") && error.cause.contains("too long") && error.hint.contains("XDG_RUNTIME_DIR"), "{error}");
    // The longest id's socket can be bound there.
    let bottle = dir.subdir("a".repeat(41)).unwrap().subdir("link").unwrap();
    std::os::unix::net::UnixListener::bind(bottle.path().join("pipelock.sock")).unwrap();
}

// covers: I26
#[test]
fn a_name_in_memory_that_somebody_else_has_taken_keeps_nobody_from_starting() {
    // Short, as the paths of sockets must be.
    let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::Builder::new().prefix("b-").tempdir_in("/dev/shm").unwrap());
    let shared = memory.path().join("b");
    // As another user's directory is to us: not one that can be made.
    std::fs::write(&shared, "").unwrap();
    let home = layout(disk.path(), memory.path());
    let taken = Layout { runtime: vec![shared.join(home.runtime[0].file_name().unwrap())], shared: Some(shared.clone()), ..home };
    drop(Claim::new(&taken, "web", None).unwrap());
    let place = taken.open_runtime().unwrap();
    let base = place.path().parent().unwrap();
    assert!(base.to_str().unwrap().starts_with(&format!("{}.", shared.display())), "{base:?}");
    assert_eq!([mode(base), mode(place.path())], [0o700; 2]);
    assert_eq!(names(place.path()), ["web"]);
    // The next start finds it, and so does whoever removes what a crash left.
    let Takeover::Dead(claim) = Claim::take_over(&taken, &id("web")).unwrap() else { panic!() };
    claim.remove().unwrap();
    assert_eq!(names(place.path()), Vec::<String>::new());
    assert_eq!(names(memory.path()).len(), 2);
}

#[test]
fn a_claim_makes_private_directories_and_says_what_it_is() {
    let home = Home::new();
    let mut claim = home.claim("web");
    assert_eq!(claim.id().as_str(), "web");
    assert_eq!(claim.state().path(), home.state("web"));
    assert!(claim.runtime().unwrap().path().starts_with(home.memory.path()));
    assert_eq!([mode(claim.state().path()), mode(claim.runtime().unwrap().path()), mode(&home.layout.state)], [0o700; 3]);
    assert_eq!(mode(&home.state("web").join("metadata.json")), 0o600);
    assert_eq!(claim.metadata().objects, [Object::RuntimeDir(claim.runtime().unwrap().path().to_owned())]);
    let group = Object::Cgroup("/sys/fs/cgroup/bottle-web".into());
    claim.record(group.clone()).unwrap();
    claim.update(|metadata| metadata.agent = "implementer".into()).unwrap();
    let read = Bottles::find(&home.layout, &id("web")).unwrap().unwrap();
    assert_eq!((read.status, read.same_boot, read.metadata.as_ref()), (Status::Running, true, Some(claim.metadata())));
    claim.forget(&group).unwrap();
    assert_eq!(claim.metadata().objects.len(), 1);
    assert!(Bottles::find(&home.layout, &id("other")).unwrap().is_none());
    // Released without an end: a crash. With an end: kept logs.
    drop(claim);
    assert_eq!(home.statuses(), [("web".into(), Status::Crashed)]);
    let Takeover::Dead(mut claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!() };
    assert_eq!(claim.metadata().agent, "implementer");
    let exit = Exit { code: 0, signal: None, message: None, ended: "2026-11-21T00:00:00.000Z".into() };
    claim.update(|metadata| (metadata.phase, metadata.exit) = (Phase::Ended, Some(exit))).unwrap();
    claim.remove_runtime().unwrap();
    drop(claim);
    assert_eq!(home.statuses(), [("web".into(), Status::Ended)]);
}

#[test]
fn the_next_free_name_is_taken_unless_one_is_pinned() {
    let home = Home::new();
    let claims = [home.claim("web"), home.claim("web"), home.claim("web")];
    assert_eq!(claims.each_ref().map(|claim| claim.id().to_string()), ["web", "web-2", "web-3"]);
    let pinned = Claim::new(&home.layout, "web", Some("mine")).unwrap();
    assert_eq!(pinned.id().as_str(), "mine");
    let error = Claim::new(&home.layout, "web", Some("mine")).unwrap_err();
    assert_eq!(error.code, 125);
    assert!(error.what.contains("`mine`") && error.hint.contains("bottle list"), "{error}");
    drop(claims);
    // A name stays taken while its logs are kept.
    assert_eq!(home.claim("web").id().as_str(), "web-4");
    // What a crash left in memory alone is nobody's to take over blindly.
    let stray = home.layout.open_runtime().unwrap().subdir("stray").unwrap();
    assert_eq!(home.claim("stray").id().as_str(), "stray-2");
    drop(stray);
}

// covers: X02
#[test]
fn a_reserved_name_is_nobody_elses_and_leaves_nothing_unless_it_becomes_a_bottle() {
    let home = Home::new();
    let reserve = |pinned| Reservation::new(&home.layout, "web", pinned);
    let (first, second) = (reserve(None).unwrap(), reserve(None).unwrap());
    assert_eq!([first.id().as_str(), second.id().as_str()], ["web", "web-2"]);
    // It is no bottle yet, and no leftover either.
    assert_eq!(home.statuses(), []);
    assert_eq!(reserve(Some("web")).unwrap_err().what, "cannot start bottle `web`: the name is taken");
    assert_eq!(Claim::sweep_unfinished(&home.layout).unwrap(), []);
    let claim = second.claim().unwrap();
    drop(first);
    assert_eq!(home.statuses(), [("web-2".into(), Status::Running)]);
    let left = |dir: &Path| names(dir).into_iter().filter(|name| !name.starts_with(".lock")).collect::<Vec<_>>();
    assert_eq!(left(&home.layout.state), ["web-2"]);
    assert_eq!(names(claim.runtime().unwrap().path().parent().unwrap()), ["web-2"]);
    // The name that was given up is free.
    assert_eq!(home.claim("web").id().as_str(), "web");
}

// covers: X06
#[test]
fn a_name_whose_starter_was_killed_before_it_had_a_bottle_is_free() {
    let home = Home::new();
    let mut killed = child("store::child_reserves")
        .env("BOTTLE_TEST_PLACE", home.disk.path())
        .env("BOTTLE_TEST_MEMORY", home.memory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("reserved")));
    assert_eq!(Reservation::new(&home.layout, "web", None).unwrap().id().as_str(), "web-2");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(Reservation::new(&home.layout, "web", None).unwrap().id().as_str(), "web");
    assert_eq!(names(&home.layout.state), [".lock"]);
}

#[test]
#[ignore = "run by a_name_whose_starter_was_killed_before_it_had_a_bottle_is_free"]
#[expect(clippy::print_stdout, reason = "tells the parent")]
fn child_reserves() {
    let memory = PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let _reservation = Reservation::new(&layout(&place(), &memory), "web", None).unwrap();
    println!("reserved");
    loop {
        std::thread::park();
    }
}

// covers: X04
#[test]
fn a_hostile_name_is_refused_before_anything_is_made() {
    let home = Home::new();
    for name in ["../x", "a/b", "", "-rf", "--help", "a\n", "a\0", "\u{1b}[2J", ".", "ü", "$(id)", "Web", &"x".repeat(300)] {
        assert_eq!(Claim::new(&home.layout, name, None).unwrap_err().code, 2, "{name:?}");
        assert_eq!(Claim::new(&home.layout, "web", Some(name)).unwrap_err().code, 2, "{name:?}");
    }
    assert_eq!((names(home.disk.path()), names(home.memory.path())), (vec![], vec![]));
}

#[test]
fn parallel_claims_never_share_a_name_and_a_reader_never_sees_half_a_bottle() {
    let home = Home::new();
    let claims: Vec<Claim> = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..200 {
                assert!(home.statuses().iter().all(|(_, status)| *status == Status::Running), "{:?}", home.statuses());
            }
        });
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..10).map(|_| home.claim("web")).collect::<Vec<_>>())).collect();
        let claims = starts.into_iter().flat_map(|start| start.join().unwrap()).collect();
        reader.join().unwrap();
        claims
    });
    let ids: BTreeSet<_> = claims.iter().map(|claim| claim.id().clone()).collect();
    let wanted: BTreeSet<_> = (1..=80).map(|n| id("web").numbered(n)).collect();
    assert_eq!(ids, wanted);
}

#[test]
fn two_homes_do_not_see_each_other() {
    let (home, memory) = (Home::new(), memory());
    let other = tempfile::tempdir().unwrap();
    // The same directory in memory, another one on disk.
    let there = layout(other.path(), home.memory.path());
    let claims = [home.claim("web"), Claim::new(&there, "web", None).unwrap()];
    assert_eq!(claims.each_ref().map(|claim| claim.id().as_str().to_owned()), ["web", "web"]);
    assert_ne!(claims[0].runtime().unwrap().path(), claims[1].runtime().unwrap().path());
    drop(memory);
}

// covers: K07 X06
#[test]
fn a_killed_holder_is_a_crash_and_a_living_one_is_not_touched() {
    let home = Home::new();
    let alive = home.claim("alive");
    let mut killed = child("store::child_claims")
        .env("BOTTLE_TEST_PLACE", home.disk.path())
        .env("BOTTLE_TEST_MEMORY", home.memory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("claimed")));
    assert_eq!(home.statuses(), [("alive".into(), Status::Running), ("killed".into(), Status::Running)]);
    assert!(matches!(Claim::take_over(&home.layout, &id("killed")).unwrap(), Takeover::Running));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(home.statuses(), [("alive".into(), Status::Running), ("killed".into(), Status::Crashed)]);
    assert!(matches!(Claim::take_over(&home.layout, &id("alive")).unwrap(), Takeover::Running));
    let Takeover::Dead(mut claim) = Claim::take_over(&home.layout, &id("killed")).unwrap() else { panic!() };
    assert_eq!(claim.metadata().supervisor.pid, killed.id());
    assert!(claim.runtime().unwrap().stat("key.pem").unwrap().is_some());
    // Ours now: nobody else can take it.
    assert!(matches!(Claim::take_over(&home.layout, &id("killed")).unwrap(), Takeover::Running));
    claim.remove_runtime().unwrap();
    claim.remove_runtime().unwrap();
    claim.remove().unwrap();
    assert!(matches!(Claim::take_over(&home.layout, &id("killed")).unwrap(), Takeover::Gone));
    assert_eq!(home.statuses(), [("alive".into(), Status::Running)]);
    let left = |dir: &Path| names(dir).into_iter().filter(|name| !name.starts_with(".lock")).collect::<Vec<_>>();
    assert_eq!(left(&home.layout.state), ["alive"]);
    assert_eq!(names(alive.runtime().unwrap().path().parent().unwrap()), ["alive"]);
}

#[test]
#[ignore = "run by a_killed_holder_is_a_crash_and_a_living_one_is_not_touched"]
#[expect(clippy::print_stdout, reason = "tells the parent")]
fn child_claims() {
    let memory = PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let claim = Claim::new(&layout(&place(), &memory), "killed", None).unwrap();
    claim.runtime().unwrap().write_new("key.pem", b"key", 0o600).unwrap();
    println!("claimed");
    loop {
        std::thread::park();
    }
}

// covers: K08
#[test]
fn of_two_removals_one_does_it_and_neither_fails() {
    let home = Home::new();
    for _ in 0..20 {
        drop(home.claim("web"));
        let removed: usize = std::thread::scope(|scope| {
            let removals: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| match Claim::take_over(&home.layout, &id("web")).unwrap() {
                        Takeover::Dead(claim) => claim.remove().map(|()| 1).unwrap(),
                        Takeover::Running | Takeover::Gone => 0,
                    })
                })
                .collect();
            removals.into_iter().map(|removal| removal.join().unwrap()).sum()
        });
        assert_eq!((removed, home.statuses()), (1, vec![]));
    }
}

#[test]
fn a_reader_is_never_taken_for_a_holder() {
    let home = Home::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        home.statuses();
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            drop(home.claim("web"));
            let Takeover::Dead(claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!("a reader held the lock") };
            claim.remove().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_runtime_directory_of_another_environment_is_found_by_its_record() {
    let (home, elsewhere) = (Home::new(), memory());
    drop(Claim::new(&layout(home.disk.path(), elsewhere.path()), "web", None).unwrap());
    let there = layout(home.disk.path(), elsewhere.path()).open_runtime().unwrap();
    assert_eq!(names(there.path()), ["web"]);
    let Takeover::Dead(claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!() };
    claim.remove().unwrap();
    assert_eq!(names(there.path()), Vec::<String>::new());
}
