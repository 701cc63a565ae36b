//! The store of images: built once, by one, and never half.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use bottle_builder::Epoch;

use crate::lab::{Lab, Tool, elf};
use bottle_test_support::child::{PLACE, arguments, child, place, said};
use bottle_test_support::tools::names;

const TOOL: &str = "  - made:\n      directories: [etc]\n      programs: { bin/tool: tool }\n";

/// The archives, without lock and records.
fn archives(lab: &Lab) -> Vec<String> {
    names(&lab.images().join("archives")).into_iter().filter(|name| name.ends_with(".tar") || name.starts_with(".unfinished-")).collect()
}

#[test]
fn nothing_changed_means_nothing_rebuilt_and_a_change_means_another_image() {
    let mut lab = Lab::new();
    lab.program = elf(&"x".repeat(20 << 20));
    let recipe = lab.recipe(TOOL);
    let first = lab.build(&recipe).unwrap();
    let inode = |archive: &bottle_builder::Archive| std::os::unix::fs::MetadataExt::ino(&fs::metadata(&archive.path).unwrap());
    let before = inode(&first);
    let started = Instant::now();
    let again = lab.build(&recipe).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!((inode(&again), &again), (before, &first));
    lab.program.push(b'y');
    let other = lab.build(&recipe).unwrap();
    let later = lab.build_at(&recipe, Epoch::parse(Some("1".as_ref())).unwrap()).unwrap();
    let retitled = lab.try_recipe(&format!("{}layers:\n{TOOL}", crate::lab::HEAD.replace("A test", "Another"))).unwrap();
    let retitled = lab.build(&retitled).unwrap();
    let digests: std::collections::BTreeSet<_> = [&first, &other, &later, &retitled].map(|archive| &archive.digest).into();
    assert_eq!((digests.len(), archives(&lab).len()), (4, 4));
}

#[test]
fn images_that_came_with_the_programs_are_used_and_nothing_is_written_there() {
    let lab = Lab::new();
    let recipe = lab.recipe(TOOL);
    let built = lab.build(&recipe).unwrap();
    let shipped = lab.directory.path().join("program.images");
    fs::rename(lab.images(), &shipped).unwrap();
    let before = names(&shipped.join("archives"));
    let found = lab.build(&recipe).unwrap();
    assert_eq!((found.digest, found.path.starts_with(&shipped)), (built.digest, true));
    assert!(!lab.images().exists());
    assert_eq!(lab.verify(&recipe, None).unwrap().differences, Vec::<String>::new());
    assert_eq!(names(&shipped.join("archives")), before);
    // For other programs they do not count.
    let other = Lab { program: elf("another"), ..lab };
    assert!(other.build(&recipe).unwrap().path.starts_with(other.images()));
}

#[test]
fn an_archive_that_was_removed_or_cut_is_built_again() {
    let lab = Lab::new();
    let recipe = lab.recipe(TOOL);
    let first = lab.build(&recipe).unwrap();
    let whole = fs::read(&first.path).unwrap();
    fs::remove_file(&first.path).unwrap();
    assert_eq!(lab.build(&recipe).unwrap(), first);
    fs::write(&first.path, &whole[..100]).unwrap();
    assert_eq!(lab.build(&recipe).unwrap(), first);
    assert_eq!(fs::read(&first.path).unwrap(), whole);
    let record = names(&lab.images().join("archives")).into_iter().find(|name| name.starts_with("test-")).unwrap();
    fs::write(lab.images().join("archives").join(record), "{").unwrap();
    assert_eq!(lab.build(&recipe).unwrap(), first);
}

/// Builds the recipe of the place that its parent prepared.
#[test]
#[ignore = "run by other tests"]
fn build_in_a_process_of_its_own() {
    let place = place();
    let recipe = bottle_builder::find("test", &place.join("config")).unwrap();
    let at = |name: &str| place.join(name);
    let built = bottle_builder::build(&recipe, &Tool(place.join("program")), Epoch::default(), &at("images")).unwrap();
    fs::write(place.join(format!("built-{}", std::process::id())), built.digest).unwrap();
}

/// The name of the test above.
const BUILD: &str = "store::build_in_a_process_of_its_own";

