//! Recipes: what they may say, and what a hostile one cannot.

use std::fs;

use bottle_contract::names as contract;

use crate::lab::{HEAD, Lab, layers};

/// The problem with a recipe, without its place on disk.
fn problem(text: &str) -> String {
    let error = Lab::new().try_recipe(text).unwrap_err();
    assert_eq!((error.code, error.what.as_str()), (2, "recipe `test` cannot be used"));
    error.cause.split_once("image.yaml:").unwrap().1.to_owned()
}

fn made(what: &str) -> String {
    problem(&format!("{HEAD}layers:\n  - made:\n      {what}\n"))
}

#[test]
fn a_path_that_leaves_the_image_is_refused() {
    for (path, why) in [
        ("../x", "`../x` has `..` in it"),
        ("a/../../x", "`a/../../x` has `..` in it"),
        ("a/..", "`a/..` has `..` in it"),
        ("./x", "`./x` has `.` in it"),
        ("/etc", "`/etc` is absolute; a path of an image starts at its root without a slash"),
        ("a//b", "`a//b` has an empty part"),
        ("a/", "`a/` has an empty part"),
        ("a/.wh.b", "`a/.wh.b` would delete a file of another layer"),
    ] {
        for what in [format!("directories: [{path}]"), format!("texts: {{ {path}: x }}"), format!("programs: {{ {path}: tool }}")] {
            let found = made(&what);
            assert!(found.ends_with(&format!(": {why}")), "{what}: {found}");
        }
    }
    assert!(made("directories: [\"a\\0b\"]").ends_with("has a NUL in it"));
}

#[test]
fn what_is_there_twice_is_refused() {
    assert!(made("directories: [a, a]").ends_with(": `a` is there twice"));
    assert!(made("texts: { a: x, a: y }").contains("duplicate key `a`"));
    assert!(made("texts: { a: x }\n      links: { a: b }").ends_with(": `a` is there twice"));
    assert!(made("texts: { a: x }\n      directories: [a]").contains("`a` is there twice, as a directory and as something else"));
    assert!(made("texts: { a: x, a/b: y }").contains("`a/b` lies in `a`, which is not a directory"));
    assert!(made("texts: { A: x }\n      links: { a: b }").contains("are one name where case or normalisation does not count"));
}

#[test]
fn keys_and_values_are_strict() {
    let with = |from: &str, to: &str| problem(&format!("{HEAD}layers:\n  - made:\n      directories: [a]\n").replace(from, to));
    assert!(with("title:", "titel: x\ntitle:").contains("unknown key `titel`"));
    assert!(with("version: 1", "version: 2").contains("a version of recipes that this program does not know"));
    assert!(with("user: 1000", "user: 0").contains("never root"));
    assert!(with("user: 1000", "user: agent").contains("expected"));
    assert!(with("user: 1000", "user: 65534").contains("never root"));
    assert!(with("[amd64]", "[]").contains("`architectures` is empty"));
    assert!(with("[amd64]", "[x86]").contains("unknown value `x86`"));
    assert!(with("title: A test", "title: \"two\\nlines\"").contains("a title is one line of text"));
    for workdir in ["relative", "/proc/self/fd/7", "/a/../b", "//"] {
        assert!(with("user:", &format!("workdir: {workdir}\nuser:")).contains("the working directory must be"), "{workdir}");
    }
    assert!(with("user:", "env: [A=1, A=2]\nuser:").contains("a variable that is there twice"));
    assert!(with("user:", "env: [A]\nuser:").contains("a variable is written `NAME=value`"));
    assert!(with("user:", "labels: { bottle.recipe: x }\nuser:").contains("a label that the image writer itself sets"));
    for key in ["volumes: [/x]", "healthcheck: x", "onbuild: x", "ports: [1]"] {
        assert!(with("user:", &format!("{key}\nuser:")).contains("unknown key"), "{key}");
    }
}

#[test]
fn files_of_a_recipe_lie_beside_it_and_are_what_it_says() {
    for path in ["../x", "/etc", "a/../../x", "."] {
        let text = format!("{HEAD}layers:\n  - directory: {{ path: {path}, sha256: {} }}\n", "0".repeat(64));
        assert!(problem(&text).contains("a path that leaves the recipe's directory"), "{path}");
    }
    assert!(problem(&format!("{HEAD}layers:\n  - archive: {{ path: x, sha256: 00 }}\n")).contains("not a SHA-256"));
    let lab = Lab::new();
    fs::write(lab.files().join("layer.tar"), "no archive").unwrap();
    let found = bottle_base::digest::sha256_hex(b"no archive");
    let layer = |sha256: &str| format!("  - archive: {{ path: layer.tar, sha256: {sha256} }}\n");
    let error = lab.build(&lab.recipe(&layer(&"0".repeat(64)))).unwrap_err();
    assert!(error.cause.ends_with(&format!("it is sha256:{found}, and the recipe says sha256:{}", "0".repeat(64))), "{error}");
    assert!(lab.build(&lab.recipe(&layer(&found))).is_err());
}

