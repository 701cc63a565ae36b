//! Workspaces on their way back: what an agent changed is applied to the tree that it came from.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use bottle::files::Dir;
use bottle::workspace::{Choices, apply, copied, copy, overlay};
use rustix::fs::CWD;

use crate::support::{mode, names};
use crate::workspace::{PLAIN, Place, chmod, paths, show, tick};

#[test]
fn the_operators_own_work_on_the_source_is_no_change_of_the_agent() {
    let place = Place::new(&["source", "copy"]);
    place.write("source", &[("mine", "x"), ("mine-gone", "x"), ("theirs", "x"), ("both", "x")]);
    let since = tick();
    copy(&place.dir("source"), &place.dir("copy")).unwrap();
    let completed = tick();
    place.write("source", &[("mine", "newer"), ("mine-new", "x"), ("both", "operator")]);
    fs::remove_file(place.at("source/mine-gone")).unwrap();
    place.write("copy", &[("theirs", "agent"), ("both", "agent")]);
    let changes = copied(&place.dir("source"), &place.dir("copy"), since, completed).unwrap();
    assert_eq!(show(&changes), ["M both", "M theirs"]);
    let applied = apply(&changes, &place.dir("copy"), &place.dir("source"), since, PLAIN).unwrap();
    assert_eq!(
        applied.conflicts.iter().map(|c| format!("{}: {}", c.path.display(), c.why)).collect::<Vec<_>>(),
        ["both: it changed since"]
    );
    assert_eq!((paths(&applied), place.tree("source")["theirs"].as_str()), (vec![], "x 644"), "nothing is made");
    let forced = apply(&changes, &place.dir("copy"), &place.dir("source"), since, Choices { force: true, ..PLAIN }).unwrap();
    assert_eq!(paths(&forced), ["both", "theirs"]);
    assert_eq!(place.tree("source")["both"], "agent 644");
}

#[test]
fn each_conflict_is_named_and_stops_everything() {
    let place = Place::new(&["lower", "upper", "elsewhere"]);
    let before = [
        ("modified", "x"),
        ("deleted", "x"),
        ("vanished", "x"),
        ("dir/a", "x"),
        ("gone/file", "x"),
        ("became-dir", "x"),
        ("linked/sub/x", "x"),
    ];
    place.write("lower", &before);
    place.write(
        "upper",
        &[
            ("fine", "x"),
            ("modified", "agent"),
            ("added", "agent"),
            ("vanished", "agent"),
            ("gone/new", "x"),
            ("became-dir", "agent"),
            ("linked/sub/x", "agent"),
        ],
    );
    place.whiteout("upper/deleted");
    place.whiteout("upper/dir");
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let since = tick();
    // Meanwhile the operator works on.
    place.write("lower", &[("modified", "operator"), ("added", "operator"), ("deleted", "operator"), ("dir/mine", "x")]);
    fs::remove_file(place.at("lower/vanished")).unwrap();
    fs::remove_dir_all(place.at("lower/gone")).unwrap();
    fs::remove_file(place.at("lower/became-dir")).unwrap();
    fs::create_dir(place.at("lower/became-dir")).unwrap();
    fs::rename(place.at("lower/linked/sub"), place.at("elsewhere/sub")).unwrap();
    symlink(place.at("elsewhere/sub"), place.at("lower/linked/sub")).unwrap();
    let tree = place.tree("lower");
    let applied = apply(&changes, &place.dir("upper"), &place.dir("lower"), since, PLAIN).unwrap();
    let conflicts: Vec<_> = applied.conflicts.iter().map(|c| format!("{}: {}", c.path.display(), c.why)).collect();
    let expected = [
        "added: it appeared since",
        "became-dir: it became a directory since",
        "deleted: it changed since",
        "dir: there are files in it that the agent did not delete",
        "gone/new: its directory is gone, or something else by now",
        "linked/sub/x: its directory is gone, or something else by now",
        "modified: it changed since",
        "vanished: it was removed since",
    ];
    assert_eq!(conflicts, expected);
    assert_eq!((paths(&applied), place.tree("lower")), (vec![], tree.clone()));
    // Force overwrites files; it never deletes strangers, and never follows a link.
    let forced = apply(&changes, &place.dir("upper"), &place.dir("lower"), since, Choices { force: true, git: true }).unwrap();
    assert_eq!(forced.conflicts.len(), 4, "{forced:?}");
    assert_eq!(place.tree("lower"), tree);
    assert_eq!(fs::read(place.at("elsewhere/sub/x")).unwrap(), b"x");
}

