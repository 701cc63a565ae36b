//! Manifests: what they mean, what is refused, and with which three lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bottle::manifest::library::Source;
use bottle::manifest::model::*;
use bottle::manifest::{Kind, Library};
use bottle_contract::gate::PushPolicy;
use bottle_contract::route::{Match, PathRule};

/// A library of the operator's own files: (`agents/x`, text).
pub(crate) fn library(files: &[(&str, &str)]) -> Library {
    library_with(files, &[])
}

/// The same with a repository's files.
fn library_with(own: &[(&str, &str)], repo: &[(&str, &str)]) -> Library {
    let own = own.iter().map(|(path, text)| source("/cfg", path, text));
    let repo = repo.iter().map(|(path, text)| source("/repo/.bottle", path, text));
    Library::new(Some(Path::new("/home/u")), own.chain(repo).collect(), Vec::new())
}

fn source(root: &str, path: &str, text: &str) -> Source {
    let (directory, name) = path.split_once('/').unwrap();
    let kind = if directory == "agents" { Kind::Agent } else { Kind::Bottle };
    let file = Path::new(root).join(format!("{path}.md"));
    let origin = if root == "/cfg" { Origin::Home(file) } else { Origin::Repo(file) };
    Source { kind, name: name.to_owned(), origin, content: Ok(text.as_bytes().to_vec()) }
}

const AGENT: (&str, &str) = ("agents/a", "---\nbottle: b\nprovider: shell\n---\nPrompt\n");

/// Resolves an agent in a bottle with this front matter.
pub(crate) fn bottle(yaml: &str) -> Result<Bottle, String> {
    let text = format!("---\n{yaml}\n---\n");
    library(&[AGENT, ("bottles/b", text.as_str())]).resolve("a").map(|r| r.bottle).map_err(|error| error.to_string())
}

fn refused(yaml: &str) -> String {
    match bottle(yaml) {
        Ok(bottle) => panic!("accepted: {yaml}\n{bottle:?}"),
        Err(error) => error,
    }
}

/// What is refused in a bottle, as `line:column: what` and the hint.
#[track_caller]
fn assert_refused(yaml: &str, cause: &str, hint: &str) {
    let expected = format!("error: bottle `b` cannot be used\ncause: /cfg/bottles/b.md:{cause}\nhint:  {hint}");
    assert_eq!(refused(yaml), expected, "{yaml}");
}

fn route(host: &str) -> Route {
    Route { host: host.parse().unwrap(), ports: vec![443, 80], matches: vec![], auth: None, connect: None }
}

fn text(text: &str) -> EnvValue {
    EnvValue::Template(vec![TemplatePart::Text(text.into())])
}

