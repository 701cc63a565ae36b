//! A secret in each place where a push can carry one.

use std::fs;
use std::os::unix::fs::symlink;

use crate::raw::{entry, pack, pushed};
use crate::support::*;

/// Pushes what a closure has made, to a branch of its own, and expects the refusal.
fn refused(world: &World, name: &str, place: &str, make: impl FnOnce(&Tree) -> String) {
    let tree = world.clone_named(name);
    let what = make(&tree);
    let pushed = tree.push(&[&format!("{what}:refs/heads/agent/{name}")]);
    assert!(!pushed.ok, "{name}: {}", pushed.said);
    assert!(pushed.said.contains("(secret_detected: "), "{name}: {}", pushed.said);
    assert!(pushed.said.contains(place), "{name}: not {place}: {}", pushed.said);
    assert!(!pushed.said.contains(&secret()), "{name}: {}", pushed.said);
}

fn head(tree: &Tree, message: &str) -> String {
    tree.commit(message);
    "HEAD".into()
}

/// A private key as Claude Code's Read tool prints it: its first bytes are those of a real one, the rest is noise.
fn numbered_private_key() -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 7u64;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(alphabet[(state >> 58) as usize])
    };
    let body: String = "MIIEowIBAAKCAQEA".chars().chain((0..1576).map(|_| digit())).collect();
    let lines = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    let lines = ["-----BEGIN RSA PRIVATE KEY-----"].into_iter().chain(lines).chain(["-----END RSA PRIVATE KEY-----"]);
    lines.enumerate().map(|(i, line)| format!("{:>6}\u{2192}{line}\n", i + 1)).collect()
}