fn builder(lab: &Lab) -> Command {
    let mut command = child(BUILD);
    command.env(PLACE, lab.directory.path()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

#[test]
fn builds_at_once_do_not_disturb_each_other() {
    let mut lab = Lab::new();
    lab.program = elf(&"x".repeat(8 << 20));
    drop(lab.recipe(TOOL));
    fs::write(lab.directory.path().join("program"), &lab.program).unwrap();
    let children: Vec<_> = (0..6).map(|_| builder(&lab).spawn().unwrap()).collect();
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    let digests: Vec<String> = names(lab.directory.path())
        .iter()
        .filter(|name| name.starts_with("built-"))
        .map(|name| fs::read_to_string(lab.directory.path().join(name)).unwrap())
        .collect();
    assert_eq!(digests.len(), 6);
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(archives(&lab), [format!("{}.tar", digests[0].replace(':', "-"))]);
}

#[test]
fn an_interrupted_build_leaves_no_half_archive() {
    let mut lab = Lab::new();
    lab.program = elf(&"x".repeat(64 << 20));
    let recipe = lab.recipe(TOOL);
    fs::write(lab.directory.path().join("program"), &lab.program).unwrap();
    let store = lab.images().join("archives");
    let mut interrupted = 0;
    for _ in 0..20 {
        let mut child = builder(&lab).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        // The event: the build has begun to write.
        loop {
            let writing = fs::read_dir(&store).is_ok_and(|mut entries| {
                entries.any(|e| e.is_ok_and(|e| e.file_name().to_str().is_some_and(|name| name.starts_with(".unfinished-"))))
            });
            if writing || child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for name in archives(&lab).iter().filter(|name| !name.starts_with('.')) {
            // Whatever has a name is whole.
            assert_eq!(fs::metadata(store.join(name)).unwrap().len(), lab.build(&recipe).unwrap().size);
        }
        if archives(&lab).iter().any(|name| name.starts_with(".unfinished-")) {
            interrupted += 1;
            break;
        }
        let _ = fs::remove_dir_all(&store);
    }
    assert_eq!(interrupted, 1);
    let built = lab.build(&recipe).unwrap();
    assert_eq!(archives(&lab), [built.path.file_name().unwrap().to_str().unwrap()]);
}

/// Who builds, where, and in which mood of the environment.
struct Elsewhere {
    base: &'static str,
    umask: &'static str,
    vars: [(&'static str, &'static str); 4],
    uid: Option<u32>,
}

#[test]
fn the_same_inputs_give_the_same_bytes_everywhere() {
    let build = |elsewhere: &Elsewhere, reversed: bool| {
        let lab = Lab::at(std::path::Path::new(elsewhere.base));
        let root = lab.files().join("root");
        let mut names = ["a/tool", "b", "m/n/o", "z"];
        if reversed {
            names.reverse();
        }
        for name in names {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
            let mode = if name == "a/tool" { 0o755 } else { 0o644 };
            fs::set_permissions(root.join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::write(lab.directory.path().join("program"), &lab.program).unwrap();
        // What the directory is as a layer, worked out here once.
        let error = lab.build(&lab.recipe(&format!("  - directory: {{ path: root, sha256: {} }}\n", "0".repeat(64)))).unwrap_err();
        let sha256 = error.cause.split_once("as a layer it is sha256:").unwrap().1[..64].to_owned();
        drop(lab.recipe(&format!("{TOOL}  - directory: {{ path: root, sha256: {sha256} }}\n")));
        let _ = fs::remove_dir_all(lab.images());
        let mut command = match elsewhere.uid {
            None => Command::new("sh"),
            Some(uid) => {
                let output = Command::new("chown").args(["-R", &uid.to_string()]).arg(lab.directory.path()).output().unwrap();
                assert!(output.status.success());
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &uid.to_string(), "--regid", "4711", "--clear-groups", "sh"]);
                command
            }
        };
        let child = std::env::current_exe().unwrap();
        // Another user cannot reach the directory of the build.
        let copy = lab.directory.path().join("it");
        fs::copy(&child, &copy).unwrap();
        let output = command
            .args(["-c", &format!("umask {}; exec \"$0\" \"$@\"", elsewhere.umask)])
            .arg(&copy)
            .args(arguments(BUILD))
            .env_clear()
            .env(PLACE, lab.directory.path())
            .env("PATH", "/usr/bin:/bin")
            .envs(elsewhere.vars)
            .current_dir(lab.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let archive = archives(&lab);
        assert_eq!(archive.len(), 1);
        fs::read(lab.images().join("archives").join(&archive[0])).unwrap()
    };
    let vars = |tz, lang, home, user| [("TZ", tz), ("LC_ALL", lang), ("HOME", home), ("USER", user)];
    let here = Elsewhere { base: "/var/tmp", umask: "022", vars: vars("UTC", "C", "/root", "root"), uid: None };
    let there = Elsewhere {
        base: "/dev/shm",
        umask: "077",
        vars: vars("Pacific/Kiritimati", "tr_TR.UTF-8", "/nonexistent", "somebody"),
        uid: rustix::process::geteuid().is_root().then_some(4711),
    };
    assert!(build(&here, false) == build(&there, true));
}
