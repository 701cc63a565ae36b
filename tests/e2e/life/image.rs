//! Images that bottle wrote, as the root of an agent.

use std::fs;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{User, program};

const HEAD: &str = "version: 1\ntitle: Tools\narchitectures: [amd64, arm64]\nuser: 1000\n";

/// Writes the recipe `tools`, of a directory with one static program.
fn recipe(bottle: &Bottle, sha256: &str) {
    let directory = bottle.path().join("config/bottle/images/tools");
    fs::create_dir_all(directory.join("root/opt")).unwrap();
    fs::copy(program(), directory.join("root/opt/tool")).unwrap();
    let layers = format!(
        "layers:\n  - directory: {{ path: root, sha256: {sha256} }}\n  - made: {{ texts: {{ etc/motd: hello }}, links: {{ bin/tool: ../opt/tool }} }}\n"
    );
    fs::write(directory.join("image.yaml"), format!("{HEAD}{layers}")).unwrap();
}

#[rstest]
fn an_image_that_bottle_wrote_is_the_root_of_an_agent(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let archive = bottle.path().join("work/tools.tar");
    let bottle = bottle.bottle("boxed", &format!("rootfs: {{ image: {} }}\nworkspace: none", archive.display())).agent(
        "boxed",
        "bottle: boxed\ncommand: [/bin/tool, --version]",
        "",
    );
    recipe(&bottle, &"0".repeat(64));
    let refused = bottle.run(["images", "build", "tools"]);
    let found = refused.stderr.split_once("as a layer it is sha256:").expect(&refused.stderr).1[..64].to_owned();
    recipe(&bottle, &found);
    let export = bottle.run(["images", "export", "tools", "--output", archive.to_str().unwrap()]);
    export.expect(0, "", "");
    let ended = bottle.run(["start", "boxed", "--yes"]);
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "bottle 0.1.0\n"), "{}", ended.stderr);
}
