//! The operator's own rules, on what is pushed.

use std::fs;

use crate::support::*;

/// A value that no built-in rule knows.
const BADGE: &str = "acme-badge-0042";

fn world(rules: &'static str) -> World {
    World::with(WorldOptions { rules: vec![rules], ..WorldOptions::default() })
}

fn push(world: &World, name: &str, make: impl FnOnce(&Tree)) -> Pushed {
    let tree = world.clone_named(name);
    make(&tree);
    tree.commit("work");
    tree.push(&[&format!("HEAD:refs/heads/agent/{name}")])
}

// covers: A40
#[test]
fn a_value_that_only_the_operators_rules_know_is_not_pushed() {
    let rules = "[[rules]]\nid = 'acme-badge'\nregex = 'acme-badge-[0-9]{4}'\nkeywords = ['acme-badge']\n";
    let world = world(rules);
    push(&world, "file", |tree| tree.write("a.txt", format!("one\n{BADGE}\n"))).is_refused_for("acme-badge", "a.txt:2");
    push(&world, "name", |tree| tree.write(BADGE, "nothing")).is_refused_for("acme-badge", "a file's name");
    let tree = world.clone_named("message");
    tree.commit(&format!("for {BADGE}"));
    tree.push(&["HEAD:refs/heads/agent/message"]).is_refused_for("acme-badge", "the commit's message");
    push(&world, "builtin", |tree| tree.write("b.txt", secret())).is_refused_for("github-pat", "b.txt:1");
    push(&world, "clean", |tree| tree.write("a.txt", "acme-badge-none")).is_taken();
    world.has_not_leaked(BADGE);
    let without = World::new();
    push(&without, "file", |tree| tree.write("a.txt", format!("one\n{BADGE}\n"))).is_taken();
}

/// Rules that name paths: one with an expression, one without.
const BY_PATH: &str = "[[rules]]\nid = 'deploy-number'\nregex = '[0-9]{6}'\npath = '^deploy/.*'\n\
                       [[rules]]\nid = 'key-file'\npath = '\\.key$'\n";

// covers: A41
#[test]
fn a_rule_for_a_path_holds_at_every_path_of_a_file() {
    let world = world(BY_PATH);
    push(&world, "elsewhere", |tree| tree.write("src/a.txt", "number 123456\n")).is_taken();
    push(&world, "there", |tree| tree.write("deploy/a.txt", "\n\nnumber 123457\n")).is_refused_for("deploy-number", "deploy/a.txt:3");
    push(&world, "both", |tree| {
        tree.write("src/a.txt", "number 123458\n");
        tree.write("deploy/a.txt", "number 123458\n");
    })
    .is_refused_for("deploy-number", "deploy/a.txt:1");
    // One directory object, which the first commit has at another path.
    push(&world, "moved", |tree| {
        tree.write("src/sub/a.txt", "number 123459\n");
        tree.commit("first");
        fs::create_dir(tree.path.join("deploy")).unwrap();
        fs::rename(tree.path.join("src/sub"), tree.path.join("deploy/sub")).unwrap();
    })
    .is_refused_for("deploy-number", "deploy/sub/a.txt:1");
    // The older version of a large file is sent as a delta on the newer one.
    let lines: Vec<String> = (0..4000u64).map(|n| format!("{:05}", n * 7919 % 99991)).collect();
    push(&world, "delta", |tree| {
        tree.write("deploy/large.txt", format!("{}\nnumber 765432\n", lines.join("\n")));
        tree.commit("first");
        tree.write("deploy/large.txt", format!("{}\n{}", lines.join("\n"), "and more\n".repeat(20)));
    })
    .is_refused_for("deploy-number", "deploy/large.txt:4001");
    push(&world, "name", |tree| tree.write("tls/server.key", "anything")).is_refused_for("key-file", "tls/server.key:1");
    push(&world, "names", |tree| tree.write("tls/server.keys", "anything")).is_taken();
}

const EXCUSED: &str = "[[rules]]\nid = 'acme-badge'\nregex = 'acme-badge-[0-9]{4}'\n\
                       [[rules.allowlists]]\npaths = ['^testdata/']\n";

// covers: A42
#[test]
fn an_exception_for_a_path_excuses_a_file_that_is_nowhere_else() {
    let world = world(EXCUSED);
    push(&world, "excused", |tree| tree.write("testdata/a.txt", BADGE)).is_taken();
    push(&world, "elsewhere", |tree| tree.write("src/a.txt", format!("{BADGE} "))).is_refused_for("acme-badge", "src/a.txt:1");
    push(&world, "both", |tree| {
        tree.write("testdata/b.txt", format!("{BADGE}  "));
        tree.write("src/b.txt", format!("{BADGE}  "));
    })
    .is_refused_for("acme-badge", "src/b.txt:1");
    // What another rule finds in the same file is not excused.
    push(&world, "other", |tree| tree.write("testdata/c.txt", format!("{BADGE}\n{}\n", secret())))
        .is_refused_for("github-pat", "testdata/c.txt:2");
    // Many excused files do not hide one that is not.
    push(&world, "many", |tree| {
        (0..40).for_each(|n| tree.write(&format!("testdata/{n}.txt"), format!("{n} {BADGE}")));
        tree.write("z.txt", format!("{BADGE}   "));
    })
    .is_refused_for("acme-badge", "z.txt:1");
}
