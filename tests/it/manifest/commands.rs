//! `init`, `info` and `schema`: the whole of what they print and write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use bottle::commands::{Format, allow, info, init, schema};
use bottle::manifest::built_in::LIBRARY;
use bottle::manifest::{Library, front_matter, load};
use bottle::store::Layout;
use serde_json::{Value, json};

use crate::manifest::library;

fn info(library: &Library, agent: Option<&str>, format: Format, set: &[&str]) -> (String, Option<String>) {
    let mut out = Vec::new();
    let args = info::Args { agent: agent.map(str::to_owned), format };
    let host = info::Host { is_set: &|name| set.contains(&name), toolchains: &|_| Default::default() };
    let error = info::run(&args, &mut out, library, &host).err();
    (String::from_utf8(out).unwrap(), error.map(|error| error.to_string()))
}

const FILES: [(&str, &str); 2] = [
    ("agents/a", "---\nbottle: b\ncommand: [aider, \"--\\e[2J\"]\ndescription: \"right \\u202E left\"\n---\nPROMPT-TEXT\n"),
    (
        "bottles/b",
        "---\nenv: { LITERAL: CANARY-VALUE, EDITOR: 'x${EDITOR}${HOME}', ASKED: ?npm token }\negress:\n  routes:\n    - host: api.github.com\n      \
         matches: [{ methods: [GET], paths: [/repos/, /user] }, { paths: [/x] }]\n      auth: { token_ref: GITHUB_TOKEN }\n    \
         - host: 'b.test:8443'\n      auth: { header: x-api-key, token_ref: B }\n      connect: 127.0.0.1:9\n  trust: [ca.pem]\n  \
         proxy: { address: '192.0.2.7:3128' }\nlimits: { memory: 1GiB, pids: 9, time: 90s }\nrootfs: { image: r.tar }\n\
         tools: [/opt/x]\nworkspace: copy\n---\n",
    ),
];