// covers: G04 G21 A01
#[test]
fn a_secret_is_found_wherever_a_commit_carries_it() {
    let world = World::new();
    let secret = &secret();
    refused(&world, "middle", "token.txt:2", |tree| {
        tree.write("token.txt", format!("one\n{secret}\n"));
        tree.commit("adds it");
        fs::remove_file(tree.path.join("token.txt")).unwrap();
        head(tree, "takes it out")
    });
    refused(&world, "merge", "side.txt:1", |tree| {
        run(tree.git().args(["checkout", "-q", "-b", "side"]));
        tree.write("side.txt", secret);
        tree.commit("side");
        fs::remove_file(tree.path.join("side.txt")).unwrap();
        tree.commit("side is clean again");
        run(tree.git().args(["checkout", "-q", "main"]));
        tree.commit("main goes on");
        run(tree.git().args(["merge", "-q", "--no-ff", "-m", "both", "side"]));
        "HEAD".into()
    });
    refused(&world, "message", "the commit's message", |tree| head(tree, &format!("see {secret}")));
    refused(&world, "author", "the commit's author", |tree| {
        run(tree.git().args(["commit", "-q", "--allow-empty", "-m", "x"]).env("GIT_AUTHOR_NAME", secret));
        "HEAD".into()
    });
    refused(&world, "name", "a file's name", |tree| {
        tree.write(&format!("dir/{secret}"), "harmless");
        head(tree, "a name")
    });
    refused(&world, "directory", "a file's name", |tree| {
        tree.write(&format!("{secret}/file"), "harmless");
        head(tree, "a directory's name")
    });
    refused(&world, "submodule", ".gitmodules:3", |tree| {
        tree.write(".gitmodules", format!("[submodule \"x\"]\n\tpath = x\n\turl = https://x:{secret}@github.com/a/b\n"));
        head(tree, "a submodule")
    });
    refused(&world, "symlink", "link:1", |tree| {
        symlink(format!("/tmp/{secret}"), tree.path.join("link")).unwrap();
        head(tree, "a link")
    });
    refused(&world, "lfs", "big.bin:2", |tree| {
        tree.write("big.bin", format!("version https://git-lfs.github.com/spec/v1\noid sha256:{secret}\nsize 12\n"));
        head(tree, "a pointer")
    });
    refused(&world, "attributes", ".gitattributes:1", |tree| {
        tree.write(".gitattributes", format!("*.x filter={secret}\n"));
        head(tree, "attributes")
    });
    refused(&world, "numbered", "notes.md:2", |tree| {
        tree.write("notes.md", format!("what Read showed:\n{}", numbered_private_key()));
        head(tree, "a key as a tool prints it")
    });
    refused(&world, "utf16", "wide.txt", |tree| {
        tree.write("wide.txt", format!("key={secret}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        head(tree, "wide")
    });
    refused(&world, "gzip", "log.gz", |tree| {
        tree.write("log", format!("{}{secret}", "harmless line\n".repeat(2000)));
        run(std::process::Command::new("gzip").arg(tree.path.join("log")));
        head(tree, "packed")
    });
    world.has_not_leaked(secret);
}

// covers: G04
#[test]
fn a_secret_is_found_outside_of_commits() {
    let world = World::new();
    let secret = &secret();
    let tree = world.clone_named("work");
    run(tree.git().args(["tag", "-a", "agent-1", "-m", &format!("release {secret}")]));
    tree.push(&["agent-1"]).is_refused_with("the tag's message");
    tree.write("blob", format!("\n\n{secret}"));
    let blob = run(tree.git().args(["hash-object", "-w", "blob"]));
    run(tree.git().args(["tag", "agent-2", &blob]));
    tree.push(&["agent-2"]).is_refused_with("which no commit has");
    run(tree.git().args(["notes", "add", "-m", secret, "HEAD"]));
    tree.push(&["refs/notes/commits:refs/heads/agent/notes"]).is_refused_with("secret_detected");
    let pushed = tree.push(&[&format!("HEAD:refs/heads/agent/{secret}")]);
    pushed.is_refused_with("in a ref's name");
    world.has_not_leaked(secret);
    assert_eq!(world.refs().len(), 1);
    for event in world.gate.events("push") {
        assert!(!serde_json::to_string(&event).unwrap().contains(secret), "{event:?}");
    }
}

// covers: G04
#[test]
fn an_object_that_nothing_refers_to_is_scanned() {
    let world = World::new();
    let answer = pushed(&world, &pack(&[entry(3, b"harmless"), entry(3, format!("a\n{}", secret()).as_bytes())]));
    assert!(answer.contains("secret_detected"), "{answer}");
    // A base that only deltas use, and a delta that makes the secret from two harmless halves.
    let secret = secret();
    let (front, back) = secret.split_at(20);
    let base = entry(3, front.as_bytes());
    let delta = [&[20, 40, 0x90, 20, 20][..], back.as_bytes()].concat();
    let upon =
        [crate::raw::entry_head(6, delta.len() as u64), crate::raw::distance(base.len() as u64), crate::raw::deflated(&delta)].concat();
    let answer = pushed(&world, &pack(&[base, upon]));
    assert!(answer.contains("secret_detected"), "{answer}");
}

// covers: Y04
#[test]
fn no_mark_of_the_agent_lets_a_secret_pass() {
    let world = World::new();
    let secret = &secret();
    for (name, file, text) in [
        ("allow", "a.py", format!("x = '{secret}'  # gitleaks:allow\n")),
        ("pragma", "b.py", format!("x = '{secret}'  # pragma: allowlist secret nosec noqa\n")),
        ("baseline", ".gitleaks.toml", format!("[allowlist]\nregexes = ['''{secret}''']\n")),
        ("ignore", ".gitleaksignore", format!("{secret}\n")),
    ] {
        refused(&world, name, file, |tree| {
            tree.write(".gitleaks.toml", "[allowlist]\npaths = ['''.*''']\n");
            tree.write(".gitleaksignore", "*\n");
            tree.write(file, &text);
            head(tree, "marked as harmless")
        });
    }
    world.has_not_leaked(secret);
}

// covers: D11
#[test]
fn the_bottles_own_secret_is_known_in_every_form() {
    use base64::Engine as _;
    let token = "correct-horse-battery-staple-7";
    let fingerprints = serde_json::to_value(bottle_scan::Fingerprints::of([7; 32], &[token.as_bytes()])).unwrap();
    let world = World::with(WorldOptions { fingerprints, ..WorldOptions::default() });
    for (name, text) in [("plain", token.to_owned()), ("base64", base64::engine::general_purpose::STANDARD.encode(format!("x{token}")))] {
        let tree = world.clone_named(name);
        tree.write("notes", &text);
        tree.commit("notes");
        tree.push(&[&format!("HEAD:refs/heads/agent/{name}")]).is_refused_with("bottle-secret");
    }
    // What it asks for in a fetch leaves too.
    let tree = world.clone_named("fetching");
    let listed = Pushed::of(tree.git().args(["fetch", "origin", &format!("refs/heads/{token}")]));
    listed.is_refused_with("secret_detected");
}
