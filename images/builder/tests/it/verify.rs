//! `verify`: built once more, compared to the last byte, and told in words.

use std::fs;

use bottle_base::digest::sha256_hex;
use bottle_builder::{Archive, Epoch};

use crate::lab::{HEAD, Lab, elf};
use bottle_test_support::tools::names;

const TOOL: &str = "  - made:\n      directories: [etc]\n      programs: { bin/tool: tool }\n";

/// What differs between the image of `text` and an archive that was built from something else.
fn differences(lab: &Lab, text: &str, against: &Archive) -> Vec<String> {
    let recipe = lab.try_recipe(text).unwrap();
    lab.build(&recipe).unwrap();
    lab.verify(&recipe, Some(&against.path)).unwrap().differences
}

fn text(layers: &str) -> String {
    format!("{HEAD}layers:\n{layers}")
}

#[test]
fn an_image_that_is_built_again_is_the_same_and_nothing_is_left_of_the_second() {
    let lab = Lab::new();
    let recipe = lab.recipe(TOOL);
    let built = lab.build(&recipe).unwrap();
    let before = names(&lab.images().join("archives"));
    let verdict = lab.verify(&recipe, None).unwrap();
    assert_eq!((verdict.digest, verdict.differences, verdict.published), (built.digest, Vec::<String>::new(), None));
    assert_eq!(names(&lab.images().join("archives")), before);
}

#[test]
fn what_differs_is_told_by_entry_and_field() {
    let mut lab = Lab::new();
    let old = lab.build(&lab.recipe(TOOL)).unwrap();
    lab.program = elf("the Program");
    let told = differences(&lab, &text(TOOL), &old);
    let (was, is) = (sha256_hex(&elf("the program")), sha256_hex(&lab.program));
    assert_eq!(
        told[1..],
        [
            format!("layer 1: `bin/tool`: the content is sha256:{was} in the given, sha256:{is} in the rebuilt"),
            "layer 1: `bin/tool`: the first byte that differs is number 24, counted from 0".to_owned(),
        ]
    );
    assert!(told[0].starts_with("configuration: config.Labels.bottle.source is \"sha256:"), "{told:?}");

    lab.program = elf("the program");
    let other = text(TOOL).replace("user: 1000", "user: 2000").replace("[etc]", "[var]").replace("made:\n", "made:\n      owner: 7\n");
    let told = differences(&lab, &other, &old);
    for line in [
        "configuration: config.User is \"1000:1000\" in the given, \"2000:2000\" in the rebuilt",
        "layer 1: `bin/tool`: the user is 0 in the given, 7 in the rebuilt",
        "layer 1: `bin/tool`: the group is 0 in the given, 7 in the rebuilt",
        "layer 1: `etc/` is only in the given",
        "layer 1: `var/` is only in the rebuilt",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }

    let links = |target: &str| text(&format!("  - made:\n      links: {{ l: {target} }}\n"));
    let old = lab.build(&lab.try_recipe(&links("a")).unwrap()).unwrap();
    assert!(differences(&lab, &links("b"), &old).contains(&"layer 1: `l`: the target is a in the given, b in the rebuilt".to_owned()));
    let two = text("  - made: { links: { l: a } }\n  - made: { texts: { t: x } }\n");
    assert!(differences(&lab, &two, &old).contains(&"the image: the number of layers is 1 in the given, 2 in the rebuilt".to_owned()));
    let recipe = lab.try_recipe(&links("a")).unwrap();
    let later = lab.build_at(&recipe, Epoch::parse(Some("60".as_ref())).unwrap()).unwrap();
    let told = lab.verify(&recipe, Some(&later.path)).unwrap().differences;
    for line in [
        "configuration: created is \"1970-01-01T00:01:00Z\" in the given, \"1970-01-01T00:00:00Z\" in the rebuilt",
        "layer 1: `l`: the time is 60 in the given, 0 in the rebuilt",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }
}

