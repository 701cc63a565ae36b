//! Every file operation that works on the host works inside, in every mode of the working directory: the same program runs in both places, and
//! what it says and leaves is compared.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bottle_test_support::warden::Ending;

use crate::net::world::{World, users};

const OPERATIONS: &str = include_str!("operations.py");

/// What is there before.
fn fill(root: &Path) {
    let files =
        ["tree/deep/f", "tree/deeper/still/f", "lower/file", "lower/other", "plain", "parent/child/f", "links/f", "closed/f", "twice/a"];
    for name in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
    for side in ["left", "right"] {
        fs::create_dir_all(root.join(side)).expect("a directory");
        fs::write(root.join(side).join("name"), side).expect("a file");
    }
    fs::create_dir(root.join("empty")).expect("a directory");
    symlink("../plain", root.join("links/to")).expect("a link");
    fs::hard_link(root.join("twice/a"), root.join("twice/b")).expect("a link");
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o500)).expect("a mode");
    fs::write(root.join("operations.py"), OPERATIONS).expect("the program");
}

// covers: V01 V32 W12
#[test]
fn the_same_operations_have_the_same_results_as_on_the_host() {
    for user in users() {
        let host = World::new(user).ready("provider: shell");
        let work = host.bottle.path().join("work");
        fill(&work);
        // The harness gives the tree to its user.
        host.bottle.run(["list"]);
        let mut command = host.bottle.beside("/usr/bin/python3", ["operations.py"]);
        let expected = command.output().expect("python runs");
        assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stderr));
        let expected = String::from_utf8_lossy(&expected.stdout).into_owned();
        for mode in ["overlay", "copy", "mount"] {
            let world = World::new(user).setting(&format!("workspace: {mode}")).ready("provider: shell");
            fill(&world.bottle.path().join("work"));
            let ended = world.sh("umask 022; exec /usr/bin/python3 operations.py");
            assert_eq!(ended.ending, Ending::Code(0), "{}{}", ended.stdout, ended.stderr);
            let differs = || -> Vec<String> {
                let lines = expected.lines().zip(ended.stdout.lines()).filter(|(host, inside)| host != inside);
                lines.map(|(host, inside)| format!("host: {host}\ninside: {inside}")).collect()
            };
            assert!(ended.stdout == expected, "{mode} as {user:?}\n{}\n{}", differs().join("\n"), ended.stderr);
        }
    }
}