#[test]
fn a_bottle_means_what_its_manifest_says() {
    let resolved = library(&[
        ("agents/a", "---\nbottle: b\ncommand: [codex, --yolo]\ndescription: writes\nworkspace: copy\n---\n\n# Prompt\n\nWork.\n"),
        (
            "bottles/b",
            r#"---
env:
  LOG_LEVEL: debug
  NORWAY: no
  EDITOR: ${EDITOR}
  NPM_TOKEN: ?npm token
egress:
  routes:
    - host: API.Github.com.
      matches: [{ methods: [GET, HEAD], paths: [/repos/acme/, /user%41] }]
      auth: { header: Authorization, scheme: token, token_ref: GITHUB_TOKEN }
    - host: api.anthropic.com
      auth: { token_ref: CLAUDE_CODE_OAUTH_TOKEN }
    - host: keys.example.com:8443
      auth: { header: X-Api-Key, token_ref: KEY }
      connect: 127.0.0.1:9000
    - host: raw.example.com
      auth: { scheme: none, token_ref: KEY }
    - host: "*.pythonhosted.org"
    - host: "[2001:DB8::1]:8080"
  trust: [ca.pem, ~/x.pem]
  proxy: { address: "192.0.2.7:3128", ca: /etc/proxy.pem }
scan: { rules: [gitleaks.toml, ~/more.toml], answers: true }
limits: { memory: 4GiB, pids: 512, time: 2h }
rootfs: { image: ~/images/a.tar }
tools: [~/.local/share/mise, /opt/node]
workspace: none
---
Why this bottle is as it is.
"#,
        ),
    ])
    .resolve("a")
    .unwrap();
    let with = |route: Route, header: &str, scheme: Option<&str>, token_ref: &str| Route {
        auth: Some(Auth { header: header.into(), scheme: scheme.map(str::to_owned), token_ref: token_ref.into() }),
        ..route
    };
    let github = Match {
        methods: vec!["GET".into(), "HEAD".into()],
        paths: vec![PathRule::Prefix("/repos/acme/".into()), PathRule::Exact("/userA".into())],
    };
    let expected = Resolved {
        agent: Agent {
            name: "a".into(),
            description: "writes".into(),
            provider: Provider::Command(vec!["codex".into(), "--yolo".into()]),
            workspace: Some(WorkspaceMode::Copy),
            prompt: "# Prompt\n\nWork.".into(),
            origin: Origin::Home("/cfg/agents/a.md".into()),
        },
        bottle: Bottle {
            name: "b".into(),
            env: BTreeMap::from([
                ("LOG_LEVEL".into(), text("debug")),
                ("NORWAY".into(), text("no")),
                ("EDITOR".into(), EnvValue::Template(vec![TemplatePart::Host("EDITOR".into())])),
                ("NPM_TOKEN".into(), EnvValue::Ask("npm token".into())),
            ]),
            egress: Egress {
                routes: vec![
                    with(Route { matches: vec![github], ..route("api.github.com") }, "authorization", Some("token"), "GITHUB_TOKEN"),
                    with(route("api.anthropic.com"), "authorization", Some("Bearer"), "CLAUDE_CODE_OAUTH_TOKEN"),
                    with(
                        Route { ports: vec![8443], connect: Some("127.0.0.1:9000".parse().unwrap()), ..route("keys.example.com") },
                        "x-api-key",
                        None,
                        "KEY",
                    ),
                    with(route("raw.example.com"), "authorization", None, "KEY"),
                    route("*.pythonhosted.org"),
                    Route { ports: vec![8080], ..route("[2001:db8::1]") },
                ],
                trust: vec!["/cfg/bottles/ca.pem".into(), "/home/u/x.pem".into()],
                parent: Some(Parent { address: "192.0.2.7:3128".parse().unwrap(), ca: Some("/etc/proxy.pem".into()) }),
            },
            git: vec![],
            author: Author::default(),
            supervise: false,
            scan: Scan { rules: vec!["/cfg/bottles/gitleaks.toml".into(), "/home/u/more.toml".into()], answers: true },
            limits: Limits { memory: Some(4 << 30), pids: Some(512), time: Some(Duration::from_secs(7200)) },
            rootfs: Rootfs::Image("/home/u/images/a.tar".into()),
            tools: vec!["/home/u/.local/share/mise".into(), "/opt/node".into()],
            workspace: WorkspaceMode::None,
            backend: Default::default(),
            origin: Origin::Home("/cfg/bottles/b.md".into()),
        },
    };
    assert_eq!(resolved, expected);
    assert_eq!(resolved.workspace(), WorkspaceMode::Copy);
}

#[test]
fn a_child_adds_variables_and_replaces_lists() {
    let parent = "---\nenv: { A: parent, B: parent }\negress:\n  routes: [{ host: p.test }]\n  trust: [p.pem]\nscan: { rules: [p.toml], answers: true }\nlimits: { memory: 1GiB, pids: 10 }\n\
                  tools: [/opt/p]\nrootfs: { image: p.tar }\nworkspace: copy\n---\n";
    let middle = "---\nextends: parent\nenv: { B: middle, C: middle }\nscan: { answers: false }\nlimits: { pids: 20 }\n---\n";
    let child =
        "---\nextends: middle\nenv: { C: child }\negress:\n  routes: [{ host: c.test }]\ntools: []\nrootfs: host\nworkspace: none\n---\n";
    let files = [AGENT, ("bottles/parent", parent), ("bottles/middle", middle), ("bottles/b", child)];
    let expected = Bottle {
        name: "b".into(),
        env: BTreeMap::from([("A".into(), text("parent")), ("B".into(), text("middle")), ("C".into(), text("child"))]),
        egress: Egress { routes: vec![route("c.test")], trust: vec!["/cfg/bottles/p.pem".into()], parent: None },
        git: vec![],
        author: Author::default(),
        supervise: false,
        scan: Scan { rules: vec!["/cfg/bottles/p.toml".into()], answers: false },
        limits: Limits { memory: Some(1 << 30), pids: Some(20), time: None },
        rootfs: Rootfs::Host,
        tools: vec![],
        workspace: WorkspaceMode::None,
        backend: Default::default(),
        origin: Origin::Home("/cfg/bottles/b.md".into()),
    };
    assert_eq!(library(&files).resolve("a").unwrap().bottle, expected);
}

