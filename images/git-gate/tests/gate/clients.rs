//! Other clients, other versions of the protocol.

use std::path::Path;

use crate::raw::asked;
use crate::support::*;

/// The gits of this machine: at least Debian's own.
fn gits() -> Vec<&'static str> {
    let all: Vec<_> = ["/usr/bin/git", "/usr/local/bin/git"].into_iter().filter(|program| Path::new(program).exists()).collect();
    assert!(!all.is_empty(), "there is no git");
    all
}

// covers: G12
#[test]
fn every_git_clones_fetches_and_pushes_in_every_version_of_the_protocol() {
    let world = World::new();
    for (n, (program, version)) in gits().into_iter().flat_map(|program| ["0", "1", "2"].map(|version| (program, version))).enumerate() {
        let protocol = format!("protocol.version={version}");
        let tree = world.fresh(&format!("work{n}"));
        run(tree.git_of(program).args(["-c", &protocol, "fetch", "-q", "origin"]));
        run(tree.git_of(program).args(["checkout", "-q", "-b", "work", "origin/main"]));
        tree.write("file", format!("{program} {version}"));
        let commit = tree.commit("work");
        let pushed = Pushed::of(tree.git_of(program).args(["-c", &protocol, "push", "origin", &format!("HEAD:refs/heads/agent/w{n}")]));
        pushed.is_taken();
        let listed = run(tree.git_of(program).args(["-c", &protocol, "ls-remote", "origin"]));
        assert!(listed.contains(&format!("{commit}\trefs/heads/agent/w{n}")), "{listed}");
    }
    let shallow = world.fresh("shallow");
    run(shallow.git().args(["fetch", "-q", "--depth", "1", "origin", "main"]));
    let blobless = world.fresh("blobless");
    run(blobless.git().args(["fetch", "-q", "origin"]));
}

#[test]
fn libgit2_clones_and_pushes() {
    let mut world = World::new();
    // It resolves no name that the system does not know: the gate is at its own port of a loopback address of its own.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = format!("127.{}.{b}.{}:9420", 16 + a % 200, c.clamp(1, 254));
    world.gate = Gate::spawn_at(world.directory.path(), address.parse().unwrap());
    let repository = git2::Repository::init(world.directory.path().join("work")).unwrap();
    let mut remote = repository.remote("origin", &format!("http://{address}/app.git")).unwrap();
    remote.fetch(&["refs/heads/main:refs/remotes/origin/main"], None, None).unwrap();
    let main = repository.find_reference("refs/remotes/origin/main").unwrap().peel_to_commit().unwrap();
    let blob = repository.blob(b"work of another client\n").unwrap();
    let mut tree = repository.treebuilder(None).unwrap();
    tree.insert("file", blob, 0o100_644).unwrap();
    let tree = repository.find_tree(tree.write().unwrap()).unwrap();
    let who = git2::Signature::now("Ann", "ann@work.test").unwrap();
    let commit = repository.commit(Some("refs/heads/work"), &who, &who, "work", &tree, &[&main]).unwrap();
    let push = |remote: &mut git2::Remote<'_>, spec: &str| {
        let said = std::cell::RefCell::new(Vec::new());
        let mut callbacks = git2::RemoteCallbacks::new();
        callbacks.push_update_reference(|name, status| {
            said.borrow_mut().push((name.to_owned(), status.map(str::to_owned)));
            Ok(())
        });
        let mut push = git2::PushOptions::new();
        push.remote_callbacks(callbacks);
        remote.push(&[spec], Some(&mut push)).unwrap();
        drop(push);
        said.into_inner()
    };
    assert_eq!(push(&mut remote, "refs/heads/work:refs/heads/agent/x"), [("refs/heads/agent/x".to_owned(), None)]);
    assert!(world.refs().contains(&format!("refs/heads/agent/x {commit}")));
    let denied = push(&mut remote, "refs/heads/work:refs/heads/main");
    assert!(denied[0].1.as_deref().is_some_and(|why| why.starts_with("ref_not_allowed")), "{denied:?}");
}

// covers: G13
#[test]
fn nothing_but_the_two_services_of_a_declared_repository_is_served() {
    let world = World::new();
    for request in [
        "GET /other.git/info/refs?service=git-upload-pack",
        "GET /app.git/info/refs?service=git-upload-archive",
        "GET /app.git/HEAD",
        "GET /app.git/objects/info/packs",
        "GET /app.git/config",
        "GET /../app.git/info/refs?service=git-upload-pack",
        "GET /x/%2e%2e/app.git/info/refs?service=git-upload-pack",
        "GET /%61pp.git/%2e%2e/other.git/HEAD",
        "POST /app.git/git-upload-archive",
        "PUT /app.git/git-receive-pack",
        "GET http://git.test/writable/app.git/info/refs?service=git-upload-pack",
        "CONNECT git.test:443",
    ] {
        let answer = asked(&world, request, b"");
        assert!(answer.starts_with("HTTP/1.1 4"), "{request}: {answer}");
    }
    assert_eq!(world.origin.as_ref().unwrap().requests(), vec![]);
}

// covers: G12
#[test]
fn junk_is_answered_and_the_gate_goes_on() {
    let world = World::new();
    let shallow = format!("shallow {}", "1".repeat(40));
    for body in [&b"zzzz"[..], b"0003", b"fff0", b"00000000", b"0000PACK", b"0008junk0000", &crate::raw::push_request(&[shallow], b"")] {
        for path in ["git-receive-pack", "git-upload-pack"] {
            let answer = asked(&world, &format!("POST /app.git/{path}"), body);
            assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 4"), "{body:?}: {answer}");
        }
    }
    world.clone_named("work");
}

// covers: G10 T03
#[test]
fn what_upstream_says_is_inert() {
    let world = World::new();
    let hook = world.upstream().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let words = "\\033]0;owned\\007\\033[2J\\302\\233m\\342\\200\\256 x-access-token:r3al-t0ken-of-the-operator\\n";
    std::fs::write(&hook, format!("#!/bin/sh\ncat >/dev/null\nprintf '{words}' >&2\nexit 1\n")).unwrap();
    run(std::process::Command::new("chmod").arg("755").arg(&hook));
    let tree = world.clone_named("work");
    tree.commit("work");
    let pushed = tree.push(&["HEAD:refs/heads/agent/x"]);
    pushed.is_refused_with("pre-receive hook declined");
    assert!(pushed.said.contains("\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{9b}m\\u{202e}"), "{}", pushed.said);
    assert!(!pushed.said.contains("r3al-t0ken"), "{}", pushed.said);
    let raw = asked(&world, "GET /app.git/info/refs?service=git-upload-pack", b"");
    assert!(!raw.contains("r3al-t0ken"));
    let event = world.gate.event("push", 1);
    assert_eq!(event.reason.map(|reason| reason.slug()), Some("upstream_refused"), "{event:?}");
}