#[test]
fn somebody_elses_archive_is_a_layer_as_it_is_and_may_be_compressed() {
    let archive = |name: &str| {
        let mut out = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_mode(0o600);
        header.set_uid(5);
        header.set_cksum();
        out.append(&header, b"x".as_slice()).unwrap();
        out.into_inner().unwrap()
    };
    let lab = Lab::new();
    let plain = archive("etc/shadow");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    for bytes in [plain.clone(), gzip.finish().unwrap()] {
        fs::write(lab.files().join("layer"), &bytes).unwrap();
        let built = lab
            .build(&lab.recipe(&format!("  - archive: {{ path: layer, sha256: {} }}\n", bottle_base::digest::sha256_hex(&bytes))))
            .unwrap();
        let entry = layers(&built)[0][0].clone();
        assert_eq!((entry.name.as_str(), entry.mode.as_str(), entry.uid.as_str()), ("etc/shadow", "0000600", "0000005"));
    }
    for name in ["../x", "/etc/x", "a/../../x"] {
        let bytes = archive(name);
        fs::write(lab.files().join("layer"), &bytes).unwrap();
        let recipe = lab.recipe(&format!("  - archive: {{ path: layer, sha256: {} }}\n", bottle_base::digest::sha256_hex(&bytes)));
        assert!(lab.build(&recipe).unwrap_err().cause.ends_with(&format!("`{name}` leads out of the image")));
    }
}

#[test]
fn a_program_decides_about_the_architecture() {
    let mut lab = Lab::new();
    let text = format!("{HEAD}layers:\n  - made:\n      programs: {{ tool: tool }}\n");
    lab.program[18] = 183;
    let error = lab.build(&lab.try_recipe(&text).unwrap()).unwrap_err();
    assert_eq!(error.cause, "the recipe is not meant for arm64");
    assert!(lab.build(&lab.try_recipe(&text.replace("[amd64]", "[amd64, arm64]")).unwrap()).is_ok());
    lab.program = b"#!/bin/sh\n".to_vec();
    let error = lab.build(&lab.try_recipe(&text).unwrap()).unwrap_err();
    assert_eq!(error.cause, "the program of `tool` is no program for amd64 or arm64");
}

#[test]
fn each_sidecar_has_a_recipe_with_its_mount_points_and_runs_as_nobody_special() {
    let lab = Lab::new();
    for component in [contract::EGRESS.0, contract::PIPELOCK.0] {
        let recipe = bottle_builder::find(component, &lab.config()).unwrap();
        assert_eq!((recipe.user, recipe.workdir.as_str()), (65532, "/"));
        assert_eq!(recipe.entrypoint, [format!("/bottle-{component}")]);
        assert_eq!(recipe.programs().into_iter().collect::<Vec<_>>(), [component]);
        let bottle_builder::recipe::LayerRecipe::Made { tree, owner: 0, .. } = &recipe.layers[0] else { panic!("{recipe:?}") };
        let paths: Vec<String> = tree.entries().map(|(path, _)| format!("/{path}")).collect();
        for place in [contract::CONFIG_DIR, contract::CA_DIR, contract::LINK_DIR] {
            assert!(paths.iter().any(|path| path == place), "{component}: {place}");
        }
    }
    let known = bottle_builder::names(&lab.config()).unwrap();
    let mut written = Vec::new();
    for (below, prefix) in [("..", ""), ("../agents", "agent-")] {
        let below = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
        let names = bottle_test_support::tools::names(&below).into_iter().filter(|name| below.join(name).join("image.yaml").exists());
        written.extend(names.map(|name| format!("{prefix}{name}")));
    }
    assert_eq!(
        known.iter().collect::<std::collections::BTreeSet<_>>(),
        written.iter().collect(),
        "a recipe needs a row in images/builder/src/library.rs"
    );
}

#[test]
fn a_recipe_of_ones_own_cannot_take_the_name_of_a_built_in_one() {
    let lab = Lab::new();
    let own = lab.config().join("images/egress");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("image.yaml"), format!("{HEAD}layers: []\n")).unwrap();
    assert_eq!(bottle_builder::find("egress", &lab.config()).unwrap_err().what, "two recipes are called `egress`");
    for name in ["nothing", "../egress", "", "a/b"] {
        assert!(bottle_builder::find(name, &lab.config()).unwrap_err().what.starts_with("there is no recipe"), "{name}");
    }
}