// covers: R19 G07
#[test]
fn what_is_dangerous_comes_only_when_asked_for() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[(".git/config", "x"), ("shared", "x"), ("old", "x")]);
    chmod(&place.at("lower/shared"), 0o664);
    place.write(
        "upper",
        &[
            (".git/hooks/pre-commit", "evil"),
            ("sub/.GIT/config", "evil"),
            ("out", "->/etc/passwd"),
            ("up", "->../x"),
            ("in", "->sub/file"),
            ("sub/file", "x"),
            ("suid", "x"),
            ("shared", "y"),
            ("open", "x"),
            ("old", "->/etc/shadow"),
        ],
    );
    for (path, mode) in [("suid", 0o6777), ("shared", 0o666), ("open", 0o666), ("sub", 0o3777)] {
        chmod(&place.at("upper").join(path), mode);
    }
    let since = tick();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let applied = apply(&changes, &place.dir("upper"), &place.dir("lower"), since, PLAIN).unwrap();
    assert_eq!(paths(&applied), ["in", "open", "shared", "sub", "sub/file", "suid"]);
    let left_out: Vec<_> = applied.left_out.iter().map(|s| s.path.to_str().unwrap()).collect();
    assert_eq!(left_out, [".git/hooks", ".git/hooks/pre-commit", "old", "out", "sub/.GIT", "sub/.GIT/config", "up"]);
    let modes = ["suid", "shared", "open", "sub"].map(|path| mode(&place.at("lower").join(path)));
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["755", "664", "644", "755"]);
    assert_eq!(place.tree("lower")["old"], "x 644");
    let all = apply(&changes, &place.dir("upper"), &place.dir("lower"), u64::MAX, Choices { force: true, git: true }).unwrap();
    assert_eq!(paths(&all), left_out);
    assert_eq!(place.tree("lower")["old"], "->/etc/shadow");
}

// covers: R19
#[test]
fn an_apply_never_leaves_the_tree_while_somebody_swaps_its_directories() {
    let place = Place::new(&["lower", "upper", "victim"]);
    place.write("lower", &[("d/sub/x", "x")]);
    place.write("upper", &[("d/sub/new", "evil"), ("d/sub/x", "evil")]);
    symlink(place.at("victim"), place.at("lower/evil")).unwrap();
    fs::write(place.at("victim/x"), "precious").unwrap();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (sub, evil) = (place.at("lower/d/sub"), place.at("lower/evil"));
                let _ = rustix::fs::renameat_with(CWD, sub, CWD, evil, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..500 {
            let _ = apply(&changes, &place.dir("upper"), &place.dir("lower"), u64::MAX, Choices { force: true, git: true });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((names(&place.at("victim")), fs::read_to_string(place.at("victim/x")).unwrap()), (vec!["x".into()], "precious".into()));
    assert!(names(&place.at("lower")).iter().all(|name| !name.starts_with(".bottle")));
}

// covers: F10
#[test]
fn an_apply_that_does_not_fit_changes_nothing() {
    let place = Place::new(&["lower", "upper"]);
    let output = crate::support::on_small_tmpfs("workspace::apply::child_does_not_fit", "size=256k", &place.at("lower"));
    assert!(output.status.success(), "{}", crate::support::said(&output));
}

#[test]
#[ignore = "run by an_apply_that_does_not_fit_changes_nothing"]
fn child_does_not_fit() {
    let lower = crate::support::place();
    let upper = lower.with_file_name("upper");
    fs::write(lower.join("a"), "old").unwrap();
    fs::write(upper.join("a"), "new").unwrap();
    fs::write(upper.join("b"), vec![b'x'; 1 << 20]).unwrap();
    let (lower, upper) = (Dir::open(&lower).unwrap(), Dir::open(&upper).unwrap());
    let changes = overlay(&lower, &upper).unwrap();
    let error = apply(&changes, &upper, &lower, u64::MAX, PLAIN).unwrap_err();
    assert!(error.what.contains("no space"), "{error}");
    assert_eq!((names(lower.path()), fs::read(lower.path().join("a")).unwrap()), (vec!["a".to_owned()], b"old".to_vec()));
}