#[test]
fn info_shows_reach_tokens_by_name_bounds_and_origin() {
    let expected = r"agent      a, /cfg/agents/a.md
           right \u{202e} left
program    aider --\u{1b}[2J
bottle     b, /cfg/bottles/b.md
workspace  copy: a full copy, your files stay as they are
root       image /cfg/bottles/r.tar
reaches    api.github.com  GET /repos/… /user; every method /x, with GITHUB_TOKEN as authorization
           b.test:8443     everything, with B as x-api-key, at 127.0.0.1:9
through    192.0.2.7:3128
trusts     /cfg/bottles/ca.pem
tokens     B (not set)
           GITHUB_TOKEN (set)
variables  ASKED, asked for at start
           EDITOR, from EDITOR (set), HOME (not set)
           LITERAL
tools      /opt/x
limits     1073741824 bytes of memory
           9 processes
           90 seconds
note       the agent may do all that the token B allows at b.test: its route has no `matches`
           b.test is dialled at 127.0.0.1:9, whatever its name resolves to
           the agent sees the value of ASKED; a route's `token_ref` would keep it out of the bottle
";
    let shown = info(&library(&FILES), Some("a"), Format::Text, &["GITHUB_TOKEN", "EDITOR"]);
    assert_eq!(shown, (expected.to_owned(), None));
}

#[test]
fn info_for_programs_says_the_same_and_holds_no_value() {
    let (text, error) = info(&library(&FILES), Some("a"), Format::Json, &["GITHUB_TOKEN"]);
    assert_eq!(error, None);
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(view["tokens"], json!([{ "name": "B", "set": false }, { "name": "GITHUB_TOKEN", "set": true }]));
    assert_eq!(view["env"][2], json!({ "name": "LITERAL", "from": "given", "needs": [] }));
    assert_eq!(view["limits"], json!({ "memory_bytes": 1 << 30, "processes": 9, "seconds": 90 }));
    assert_eq!(view["description"], json!("right \\u{202e} left"));
    for absent in ["CANARY-VALUE", "PROMPT-TEXT", "\u{1b}", "\u{202e}"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn info_lists_all_and_fails_when_something_is_broken() {
    let whole = "agents
  aider        aider, as it comes, built-in
  claude       Claude Code, as it comes, built-in
  codex        Codex, as it comes, built-in
  copilot      Copilot CLI, as it comes, built-in
  gemini       Gemini CLI, as it comes, built-in
  implementer  writes code in this repository, unsupervised, built-in
  opencode     OpenCode, as it comes, built-in
  reviewer     reviews the changes in this repository and reports, without changing the user's files, built-in
  shell        mine, /cfg/agents/shell.md (hides: built-in)
bottles
  dev          built-in
  offline      built-in
";
    let mine = ("agents/shell", "---\nbottle: offline\nprovider: shell\ndescription: mine\n---\n");
    let whole = whole.replace("dev          built", "dev      built").replace("offline      built", "offline  built");
    assert_eq!(info(&library(&[mine]), None, Format::Text, &[]), (whole, None));

    let broken = [mine, ("bottles/b", "---\nzzz: 1\n---\n"), ("agents/a", "---\nbottle: b\nprovider: shell\n---\n"), ("agents/c", "")];
    let (text, error) = info(&library(&broken), None, Format::Text, &[]);
    let problems = text.split_once("problems\n").unwrap().1;
    assert_eq!(
        problems,
        "  bottle `b` cannot be used
    cause: /cfg/bottles/b.md:2:1: unknown key `zzz`
    hint:  known here: extends, env, egress, git, supervise, scan, limits, rootfs, tools, workspace, backend
  agent `c` cannot be used
    cause: /cfg/agents/c.md:1:1: no front matter
    hint:  a manifest starts with a line `---`, then YAML, then a line `---`, then Markdown
"
    );
    assert_eq!(
        error.unwrap(),
        "error: 2 definitions cannot be used\ncause: /cfg/bottles/b.md:2:1: unknown key `zzz`\nhint:  the list above names each of them"
    );
}

#[test]
fn init_writes_what_is_missing_and_keeps_what_was_edited() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("deep/cfg");
    let run = || {
        let mut out = Vec::new();
        init::run(&init::Args {}, &mut out, &config).unwrap();
        String::from_utf8(out).unwrap().replace(&format!("{}/", config.display()), "")
    };
    assert_eq!(
        run(),
        "written   bottles/dev.md\nwritten   bottles/offline.md\nwritten   agents/aider.md\nwritten   agents/claude.md\nwritten   agents/codex.md\n\
         written   agents/copilot.md\nwritten   agents/gemini.md\nwritten   agents/implementer.md\nwritten   agents/opencode.md\n\
         written   agents/reviewer.md\nwritten   agents/shell.md\n"
    );
    assert_eq!(load(&config, None, None).unwrap().problems(), vec![]);
    let mode = |path: &str| fs::metadata(config.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("agents"), mode("agents/shell.md") & 0o022), (0o700, 0o700, 0));
    let mut edited = fs::read_to_string(config.join("bottles/dev.md")).unwrap();
    edited.push('x');
    fs::write(config.join("bottles/dev.md"), &edited).unwrap();
    let same_length = fs::read_to_string(config.join("agents/shell.md")).unwrap().replace("plain", "PLAIN");
    fs::write(config.join("agents/shell.md"), &same_length).unwrap();
    fs::remove_file(config.join("bottles/offline.md")).unwrap();
    fs::remove_file(config.join("agents/reviewer.md")).unwrap();
    symlink("nowhere", config.join("agents/reviewer.md")).unwrap();
    assert_eq!(
        run(),
        "kept      bottles/dev.md (yours differs from the built-in one)\nwritten   bottles/offline.md\nunchanged agents/aider.md\n\
         unchanged agents/claude.md\nunchanged agents/codex.md\nunchanged agents/copilot.md\nunchanged agents/gemini.md\n\
         unchanged agents/implementer.md\nunchanged agents/opencode.md\n\
         kept      agents/reviewer.md (yours differs from the built-in one)\nkept      agents/shell.md (yours differs from the built-in one)\n"
    );
    assert_eq!(fs::read_to_string(config.join("bottles/dev.md")).unwrap(), edited);
    assert_eq!(fs::read_to_string(config.join("agents/shell.md")).unwrap(), same_length);
    let mut left: Vec<_> = fs::read_dir(config.join("agents")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(
        left,
        ["aider.md", "claude.md", "codex.md", "copilot.md", "gemini.md", "implementer.md", "opencode.md", "reviewer.md", "shell.md"]
    );
}

#[test]
fn init_into_a_place_that_is_no_directory_says_which() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("bottles"), "").unwrap();
    let error = init::run(&init::Args {}, &mut Vec::new(), root.path()).unwrap_err();
    assert_eq!(error.code, 125);
    assert_eq!(
        error.to_string().replace(&format!("{}/", root.path().display()), ""),
        "error: cannot write bottles/dev.md\ncause: File exists (os error 17)\n\
         hint:  check the directory's permissions and free space, then run `bottle init` again"
    );
}

