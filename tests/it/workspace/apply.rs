//! Workspaces on their way back: what an agent changed is applied to the tree that it came from.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use bottle::files::Dir;
use bottle::workspace::{Choices, Resolution, copied, copy, keep_changed, keep_small, overlay, undo};
use rustix::fs::CWD;

use crate::support::{mode, names};
use crate::workspace::{PLAIN, Place, chmod, out, paths, show, take, tick};

fn resolving(resolution: Resolution) -> Choices {
    Choices { resolution, ..PLAIN }
}

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
    let applied = take(&place, &changes, ["copy", "source"], since, &PLAIN);
    assert_eq!(out(&applied), ["both: you changed it, too, and what it was before is not known"]);
    assert_eq!((paths(&applied), place.tree("source")["theirs"].as_str()), (vec!["theirs"], "agent 644"));
    let forced = take(&place, &changes, ["copy", "source"], since, &resolving(Resolution::Theirs));
    assert_eq!(paths(&forced), ["both"]);
    assert_eq!(place.tree("source")["both"], "agent 644");
}

// covers: W07
#[test]
fn each_conflict_stays_out_and_is_named() {
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
    let applied = take(&place, &changes, ["upper", "lower"], since, &PLAIN);
    let expected = [
        "added: you made one, too",
        "became-dir: it became a directory since",
        "deleted: you changed it, and the agent deleted it",
        "dir: there are files in it that stay",
        "gone/new: its directory is gone, or something else by now",
        "linked/sub/x: its directory is gone, or something else by now",
        "modified: you changed it, too, and what it was before is not known",
        "vanished: you removed it",
    ];
    assert_eq!((out(&applied), paths(&applied)), (expected.map(str::to_owned).to_vec(), vec!["dir/a", "fine"]));
    assert_eq!(place.tree("lower")["modified"], "operator 644");
    // The agent's version overwrites files; it never deletes strangers, and never follows a link.
    let forced = take(&place, &changes, ["upper", "lower"], since, &resolving(Resolution::Theirs));
    assert_eq!(out(&forced).len(), 4, "{forced:?}");
    assert_eq!(fs::read(place.at("elsewhere/sub/x")).unwrap(), b"x");
    let ours = take(&place, &changes, ["upper", "lower"], since, &resolving(Resolution::Ours));
    assert_eq!((paths(&ours), ours.ours.len()), (vec![], 0), "{ours:?}");
}