// covers: F20
#[test]
fn a_table_that_says_nothing_allows_nothing_and_says_so() {
    let note = "this bottle has no routes: the agent reaches nothing".to_owned();
    let parent = ("bottles/p", "---\negress: { routes: [{ host: a.test }] }\n---\n");
    let empty = [
        "egress:",
        "egress: {}",
        "egress: { routes: }",
        "egress: { routes: [] }",
        "egress:\n  routes:\n  # - host: a.test",
        "egress:\n  # routes:\n  #   - host: a.test",
    ];
    for yaml in empty.into_iter().chain(["", "# egress: {}", "env: {}"]) {
        let text = format!("---\n{yaml}\n---\n");
        let resolved = library(&[AGENT, ("bottles/b", text.as_str())]).resolve("a").unwrap();
        assert_eq!((&resolved.bottle.egress, resolved.notes()), (&Egress::default(), vec![note.clone()]), "{yaml}");
    }
    for yaml in empty {
        let text = format!("---\nextends: p\n{yaml}\n---\n");
        let resolved = library(&[AGENT, parent, ("bottles/b", text.as_str())]).resolve("a").unwrap();
        assert_eq!((&resolved.bottle.egress, resolved.notes()), (&Egress::default(), vec![note.clone()]), "over a parent: {yaml}");
    }
    assert_refused("egres: { routes: [] }", "2:1: unknown key `egres`", "did you mean `egress`?");
    assert_refused("egress: { route: [] }", "2:11: unknown key `route`", "did you mean `routes`?");
    let hint = "remove the key to allow everything, or list what is allowed";
    for yaml in ["matches:", "matches: []"] {
        assert_refused(&format!("egress:\n  routes:\n    - host: a.test\n      {yaml}"), "4:13: `matches` of this route is empty", hint);
    }
    let row = |inside: &str| format!("egress:\n  routes:\n    - host: a.test\n      matches:\n        - {inside}");
    assert_refused(&row("{}"), "6:11: a match without `methods` and `paths`", hint);
    assert_refused(&row("methods: []"), "6:11: `methods` of this match is empty", hint);
    assert_refused(&row("methods: [GET]\n          paths:"), "6:11: `paths` of this match is empty", hint);
}

// covers: F19
#[test]
fn a_key_that_nobody_knows_is_an_error_on_every_level() {
    let hint = |expected: &str| format!("known here: {expected}");
    for (yaml, cause, hint) in [
        ("zzz: 1", "2:1: unknown key `zzz`", hint("extends, env, egress, git, supervise, scan, limits, rootfs, tools, workspace, backend")),
        ("limit: { pids: 1 }", "2:1: unknown key `limit`", "did you mean `limits`?".into()),
        ("egress:\n  zzz: 1", "3:3: unknown key `zzz`", hint("routes, trust, proxy")),
        (
            "egress:\n  routes:\n    - host: a.test\n      methods: [GET]",
            "5:7: unknown key `methods`",
            hint("host, matches, auth, connect"),
        ),
        (
            "egress:\n  routes:\n    - host: a.test\n      matches:\n        - method: [GET]",
            "6:11: unknown key `method`",
            "did you mean `methods`?".into(),
        ),
        (
            "egress: { routes: [{ host: a.test, auth: { token_ref: A, token: ghp } }] }",
            "2:58: unknown key `token`",
            hint("header, scheme, token_ref"),
        ),
        ("egress: { proxy: { address: \"192.0.2.1:1\", cert: x } }", "2:44: unknown key `cert`", hint("address, ca")),
        ("scan: { rule: [x] }", "2:9: unknown key `rule`", "did you mean `rules`?".into()),
        ("limits: { cpu: 1 }", "2:11: unknown key `cpu`", hint("memory, pids, time")),
        ("git: { repo: [] }", "2:8: unknown key `repo`", "did you mean `repos`?".into()),
        ("rootfs: { imag: x }", "2:11: unknown value `imag`", "did you mean `image`?".into()),
        (
            "\"\\e[2J\": 1",
            "2:1: unknown key `\\u{1b}[2J`",
            hint("extends, env, egress, git, supervise, scan, limits, rootfs, tools, workspace, backend"),
        ),
    ] {
        assert_refused(yaml, cause, &hint);
    }
}