// covers: C11
#[test]
fn a_damaged_archive_is_told_and_a_change_around_the_image_too() {
    let lab = Lab::new();
    let recipe = lab.recipe(TOOL);
    let built = lab.build(&recipe).unwrap();
    let whole = fs::read(&built.path).unwrap();
    let at = |needle: &[u8]| whole.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let with = |place: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[place] = byte;
        fs::write(&built.path, bytes).unwrap();
        lab.verify(&recipe, None).unwrap().differences
    };
    let told = with(at(b"the program"), b'T');
    assert!(told[0].starts_with("the stored archive is damaged: a layer is sha256:"), "{told:?}");
    // The last digit of the tag in index.json, which no digest covers.
    let tag = built.reference.rsplit(':').next().unwrap();
    let told = with(at(format!("{tag}\"}}").as_bytes()), b'!');
    assert!(told.iter().any(|line| line.starts_with("the archive: `index.json`: the content is sha256:")), "{told:?}");
    fs::write(&built.path, &whole[..whole.len() - 512]).unwrap();
    // Its size is not the recorded one: it is built again before it is compared.
    assert_eq!(lab.verify(&recipe, None).unwrap().differences, Vec::<String>::new());
    fs::write(lab.directory.path().join("other"), "no archive at all").unwrap();
    let told = lab.verify(&recipe, Some(&lab.directory.path().join("other"))).unwrap().differences;
    assert!(told[0].starts_with("the given archive is damaged: "), "{told:?}");
}

#[test]
fn provenance_and_bill_of_materials_lie_beside_the_archive_and_are_checked() {
    let lab = Lab::new();
    let bill = |program: &[u8]| {
        format!(
            r#"{{"bomFormat":"CycloneDX","metadata":{{"component":{{"hashes":[{{"alg":"SHA-256","content":"{}"}}]}},"properties":[{{"name":"bottle:rustc","value":"rustc 1.95.0"}}]}}}}"#,
            sha256_hex(program)
        )
    };
    let recipe = lab.recipe(TOOL);
    let built = lab.build(&recipe).unwrap();
    let beside = |suffix: &str| built.path.to_str().unwrap().replace(".tar", suffix);
    let provenance = || serde_json::from_slice::<serde_json::Value>(&fs::read(beside(".provenance.json")).unwrap()).unwrap();
    let before = provenance();
    assert_eq!(before["subject"][0]["digest"]["sha256"], built.digest.trim_start_matches("sha256:"));
    let from = |name: &str, provenance: &serde_json::Value| {
        let list = provenance["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap().clone();
        list.iter().find(|entry| entry["name"] == name).map(|entry| entry["digest"]["sha256"].as_str().unwrap().to_owned())
    };
    assert_eq!(from("bottle-tool", &before), Some(sha256_hex(&lab.program)));
    assert_eq!(from("image.yaml", &before), Some(recipe.sha256.clone()));
    assert_eq!(from("bottle-tool.cdx.json", &before), None);

    // The bill of another program is not this one's.
    fs::write(lab.directory.path().join("program.cdx.json"), bill(b"other")).unwrap();
    lab.build(&recipe).unwrap();
    assert_eq!(provenance(), before);
    fs::write(lab.directory.path().join("program.cdx.json"), bill(&lab.program)).unwrap();
    lab.build(&recipe).unwrap();
    assert_eq!(from("bottle-tool.cdx.json", &provenance()), Some(sha256_hex(bill(&lab.program).as_bytes())));
    assert_eq!(provenance()["predicate"]["buildDefinition"]["internalParameters"]["tool:rustc"], "rustc 1.95.0");
    assert_eq!(lab.verify(&recipe, None).unwrap().differences, Vec::<String>::new());

    let text = fs::read_to_string(beside(".provenance.json")).unwrap();
    fs::write(beside(".provenance.json"), text.replace("rustc 1.95.0", "rustc 1.94.0")).unwrap();
    fs::remove_file(beside(".bottle-tool.cdx.json")).unwrap();
    // What lies beside is written anew by `build`, so that `verify` looks before it builds.
    let told = lab.verify(&recipe, None).unwrap().differences;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(".bottle-tool.cdx.json is missing"), "{told:?}");
    assert!(told[1].ends_with(".provenance.json does not say what the image was made from"), "{told:?}");
}