// covers: W06 W07 V42
#[test]
fn lines_of_both_are_merged_and_a_touched_file_is_no_conflict() {
    let place = Place::new(&["lower", "upper", "base"]);
    let lines = |first: &str, last: &str| format!("{first}\ntwo\nthree\nfour\n{last}\n");
    let old = lines("one", "five");
    place.write("lower", &[("both", &old), ("same-line", &old), ("touched", "x"), ("plain", "x")]);
    keep_small(&place.dir("lower"), &place.dir("base")).unwrap();
    let since = tick();
    place.write("upper", &[("both", &lines("one", "FIVE")), ("same-line", &lines("agent", "five")), ("touched", "y"), ("plain", "y")]);
    place.write("lower", &[("both", &lines("ONE", "five")), ("same-line", &lines("mine", "five")), ("touched", "x")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let dry = take(&place, &changes, ["upper", "lower"], since, &Choices { dry_run: true, ..PLAIN });
    assert_eq!(fs::read_to_string(place.at("lower/plain")).unwrap(), "x");
    let applied = take(&place, &changes, ["upper", "lower"], since, &PLAIN);
    assert_eq!(applied, dry, "a dry run says what an apply does");
    assert_eq!(out(&applied), ["same-line: you changed the same lines"]);
    assert_eq!((paths(&applied), applied.merged.len()), (vec!["plain", "touched"], 1));
    assert_eq!(fs::read_to_string(place.at("lower/both")).unwrap(), lines("ONE", "FIVE"));
    let only = Choices { paths: vec!["both".into()], ..resolving(Resolution::Markers) };
    assert!(take(&place, &changes, ["upper", "lower"], since, &only).is_whole());
    let marked = take(&place, &changes, ["upper", "lower"], since, &resolving(Resolution::Markers));
    assert!(!marked.is_whole());
    let text = fs::read_to_string(place.at("lower/same-line")).unwrap();
    assert_eq!(text, lines("<<<<<<< yours\nmine\n=======\nagent\n>>>>>>> the agent's", "five"));
}

// covers: W07
#[test]
fn what_was_applied_comes_back_unless_the_operator_went_on() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a", "old a"), ("b", "old b"), ("gone/deep/file", "x"), ("kind", "file"), ("link", "->a")]);
    chmod(&place.at("lower/a"), 0o640);
    let before = place.tree("lower");
    place.write("upper", &[("a", "new"), ("b", "new"), ("new/dir/file", "x"), ("kind", "->b"), ("link", "->b")]);
    place.whiteout("upper/gone");
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let applied = take(&place, &changes, ["upper", "lower"], tick(), &PLAIN);
    assert_eq!(out(&applied), Vec::<String>::new());
    fs::write(place.at("lower/b"), "mine").unwrap();
    fs::write(place.at("lower/new/dir/mine"), "x").unwrap();
    let undone = undo(&place.dir("bottle"), &place.dir("lower")).unwrap();
    let left: Vec<_> = undone.out.iter().map(|skipped| format!("{}: {}", skipped.path.display(), skipped.why)).collect();
    let expected = ["new/dir: there are files in it that stay", "new: there are files in it that stay", "b: you changed it since"];
    let mut sorted = left.clone();
    sorted.sort();
    let mut wanted = expected.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(sorted, wanted);
    let mut after = place.tree("lower");
    ["new", "new/dir", "new/dir/mine"].iter().for_each(|path| drop(after.remove(*path)));
    assert_eq!(after.insert("b".into(), before["b"].clone()).as_deref(), Some("mine 644"));
    assert_eq!(after, before);
    assert_eq!(undo(&place.dir("bottle"), &place.dir("lower")).unwrap_err().what, "there is nothing to undo");
}

// covers: I24
#[test]
fn owners_and_hard_links_are_kept() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a", "old"), ("dir/x", "x")]);
    fs::hard_link(place.at("lower/a"), place.at("lower/b")).unwrap();
    let owner = if rustix::process::geteuid().is_root() { 12_345 } else { rustix::process::geteuid().as_raw() };
    for path in ["a", "dir"] {
        let _ = std::os::unix::fs::chown(place.at("lower").join(path), Some(owner), None);
    }
    place.write("upper", &[("a", "new"), ("dir/new", "x")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    assert!(take(&place, &changes, ["upper", "lower"], tick(), &PLAIN).is_whole());
    assert_eq!(fs::read_to_string(place.at("lower/b")).unwrap(), "new");
    let of = |path: &str| fs::metadata(place.at("lower").join(path)).unwrap();
    assert_eq!((of("a").ino(), of("a").uid(), of("dir/new").uid()), (of("b").ino(), owner, owner));
    undo(&place.dir("bottle"), &place.dir("lower")).unwrap();
    assert_eq!((fs::read_to_string(place.at("lower/b")).unwrap(), of("a").nlink()), ("old".to_owned(), 2));
}

// covers: I11
#[test]
fn holes_stay_holes_and_what_does_not_fit_stays_out_alone() {
    let place = Place::new(&["lower", "upper"]);
    place.write("upper", &[("plain", "x")]);
    let file = fs::File::create(place.at("upper/sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 40) - 3).unwrap();
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    // Its digest reads every byte of it: this is about space, so a smaller one is taken there.
    file.set_len(1 << 28).unwrap();
    let applied = take(&place, &changes, ["upper", "lower"], tick(), &PLAIN);
    assert!(applied.is_whole(), "{applied:?}");
    let meta = fs::metadata(place.at("lower/sparse")).unwrap();
    assert!(meta.len() == 1 << 28 && meta.blocks() < 1024, "{} blocks", meta.blocks());
}

// covers: I02
#[test]
fn a_directory_that_would_be_a_repository_stays_out() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("half/objects/x", "x"), ("half/refs/x", "x")]);
    let bare = "[core]\n\tfsmonitor = touch /tmp/owned\n";
    place.write(
        "upper",
        &[
            ("assets/HEAD", "ref: refs/heads/main"),
            ("assets/config", bare),
            ("assets/objects", "/"),
            ("assets/refs", "/"),
            ("half/head", "ref: refs/heads/main"),
            ("half/config", bare),
            ("linked/HEAD", "x"),
            ("linked/commondir", "../x"),
            (".hg/hgrc", "x"),
            ("docs/config", "plain"),
            ("docs/refs/a", "plain"),
        ],
    );
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let applied = take(&place, &changes, ["upper", "lower"], tick(), &PLAIN);
    assert_eq!(paths(&applied), ["docs", "docs/config", "docs/refs", "docs/refs/a"]);
    for root in ["assets", "half", "linked"] {
        let why = format!("`{root}` would be a git repository, in which git may run what its configuration names");
        let tail = if root == "half" { "/config" } else { "/HEAD" };
        assert!(out(&applied).contains(&format!("{root}{tail}: {why}")), "{:?}", out(&applied));
    }
}

// covers: I10
#[test]
fn a_file_that_came_by_the_rename_of_its_directory_is_not_overwritten() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("lib/x", "old"), ("other/x", "precious")]);
    let since = tick();
    place.write("upper", &[("lib/x", "agent")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    fs::rename(place.at("lower/lib"), place.at("lower/away")).unwrap();
    fs::rename(place.at("lower/other"), place.at("lower/lib")).unwrap();
    let applied = take(&place, &changes, ["upper", "lower"], since, &PLAIN);
    assert_eq!((paths(&applied), place.tree("lower")["lib/x"].as_str()), (vec![], "precious 644"));
}

// covers: I10
#[test]
fn an_editor_that_saves_while_an_apply_runs_loses_nothing() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &(0..200).map(|_| ("x", "x")).collect::<Vec<_>>());
    (0..200).for_each(|n| place.write("lower", &[(&format!("f{n}"), "old")]));
    (0..200).for_each(|n| place.write("upper", &[(&format!("f{n}"), "agent")]));
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    let since = tick();
    let stop = AtomicBool::new(false);
    let saved = std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let mut saved = Vec::new();
            for n in (0..200).rev() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let path = place.at("lower").join(format!("f{n}"));
                fs::write(place.at("lower/.swap"), format!("mine {n}")).unwrap();
                fs::rename(place.at("lower/.swap"), path).unwrap();
                saved.push(n);
            }
            saved
        });
        let applied = take(&place, &changes, ["upper", "lower"], since, &PLAIN);
        stop.store(true, Ordering::Relaxed);
        (applied, editor.join().unwrap())
    });
    let (applied, saved) = saved;
    for n in saved {
        let text = fs::read_to_string(place.at("lower").join(format!("f{n}"))).unwrap();
        assert!(text == format!("mine {n}") || applied.done.iter().any(|path| path.to_str() == Some(&format!("f{n}"))), "f{n} is {text}");
        assert!(text == format!("mine {n}"), "the editor's f{n} was overwritten by {text}");
    }
}