// covers: F19
#[test]
fn a_value_of_the_wrong_kind_is_an_error_that_does_not_quote_it() {
    let shape = "see `bottle schema` for the shape of each key";
    for (yaml, cause, hint) in [
        ("env: [hunter2]", "2:6: expected a mapping", shape),
        ("env: hunter2", "2:6: expected a mapping", shape),
        ("env: { A: [hunter2] }", "2:11: expected a text", shape),
        ("env: { A: { B: hunter2 } }", "2:11: expected a text", shape),
        ("env:\n  A:", "3:4: a value is missing", "write \"\" for an empty text"),
        ("env: { A: !secret hunter2 }", "2:19: a YAML tag (`!…`)", "remove it, or quote the text"),
        ("egress: [a]", "2:9: expected a mapping", shape),
        ("egress: { routes: a.test }", "2:19: expected a list", shape),
        ("egress: { routes: { host: a.test } }", "2:19: expected a list", shape),
        ("egress: { routes: [a.test] }", "2:20: expected a mapping", shape),
        ("egress: { routes: [{ host: a, auth: }] }", "2:35: expected a mapping", shape),
        (
            "egress: { routes: [{ host: a, auth: {} }] }",
            "2:37: missing key `token_ref`",
            "add `token_ref: …`; `bottle schema` prints every key",
        ),
        ("egress: { routes: [{}] }", "2:20: missing key `host`", "add `host: …`; `bottle schema` prints every key"),
        (
            "egress: { routes: [{ host: *.a.test }] }",
            "2:28: an alias (`*…`) that names nothing",
            "quote a text that starts with a star: \"*.example.com\"",
        ),
        ("supervise: yes", "2:12: expected true or false", "`yes`, `no`, `on` and `off` are not booleans here"),
        ("supervise:", "2:10: expected true or false", "`yes`, `no`, `on` and `off` are not booleans here"),
        ("limits: { pids: -1 }", "2:17: expected a whole number", "write digits only"),
        ("limits: { pids: 1e3 }", "2:17: expected a whole number", "write digits only"),
        ("limits: { pids: 0 }", "2:17: a limit of zero processes", "write at least 1, or remove the key"),
        ("limits: { memory: 4 }", "2:19: `4` is not a size", "write digits and a unit: 512MiB, 4GiB, 100MB"),
        ("limits: { time: 90 }", "2:17: `90` is not a duration", "write digits and units, largest first: 2h, 30m, 90s, 1h30m"),
        ("rootfs: hots", "2:9: unknown value `hots`", "did you mean `host`?"),
        ("rootfs:", "2:7: a value is missing", "write one of host, image"),
        ("rootfs: [host]", "2:9: expected a word or a mapping", shape),
        ("rootfs: { image: a, host: }", "2:21: more than one choice where one is meant", "keep one of them"),
        ("workspace: writable", "2:12: unknown value `writable`", "known here: overlay, copy, mount, none"),
        ("tools: /opt", "2:8: expected a list", shape),
        ("[a]", "2:1: expected a mapping", shape),
        ("text", "2:1: expected a mapping", shape),
        ("<<: { env: {} }", "2:1: a merge key (`<<`)", "write the keys out, or put them in a bottle and extend it"),
        ("env: &e { A: b }\nenv: *e", "3:1: duplicate key `env`", "keep one of them: which of two would count is a guess"),
        ("env: { A: hunter2, A: b }", "2:20: duplicate key `A`", "keep one of them: which of two would count is a guess"),
        (
            "env: { A: 'hunter2 }",
            "2:11: not valid YAML: unclosed quote",
            "check indentation, quotes and brackets on this line and the one before",
        ),
    ] {
        assert_refused(yaml, cause, hint);
        assert!(!refused(yaml).contains("hunter2"));
    }
}

