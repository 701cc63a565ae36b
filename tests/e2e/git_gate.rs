//! Git in the bottle: it needs no setting, its remotes lead to the gate, and what is pushed has been looked at.

use std::fs;

use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::net::world::{NAME, TOKEN, World, users};

/// The shape of a GitHub token, with a checksum that holds.
fn stolen() -> String {
    ["ghp", "_", "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"].concat()
}

/// A bottle with the far end's repository behind the gate.
fn world(user: Option<u32>) -> World {
    let world = World::new(user);
    let https = world.origin.ready().https;
    let repo = format!(
        "{{ name: sample, upstream: 'https://git.test/writable/sample.git', connect: '{https}', \
         auth: {{ scheme: Bearer, token_ref: {TOKEN} }}, push: {{ allow: [refs/heads/agent/*] }} }}"
    );
    world.setting(&format!("git: {{ repos: [{repo}] }}"))
}

/// The timeline's events of one kind.
fn timeline(world: &World, event: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.bottle.path().join(format!("state/bottle/{NAME}/timeline.jsonl"))).expect("there is a timeline");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record is JSON"));
    lines.filter(|record| record["event"] == event).collect()
}

// covers: Y08 S10
#[test]
fn an_agent_pushes_its_work_and_only_its_work() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let said = world.said(&format!(
            "cd /tmp && git clone -q https://git.test/writable/sample here && cd here && git log --format=%s && git checkout -q -b agent/x
             echo work >file && git add file && git commit -qm Work && git push -q origin agent/x 2>/dev/null && echo pushed
             git remote add other ssh://git@git.test/nothing.git
             git push origin HEAD:main 2>&1 | grep -o 'no pattern of this bottle allows this ref' | head -1
             echo '{}' >token && git add token && git commit -qm 'Leak' && git push origin agent/x 2>&1 | grep -oE '(secret_detected|token:1)' | sort -u
             git log -1 --format='%an <%ae>'; git ls-remote -q origin 'refs/heads/*' | cut -f2",
            stolen()
        ));
        assert_eq!(
            said,
            "Second\nFirst\npushed\nno pattern of this bottle allows this ref\nsecret_detected\ntoken:1\n[ID] <[ID]@bottle.invalid>\n\
             refs/heads/agent/x\nrefs/heads/main\n"
        );
        let bearer = format!("Bearer {}", world.token.value());
        let heard = world.since(0);
        assert!(heard.iter().all(|request| request.header("authorization") == Some(&bearer)), "{heard:#?}");
        assert_eq!(heard.iter().filter(|request| request.method == "POST" && request.target.ends_with("git-receive-pack")).count(), 1);
        let pushes = timeline(&world, "push");
        let results: Vec<_> =
            pushes.iter().map(|push| (push["repo"].as_str(), push["refs"][0]["name"].as_str(), push["reason"].as_str())).collect();
        let pushed = |name, reason| (Some("sample"), Some(name), reason);
        assert_eq!(
            results,
            [
                pushed("refs/heads/agent/x", None),
                pushed("refs/heads/main", Some("ref_not_allowed")),
                pushed("refs/heads/agent/x", Some("secret_detected"))
            ]
        );
        assert!(pushes[0]["pack"].as_str().is_some_and(|hash| hash.len() == 64) && pushes[0]["objects"] == 3, "{}", pushes[0]);
        assert!(!timeline(&world, "fetch").is_empty());
    }
}

// covers: G09
#[test]
fn no_push_goes_around_the_gate() {
    for user in users() {
        let world = world(user).route("git.test", "").ready("provider: shell");
        let ended = world.sh("cd /tmp && git clone -q https://git.test/sample.git here && cd here && git commit -q --allow-empty -m Third
             export GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
             git push https://git.test/writable/sample.git main 2>&1 | grep -o 403
             curl -sS https://git.test/writable/sample.git/info/refs?service=git-receive-pack
             git ls-remote ssh://git@git.test/writable/sample.git 2>/dev/null || echo no route
             curl -sS -o /dev/null -w '%{http_code}\\n' http://git-gate:9420/other.git/info/refs?service=git-upload-pack
             printf 'protocol=https\\nhost=git.test\\n\\n' | git credential fill 2>/dev/null || echo no credential");
        assert_eq!(ended.ending, Ending::Code(0), "{}{}", ended.stdout, ended.stderr);
        for words in ["403\n", "git_push_bypass", "http://git-gate:9420/NAME.git", "no route\n", "404\n", "no credential\n"] {
            assert!(ended.stdout.contains(words), "not {words:?}: {}", ended.stdout);
        }
        assert!(world.since(0).iter().all(|request| !request.target.contains("receive-pack")), "{:#?}", world.since(0));
    }
}