// covers: I17
#[test]
fn what_a_killed_apply_left_is_removed_by_the_next() {
    let place = Place::new(&["lower", "upper"]);
    place.write("lower", &[("a", "old")]);
    place.write("lower", &[(".bottle-apply-0123456789abcdef/0", "half")]);
    place.write("upper", &[("a", "new")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    assert!(take(&place, &changes, ["upper", "lower"], tick(), &PLAIN).is_whole());
    assert_eq!(names(&place.at("lower")), ["a"]);
}

#[test]
fn the_base_of_a_large_tree_is_what_the_agent_changed() {
    let place = Place::new(&["lower", "upper", "base"]);
    (0..1001).for_each(|n| place.write("lower", &[(&format!("f{n}"), "x")]));
    keep_small(&place.dir("lower"), &place.dir("base")).unwrap();
    assert_eq!(names(&place.at("base")), Vec::<String>::new());
    let since = tick();
    place.write("lower", &[("f2", "mine")]);
    place.write("upper", &[("f1", "agent"), ("f2", "agent"), ("new", "x")]);
    let changes = overlay(&place.dir("lower"), &place.dir("upper")).unwrap();
    keep_changed(&changes, &place.dir("lower"), &place.dir("base"), since).unwrap();
    assert_eq!(names(&place.at("base")), ["f1"]);
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
    let applied = take(&place, &changes, ["upper", "lower"], since, &PLAIN);
    assert_eq!(paths(&applied), ["in", "open", "shared", "sub", "sub/file", "suid"]);
    let left_out: Vec<_> = applied.out.iter().map(|s| s.path.to_str().unwrap()).collect();
    assert_eq!(left_out, [".git/hooks", ".git/hooks/pre-commit", "old", "out", "sub/.GIT", "sub/.GIT/config", "up"]);
    let modes = ["suid", "shared", "open", "sub"].map(|path| mode(&place.at("lower").join(path)));
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["755", "664", "644", "755"]);
    assert_eq!(place.tree("lower")["old"], "x 644");
    let all = take(&place, &changes, ["upper", "lower"], u64::MAX, &Choices { links: true, ..PLAIN });
    assert_eq!(paths(&all), ["old", "out", "up"]);
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
        for _ in 0..200 {
            let _ = take(&place, &changes, ["upper", "lower"], u64::MAX, &resolving(Resolution::Theirs));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((names(&place.at("victim")), fs::read_to_string(place.at("victim/x")).unwrap()), (vec!["x".into()], "precious".into()));
    assert!(names(&place.at("lower")).iter().all(|name| !name.starts_with(".bottle")));
}

// covers: F10 I11
#[test]
fn what_does_not_fit_stays_out_and_the_rest_is_applied() {
    let place = Place::new(&["lower", "upper", "bottle"]);
    let output = crate::support::on_small_tmpfs("workspace::apply::child_does_not_fit", "size=256k", &place.at("lower"));
    assert!(output.status.success(), "{}", crate::support::said(&output));
}

#[test]
#[ignore = "run by what_does_not_fit_stays_out_and_the_rest_is_applied"]
fn child_does_not_fit() {
    let lower = crate::support::place();
    let (upper, bottle) = (lower.with_file_name("upper"), lower.with_file_name("bottle"));
    fs::write(lower.join("a"), "old").unwrap();
    fs::write(upper.join("a"), "new").unwrap();
    fs::write(upper.join("b"), vec![b'x'; 1 << 20]).unwrap();
    let (lower, upper, bottle) = (Dir::open(&lower).unwrap(), Dir::open(&upper).unwrap(), Dir::open(&bottle).unwrap());
    let changes = overlay(&lower, &upper).unwrap();
    let at = bottle::workspace::Place { new: &upper, target: &lower, base: None, bottle: &bottle, since: u64::MAX };
    let applied = bottle::workspace::apply(&changes, &at, &PLAIN).unwrap();
    assert_eq!((paths(&applied), out(&applied)), (vec!["a"], vec!["b: there is no space for it".to_owned()]));
    assert_eq!((names(lower.path()), fs::read(lower.path().join("a")).unwrap()), (vec!["a".to_owned()], b"new".to_vec()));
}