#[test]
fn a_route_that_could_be_read_in_two_ways_is_refused() {
    let host = |host: &str| format!("egress: {{ routes: [{{ host: '{host}' }}] }}");
    let hint = "write a name, \"*.suffix\" or an address, and `:port` if it is neither 443 nor 80; no scheme, no path";
    for (name, what) in [
        ("https://a.test", "a URL where a host is meant"),
        ("a.test/v1", "a URL where a host is meant"),
        ("a.test:0", "the port is not a number from 1 to 65535"),
        ("a.test:65536", "the port is not a number from 1 to 65535"),
        ("a.test:+1", "the port is not a number from 1 to 65535"),
        ("a.test:", "the port is not a number from 1 to 65535"),
        ("a.test:80:80", "the port is not a number from 1 to 65535"),
        ("", "the host is empty"),
        ("a.*", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("*a.test", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("grün.test", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("a..test", "the host has an empty label, or one that starts or ends with a hyphen"),
        ("127.1", "the host looks like an address that parsers read differently; write it as four decimal octets"),
        ("2001:db8::1", "the port is not a number from 1 to 65535"),
    ] {
        assert_refused(&host(name), &format!("2:28: {what}"), hint);
    }
    let two = "egress: { routes: [{ host: a.test }, { host: 'A.TEST.:8443' }] }";
    assert_refused(two, "2:46: a second route for `a.test`", "put all `matches` of a host in one route");
    for host in ["'*'", "'*.com'"] {
        let yaml = format!("egress: {{ routes: [{{ host: {host}, auth: {{ token_ref: A }} }}] }}");
        let what = format!("2:28: a credential for every host that `{}` names", host.trim_matches('\''));
        assert_refused(&yaml, &what, "name the host that the credential is for");
    }
    let inside = |inside: &str| format!("egress: {{ routes: [{{ host: a.test, {inside} }}] }}");
    for (yaml, cause, hint) in [
        ("matches: [{ methods: [get] }]", "58: not a method's name", "did you mean `GET`?"),
        ("matches: [{ methods: ['GET /'] }]", "58: not a method's name", "method names are upper case, as in GET"),
        (
            "matches: [{ methods: [CONNECT] }]",
            "58: CONNECT is no method of a match",
            "a tunnel is judged by its host; list the methods inside it",
        ),
        ("matches: [{ paths: [/v1/*] }]", "56: paths have no wildcards", "end the path with `/` to allow all below it"),
        ("matches: [{ paths: ['/v1?x'] }]", "56: a query in a path", "only the path is judged; remove the query"),
        ("matches: [{ paths: [v1/] }]", "56: the path must start with exactly one slash", "write it as in /repos/acme/ or /graphql"),
        ("matches: [{ paths: [/v1/../x] }]", "56: the path has a dot segment", "write it as in /repos/acme/ or /graphql"),
        (
            "auth: { token_ref: ghp_16C7e42F292c6912E7710c838347Ae178B4a }",
            "55: `token_ref` is not the name of a variable",
            "write the name of the environment variable that holds the token, as in GITHUB_TOKEN; never the token itself",
        ),
        ("auth: { token_ref: A, header: 'x y' }", "66: not a header's name", "write the name only, as in x-api-key"),
        (
            "auth: { token_ref: A, header: Host }",
            "66: no credential may go into `host`",
            "write the header that the origin reads it from, as in x-api-key",
        ),
        (
            "auth: { token_ref: A, header: x-bottle-injected }",
            "66: no credential may go into `x-bottle-injected`",
            "write the header that the origin reads it from, as in x-api-key",
        ),
        ("auth: { token_ref: A, scheme: 'a b' }", "66: not an authentication scheme", "write one word, as in Bearer, or none"),
        (
            "connect: 'localhost:80'",
            "45: not an address and a port",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '127.0.0.1'",
            "45: not an address and a port",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '127.0.0.1:0'",
            "45: an address that nothing can be dialled at",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '0.0.0.0:80'",
            "45: an address that nothing can be dialled at",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
    ] {
        assert_refused(&inside(yaml), &format!("2:{cause}"), hint);
    }
    for address in [
        "169.254.169.254:80",
        "169.254.170.2:80",
        "[::ffff:169.254.169.254]:80",
        "[fd00:ec2::254]:80",
        "[fd20:ce::254]:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "192.0.0.192:80",
        "[fe80::1]:80",
    ] {
        assert_refused(
            &inside(&format!("connect: '{address}'")),
            "2:45: the address of a metadata service",
            "no bottle reaches one; there is no exception",
        );
        let name = address.rsplit_once(':').unwrap().0;
        assert_refused(&host(name), "2:28: the address of a metadata service", "no bottle reaches one; there is no exception");
        let proxy = format!("egress: {{ proxy: {{ address: '{address}' }} }}");
        assert_refused(&proxy, "2:29: the address of a metadata service", "no bottle reaches one; there is no exception");
    }
}

#[test]
fn basic_and_bearer_are_known_in_any_case() {
    for (written, read) in [("basic", "Basic"), ("BEARER", "Bearer"), ("token", "token"), ("Token", "Token")] {
        let yaml = format!("egress: {{ routes: [{{ host: a.test, auth: {{ token_ref: A, scheme: {written} }} }}] }}");
        let auth = Auth { header: "authorization".into(), scheme: Some(read.into()), token_ref: "A".into() };
        assert_eq!(bottle(&yaml).unwrap().egress.routes[0].auth, Some(auth));
    }
}

#[test]
fn extends_finds_its_parents_and_no_circle() {
    let files = [
        AGENT,
        ("bottles/b", "---\nenv: {}\nextends: c\n---\n"),
        ("bottles/c", "---\nextends: d\n---\n"),
        ("bottles/d", "---\nextends: b\n---\n"),
    ];
    assert_eq!(
        library(&files).resolve("a").unwrap_err().to_string(),
        "error: bottle `d` cannot be used\ncause: /cfg/bottles/d.md:2:10: `extends` goes in a circle: b → c → d → b\nhint:  remove one `extends` of them"
    );
    assert_refused("extends: b", "2:10: `extends` goes in a circle: b → b", "remove one `extends` of them");
    assert_refused("extends: offlin", "2:10: there is no bottle `offlin`", "did you mean `offline`?");
    assert_refused("extends: ../../etc/passwd", "2:10: there is no bottle `../../etc/passwd`", "the bottles are: b, demo, dev, offline");
    assert_eq!(bottle("extends: offline").unwrap().origin, Origin::Home("/cfg/bottles/b.md".into()));
    let broken = [AGENT, ("bottles/b", "---\nextends: c\n---\n"), ("bottles/c", "---\nzzz: 1\n---\n")];
    assert!(library(&broken).resolve("a").unwrap_err().cause.starts_with("/cfg/bottles/c.md:2:1: unknown key `zzz`"));
}

// covers: X04
#[test]
fn a_hostile_agent_name_is_refused_before_anything_is_looked_up() {
    let long = "a".repeat(300);
    for name in ["", "../x", "a/b", "-rf", "--help", "a\nb", "a\0b", "\u{1b}[2J", ".", "..", "ä", "$(id)", "Implementer", long.as_str()] {
        let error = library(&[]).resolve(name).unwrap_err();
        assert_eq!(error.code, 2);
        assert_eq!(error.cause, "a name is a lower-case letter, then up to 40 lower-case letters, digits or hyphens");
        assert!(!error.what.contains(['\n', '\0', '\u{1b}']), "{:?}", error.what);
    }
    assert_eq!(
        library(&[]).resolve("implementor").unwrap_err().to_string(),
        "error: there is no agent `implementor`\ncause: neither your configuration, this repository nor bottle defines it\nhint:  did you mean `implementer`?"
    );
}

#[test]
fn a_repository_names_a_bottle_and_can_do_no_more() {
    let dev = ("bottles/dev", "---\nworkspace: overlay\n---\n");
    let agent = |yaml: &str| format!("---\nbottle: dev\nprovider: claude\n{yaml}\n---\nPrompt\n");
    for key in
        ["env: {}", "egress: {}", "rootfs: host", "tools: []", "limits: {}", "git: {}", "supervise: true", "extends: dev", "routes: []"]
    {
        let text = agent(key);
        let name = key.split(':').next().unwrap();
        let error = library_with(&[dev], &[("agents/evil", text.as_str())]).resolve("evil").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "error: agent `evil` cannot be used\ncause: /repo/.bottle/agents/evil.md:4:1: unknown key `{name}`\n\
                 hint:  `{name}` belongs in a bottle of your own configuration, which the agent names with `bottle:`"
            )
        );
    }
    for (provided, asked, fits) in [
        ("overlay", "mount", false),
        ("overlay", "copy", true),
        ("overlay", "none", true),
        ("none", "overlay", false),
        ("none", "copy", false),
        ("copy", "overlay", true),
        ("mount", "mount", true),
    ] {
        let text = agent(&format!("workspace: {asked}"));
        let bottle = format!("---\nworkspace: {provided}\n---\n");
        let result = library_with(&[("bottles/dev", &bottle)], &[("agents/evil", &text)]).resolve("evil");
        assert_eq!(result.is_ok(), fits, "{asked} of {provided}");
        assert!(library(&[("bottles/dev", &bottle), ("agents/own", &text)]).resolve("own").is_ok());
    }
    let text = agent("").replace("claude", "demo");
    assert_eq!(
        library_with(&[dev], &[("agents/evil", text.as_str())]).resolve("evil").unwrap_err().cause,
        "/repo/.bottle/agents/evil.md:3:11: the provider `demo` is for the built-in demonstration"
    );
    // Even if the reader of files let one through.
    let bottle = source("/repo/.bottle", "bottles/dev", "---\negress: { routes: [{ host: '*' }] }\n---\n");
    assert_ne!(Library::new(None, vec![bottle], vec![]).resolve("implementer").unwrap().bottle.egress.routes, vec![route("*")]);
}

#[test]
fn the_operators_definition_wins_then_the_repositorys_then_the_built_in() {
    let agent = |program: &str| format!("---\nbottle: offline\ncommand: [{program}]\n---\n");
    let (own, repo) = (agent("own"), agent("repo"));
    let file = ("agents/implementer", repo.as_str());
    let program = |library: &Library| library.resolve("implementer").unwrap().agent.provider;
    let both = library_with(&[("agents/implementer", own.as_str())], &[file]);
    assert_eq!(program(&both), Provider::Command(vec!["own".into()]));
    assert_eq!(
        both.origins(Kind::Agent, "implementer"),
        [&Origin::Home("/cfg/agents/implementer.md".into()), &Origin::Repo("/repo/.bottle/agents/implementer.md".into()), &Origin::BuiltIn]
    );
    let repository = library_with(&[], &[file]);
    assert_eq!(program(&repository), Provider::Command(vec!["repo".into()]));
    assert_eq!(
        repository.resolve("implementer").unwrap().notes(),
        [
            "this bottle has no routes: the agent reaches nothing",
            "the agent and its prompt come from this repository: /repo/.bottle/agents/implementer.md",
        ]
    );
    assert_eq!(program(&library(&[])), Provider::Claude);
}

#[test]
fn an_agent_manifest_is_as_strict_as_a_bottle() {
    for (yaml, cause, hint) in [
        ("provider: shell", "2:1: missing key `bottle`", "add `bottle: …`; `bottle schema` prints every key"),
        ("# bottle: offline", "1:1: missing key `bottle`", "add `bottle: …`; `bottle schema` prints every key"),
        (
            "bottle: offline",
            "2:9: the agent names no program",
            "write `provider: claude`, `provider: shell` or `command: [program, argument]`",
        ),
        ("bottle: offline\nprovider: shell\ncommand: [x]", "4:10: both `provider` and `command` name a program", "keep one of them"),
        ("bottle: ofline\nprovider: shell", "2:9: there is no bottle `ofline`", "did you mean `offline`?"),
        ("bottle: offline\nprovider: cluade", "3:11: unknown value `cluade`", "did you mean `claude`?"),
        ("bottle: offline\ncommand: []", "3:10: `command` names no program", "write `command: [program, argument]`"),
        ("bottle: offline\ncommand: ['']", "3:10: `command` names no program", "write `command: [program, argument]`"),
        ("bottle: offline\ncommand: [a, \"b\\0\"]", "3:14: a NUL in an argument", "no program can be given one"),
        (
            "bottle: offline\nprovider: shell\nmodel: opus",
            "4:1: unknown key `model`",
            "known here: bottle, provider, command, description, workspace",
        ),
        (
            "bottle: offline\nprovider: shell\ndescription: \"a\\nb\"",
            "4:14: the description is not one line of text",
            "move the rest below the front matter",
        ),
        (
            "bottle: offline\nbottle: dev\nprovider: shell",
            "3:1: duplicate key `bottle`",
            "keep one of them: which of two would count is a guess",
        ),
    ] {
        let text = format!("---\n{yaml}\n---\n");
        let error = library(&[("agents/a", text.as_str())]).resolve("a").unwrap_err();
        let expected = format!("error: agent `a` cannot be used\ncause: /cfg/agents/a.md:{cause}\nhint:  {hint}");
        assert_eq!(error.to_string(), expected, "{yaml}");
    }
}

#[test]
fn what_has_no_sidecar_yet_is_refused() {
    assert_refused("supervise: true", "2:12: `supervise`: this version cannot ask a person yet", "remove the key");
    assert!(bottle("supervise: false").is_ok());
}

// covers: G08
#[test]
fn a_repository_behind_the_gate_is_checked_word_by_word() {
    let ssh = "upstream: 'ssh://git@github.com/acme/app.git', identity: ~/.ssh/id";
    let key = "host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl'";
    let good = [
        format!("name: app, {ssh}, {key}, push: {{ allow: [refs/heads/agent/*], force: false, delete: false }}"),
        format!("name: app, {ssh}, {key}, push:"),
        "name: my.app_2, upstream: 'https://example.com:8443/acme/app'".to_owned(),
    ];
    for repo in good {
        assert_eq!(bottle(&format!("git: {{ repos: [{{ {repo} }}] }}")).unwrap().git.len(), 1, "{repo}");
    }
    for yaml in ["git:", "git: { repos: [] }", "git: { repos: }"] {
        assert_eq!(bottle(yaml).unwrap().git, [], "{yaml}");
    }
    let all = "name: app, upstream: 'https://a.test/x', auth: { scheme: basic, token_ref: T }, connect: '127.0.0.1:1', \
               push: { allow: [refs/heads/a/*], create: false, update: false, force: true, delete: true, options: true, size: 1MiB, objects: 7 }";
    let made = bottle(&format!("git: {{ author: {{ name: Ann, email: a@b.test }}, repos: [{{ {all} }}] }}")).unwrap();
    assert_eq!(made.author.to_string(), "Ann <a@b.test>");
    let policy = PushPolicy {
        allow: vec!["refs/heads/a/*".into()],
        create: false,
        update: false,
        force: true,
        delete: true,
        options: true,
        committer: None,
        pack_bytes: 1 << 20,
        objects: 7,
    };
    assert_eq!(made.git[0].push, policy);
    assert_eq!(bottle(&format!("git: {{ repos: [{{ name: app, {ssh}, {key}, push: }}] }}")).unwrap().git[0].push, PushPolicy::default());
    let url = "write ssh://git@host/path.git or https://host/path.git";
    for (repo, what, hint) in [
        (format!("name: app, {ssh}"), "an SSH upstream without `host_key`", "add the server's public key: nothing is trusted on first use"),
        (
            format!("name: app, upstream: 'ssh://git@a.test/x', {key}"),
            "an SSH upstream without `identity`",
            "add the path of the private key",
        ),
        (
            format!("name: ../app, {ssh}, {key}"),
            "not a repository's name",
            "letters, digits, `-`, `_` and `.`, at most 64, without `.git` at the end",
        ),
        (
            format!("name: app, upstream: 'https://a.test/x', {key}"),
            "a key for an upstream that is not SSH",
            "remove it, or write the upstream as ssh://…",
        ),
        (
            format!("name: app, {ssh}, host_key: AAAA"),
            "not an SSH public key",
            "write `ssh-ed25519 AAAA…`, as the server's operator publishes it",
        ),
        (
            format!("name: app, {ssh}, {key}, push: {{ allow: [main] }}"),
            "not a full ref name with at most one star",
            "write it in full: refs/heads/agent/*",
        ),
        (
            format!("name: app, {ssh}, {key}, push: {{ allow: [refs/heads/*/*] }}"),
            "not a full ref name with at most one star",
            "write it in full: refs/heads/agent/*",
        ),
        ("name: app, upstream: 'git@github.com:acme/app.git'".into(), "not an ssh:// or https:// URL", url),
        ("name: app, upstream: 'file:///etc'".into(), "not an ssh:// or https:// URL", url),
        ("name: app, upstream: 'https://u:p@a.test/x'".into(), "a password in the URL", url),
        ("name: app, upstream: 'ssh://-oProxyCommand=x@a.test/x'".into(), "not a user's name in the URL", url),
        ("name: app, upstream: 'https://a.test/../x'".into(), "not a repository's path in the URL", url),
        ("name: app, upstream: 'https://127.1/x'".into(), "not a host and port in the URL", url),
        ("name: app, upstream: 'ext::sh -c x'".into(), "not an ssh:// or https:// URL", url),
        (
            format!("name: app, {ssh}, {key}, auth: {{ token_ref: T }}"),
            "a token for an upstream over SSH",
            "remove it, or write the upstream as https://…",
        ),
    ] {
        let error = refused(&format!("git: {{ repos: [{{ {repo} }}] }}"));
        assert!(error.contains(&format!(": {what}\nhint:  {hint}")), "{repo}\n{error}");
    }
}

#[test]
fn the_preflight_hears_what_an_operator_should_know() {
    let resolved = library(&[
        ("agents/a", "---\nbottle: b\nprovider: shell\nworkspace: mount\n---\n"),
        (
            "bottles/b",
            "---\nenv: { ASKED: ?token, GH_TOKEN: x, PLAIN: x, KEY: '${AWS_SECRET_ACCESS_KEY}', EDITOR: '${EDITOR}' }\n\
             egress: { routes: [{ host: '*' }, { host: a.test, auth: { token_ref: A }, connect: '127.0.0.1:1' },\n             \
             { host: '*.b.test', matches: [{ paths: [/] }], auth: { token_ref: B } }] }\n---\n",
        ),
    ])
    .resolve("a")
    .unwrap();
    assert_eq!(
        resolved.notes(),
        [
            "the agent writes to your working directory itself",
            "a route names `*`: the agent may reach every public host on port 443 and 80",
            "the agent may do all that the token A allows at a.test: its route has no `matches`",
            "a.test is dialled at 127.0.0.1:1, whatever its name resolves to",
            "the token B goes to every host that *.b.test names",
            "the agent sees the value of ASKED; a route's `token_ref` would keep it out of the bottle",
            "the agent sees the value of GH_TOKEN; a route's `token_ref` would keep it out of the bottle",
            "the agent sees the value of KEY; a route's `token_ref` would keep it out of the bottle",
        ]
    );
}

#[test]
fn the_starter_library_resolves_with_credentials_for_the_model_alone() {
    let library = Library::new(None, vec![], vec![]);
    assert_eq!(library.problems(), vec![]);
    let agents: Vec<(&str, String, WorkspaceMode)> = library
        .names(Kind::Agent)
        .map(|name| {
            let resolved = library.resolve(name).unwrap();
            assert!(!resolved.agent.description.is_empty() && !resolved.agent.prompt.is_empty(), "{name}");
            (name, resolved.bottle.name.clone(), resolved.workspace())
        })
        .collect();
    assert_eq!(
        agents,
        [
            ("demo", "demo".to_owned(), WorkspaceMode::None),
            ("implementer", "dev".to_owned(), WorkspaceMode::Overlay),
            ("reviewer", "dev".to_owned(), WorkspaceMode::Overlay),
            ("shell", "offline".to_owned(), WorkspaceMode::Overlay),
        ]
    );
    let dev = library.resolve("implementer").unwrap().bottle;
    for route in &dev.egress.routes {
        let methods: Vec<&str> = route.matches.iter().flat_map(|m| &m.methods).map(String::as_str).collect();
        if route.host.to_string() == "api.anthropic.com" {
            assert_eq!(
                (methods, route.auth.as_ref().map(|a| a.token_ref.as_str())),
                (vec!["GET", "HEAD", "POST"], Some("CLAUDE_CODE_OAUTH_TOKEN"))
            );
        } else {
            assert_eq!((methods, &route.auth, &route.connect), (vec!["GET", "HEAD"], &None, &None), "{}", route.host);
        }
    }
    assert_eq!(library.resolve("shell").unwrap().bottle.egress, Egress::default());
}

#[test]
fn no_manifest_sets_a_variable_that_leads_to_the_proxy_or_names_the_authority() {
    let proxies = ["HTTP_PROXY", "https_proxy", "all_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY", "BOTTLE_ID"];
    for name in bottle::plan::agent::CA_VARIABLES.into_iter().chain(proxies) {
        let hint = "remove it: bottle sets what the agent needs to reach its proxy and to trust it";
        assert_refused(&format!("env: {{ {name}: x }}"), &format!("2:{}: the variable `{name}` is bottle's own", name.len() + 10), hint);
    }
}

#[test]
fn a_path_in_a_built_in_bottle_has_no_directory_to_start_from() {
    assert_eq!(bottle("rootfs: { image: a.tar }").unwrap().rootfs, Rootfs::Image(PathBuf::from("/cfg/bottles/a.tar")));
    let what = "the agent must not see this directory: it holds, or lies in, /home/u/.ssh";
    assert_refused("tools: [~/.ssh/keys]", &format!("2:9: {what}"), "name the tool's own directory");
}