/// Every mapping with named keys is closed, every property is described, nothing may be null.
fn assert_strict(schema: &Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                assert_eq!(map["additionalProperties"], json!(false), "{schema}");
                for (name, property) in properties {
                    assert!(
                        matches!(name.as_str(), "command" | "image" | "arguments" | "file") || property.get("description").is_some(),
                        "{name} has no description"
                    );
                }
            }
            assert!(map.get("type") != Some(&json!("null")) && !map.get("type").is_some_and(Value::is_array), "{schema}");
            map.values().for_each(assert_strict);
        }
        Value::Array(list) => list.iter().for_each(assert_strict),
        _ => {}
    }
}

#[test]
fn the_schemas_are_strict_and_fit_the_starter_library() {
    for (kind, required) in [
        (schema::Kind::Bottle, Value::Null),
        (schema::Kind::Agent, json!(["bottle"])),
        (schema::Kind::Provider, json!(["title", "program"])),
    ] {
        let mut out = Vec::new();
        schema::run(&schema::Args { kind }, &mut out).unwrap();
        let schema: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
        assert_eq!(schema["required"], required);
        assert_strict(&schema);
        for starter in LIBRARY.iter().filter(|s| s.kind.to_string() == format!("{kind:?}").to_lowercase()) {
            let document = front_matter::split(starter.text.as_bytes()).unwrap();
            let value: Value = bottle::yaml::parse(&document.yaml).unwrap();
            crate::manifest::fuzz::known(&value, &schema, &schema).unwrap();
        }
    }
}

// covers: W22
#[test]
fn allow_writes_a_route_and_nothing_else_and_refuses_what_it_cannot_write() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().canonicalize().unwrap();
    // No bottle runs here.
    let (state, images) = (config.join("state"), config.join("images"));
    let layout = Layout { config: config.clone(), state, images, runtime: Vec::new(), shared: None };
    let allow = |hosts: &[&str], agent: &str, read_only: bool| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let args = allow::Args { hosts, agent: agent.into(), read_only, bottle: None, time: None, uses: None };
        let mut out = Vec::new();
        let result = allow::run(&args, &layout, &|| load(&config, None, None), &mut out).map(|()| String::from_utf8(out).unwrap());
        result.map(|text| text.replace(&format!("{}/", config.display()), "")).map_err(|error| error.cause)
    };
    let read = |name: &str| fs::read_to_string(config.join(name)).unwrap();
    let routes = |agent: &str| load(&config, None, None).unwrap().resolve(agent).unwrap().bottle.egress.routes;
    // Of a built-in bottle.
    let before = routes("implementer");
    assert_eq!(
        allow(&["*.cdn.test", "a.test:8443"], "implementer", true).unwrap(),
        "implementer may reach *.cdn.test: to read, by bottles/dev.md\nimplementer may reach a.test:8443: to read, by bottles/dev.md\n"
    );
    assert_eq!(
        read("bottles/dev.md"),
        "---\nextends: dev\negress:\n  routes:\n    - { host: \"*.cdn.test\", matches: [{ methods: [GET, HEAD] }] }\n    \
         - { host: \"a.test:8443\", matches: [{ methods: [GET, HEAD] }] }\n---\n\nThe built-in bottle `dev`, and what was allowed besides.\n"
    );
    let after = routes("implementer");
    assert_eq!((&after[..before.len()], after.len()), (&before[..], before.len() + 2));
    // Of a file that a person wrote, again and again.
    fs::create_dir_all(config.join("agents")).unwrap();
    fs::write(config.join("agents/a.md"), "---\nbottle: mine\nprovider: shell\n---\n").unwrap();
    let mine = "---\n# why\negress: # reach\n  routes:\n    - host: x.test # first\n\n# end\nenv: { A: b }\n---\ntext\n";
    fs::write(config.join("bottles/mine.md"), mine).unwrap();
    allow(&["y.test"], "a", false).unwrap();
    allow(&["z.test"], "a", false).unwrap();
    let added = "first\n    - { host: \"y.test\" }\n    - { host: \"z.test\" }\n";
    assert_eq!(read("bottles/mine.md"), mine.replace("first\n", added));
    // What would change more, or nothing, is refused, and the file stays.
    let file = read("bottles/mine.md");
    assert!(allow(&["x.test"], "a", false).unwrap_err().ends_with(": a second route for `x.test`"));
    let known = allow(&["github.com"], "implementer", false).unwrap_err();
    assert_eq!(known, "`github.com` has a route already, which this one would replace");
    assert!(allow(&["https://x.test/"], "a", false).unwrap_err().contains("a URL instead of a host"));
    assert!(allow(&["b.test\"}, {host: \"*"], "a", false).is_err());
    assert_eq!(read("bottles/mine.md"), file);
    fs::write(config.join("bottles/mine.md"), "---\negress: { routes: [{ host: x.test }] }\n---\n").unwrap();
    assert!(allow(&["y.test"], "a", false).unwrap_err().ends_with("its routes are written on one line, in brackets"));
}
