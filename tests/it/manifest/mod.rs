//! Manifests: what they mean, and which of several counts.

mod commands;
mod files;
mod fuzz;
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bottle::manifest::Source;
use bottle::manifest::model::*;
use bottle::manifest::{Kind, Library};
use bottle_contract::route::{Match, OnSecret, PathRule};

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
    let kind = match directory {
        "agents" => Kind::Agent,
        "bottles" => Kind::Bottle,
        _ => Kind::Provider,
    };
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

pub(crate) fn refused(yaml: &str) -> String {
    match bottle(yaml) {
        Ok(bottle) => panic!("accepted: {yaml}\n{bottle:?}"),
        Err(error) => error,
    }
}

/// What is refused in a bottle, as `line:column: what` and the hint.
#[track_caller]
pub(crate) fn assert_refused(yaml: &str, cause: &str, hint: &str) {
    let expected = format!("error: bottle `b` cannot be used\ncause: /cfg/bottles/b.md:{cause}\nhint:  {hint}");
    assert_eq!(refused(yaml), expected, "{yaml}");
}

pub(crate) fn route(host: &str) -> Route {
    let from = RouteOrigin { bottle: "b".into(), preset: None };
    Route {
        host: host.parse().unwrap(),
        ports: vec![443, 80],
        matches: vec![],
        auth: None,
        connect: None,
        ask: false,
        on_secret: None,
        from,
    }
}

/// The route as another bottle's.
fn of(bottle: &str, route: Route) -> Route {
    Route { from: RouteOrigin { bottle: bottle.into(), preset: None }, ..route }
}

pub(crate) fn text(text: &str) -> EnvValue {
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
      on_secret: redact
    - host: "[2001:DB8::1]:8080"
      on_secret: refuse
  trust: [ca.pem, ~/x.pem]
  proxy: { address: "192.0.2.7:3128", ca: /etc/proxy.pem }
scan: { rules: [gitleaks.toml, ~/more.toml], answers: true, allow: ["ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"] }
limits: { memory: 4GiB, scratch: 20GiB, pids: 512, time: 2h }
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
        auth: Some(Auth {
            header: header.into(),
            scheme: scheme.map(str::to_owned),
            token_ref: token_ref.into(),
            source: Default::default(),
        }),
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
            program: AgentProgram::Command(vec!["codex".into(), "--yolo".into()]),
            model: None,
            workspace: Some(WorkspaceMode::Copy),
            home: Home::default(),
            skills: vec![],
            mcp: BTreeMap::new(),
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
                    Route { on_secret: Some(OnSecret::Redact), ..route("*.pythonhosted.org") },
                    Route { ports: vec![8080], on_secret: Some(OnSecret::Refuse), ..route("[2001:db8::1]") },
                ],
                ask: false,
                trust: vec!["/cfg/bottles/ca.pem".into(), "/home/u/x.pem".into()],
                parent: Some(Parent { address: "192.0.2.7:3128".parse().unwrap(), ca: Some("/etc/proxy.pem".into()) }),
                repeated: vec![],
            },
            git: vec![],
            author: Author::default(),
            supervise: None,
            scan: Scan {
                rules: vec!["/cfg/bottles/gitleaks.toml".into(), "/home/u/more.toml".into()],
                answers: true,
                allow: ["ab".repeat(32)].into(),
            },
            limits: Limits { memory: Some(4 << 30), scratch: Some(20 << 30), pids: Some(512), time: Some(Duration::from_secs(7200)) },
            rootfs: Rootfs::Image("/home/u/images/a.tar".into()),
            tools: vec!["/home/u/.local/share/mise".into(), "/opt/node".into()],
            toolchains: true,
            workspace: WorkspaceMode::None,
            backend: Default::default(),
            origin: Origin::Home("/cfg/bottles/b.md".into()),
        },
    };
    assert_eq!(resolved, expected);
    assert_eq!(resolved.workspace(), WorkspaceMode::Copy);
}

#[test]
fn a_child_adds_variables_and_routes_and_replaces_other_lists() {
    let parent = "---\nenv: { A: parent, B: parent }\negress:\n  routes: [{ host: p.test }]\n  trust: [p.pem]\nscan: { rules: [p.toml], answers: true }\nlimits: { memory: 1GiB, pids: 10 }\n\
                  tools: [/opt/p]\nrootfs: { image: p.tar }\nworkspace: copy\n---\n";
    let middle = "---\nextends: parent\nenv: { B: middle, C: middle }\nscan: { answers: false }\nlimits: { pids: 20 }\n---\n";
    let child =
        "---\nextends: middle\nenv: { C: child }\negress:\n  routes: [{ host: c.test }]\ntools: []\nrootfs: host\nworkspace: none\n---\n";
    let files = [AGENT, ("bottles/parent", parent), ("bottles/middle", middle), ("bottles/b", child)];
    let expected = Bottle {
        name: "b".into(),
        env: BTreeMap::from([("A".into(), text("parent")), ("B".into(), text("middle")), ("C".into(), text("child"))]),
        egress: Egress {
            routes: vec![of("parent", route("p.test")), route("c.test")],
            ask: false,
            trust: vec!["/cfg/bottles/p.pem".into()],
            parent: None,
            repeated: vec![],
        },
        git: vec![],
        author: Author::default(),
        supervise: None,
        scan: Scan { rules: vec!["/cfg/bottles/p.toml".into()], answers: false, allow: Default::default() },
        limits: Limits { memory: Some(1 << 30), scratch: None, pids: Some(20), time: None },
        rootfs: Rootfs::Host,
        tools: vec![],
        toolchains: true,
        workspace: WorkspaceMode::None,
        backend: Default::default(),
        origin: Origin::Home("/cfg/bottles/b.md".into()),
    };
    assert_eq!(library(&files).resolve("a").unwrap().bottle, expected);
}

// covers: W22
#[test]
fn a_childs_route_replaces_the_parents_of_the_same_host_whole_and_replace_replaces_all() {
    let parent = (
        "bottles/p",
        "---\negress: { presets: [pypi], routes: [{ host: a.test, matches: [{ methods: [GET] }] }, { host: b.test }] }\n---\n",
    );
    let reach = |yaml: &str| {
        let text = format!("---\nextends: p\n{yaml}\n---\n");
        let resolved = library(&[AGENT, parent, ("bottles/b", text.as_str())]).resolve("a").unwrap();
        let row = |route: &Route| format!("{} of {}{}", route.host, route.from, if route.matches.is_empty() { "" } else { ", limited" });
        (resolved.bottle.egress.routes.iter().map(row).collect::<Vec<_>>(), resolved.notes())
    };
    let pypi = ["pypi.org of p, preset pypi, limited", "files.pythonhosted.org of p, preset pypi, limited"];
    assert_eq!(reach("env: {}").0, [pypi[0], pypi[1], "a.test of p, limited", "b.test of p"]);
    assert_eq!(reach("egress: { trust: [x.pem] }").0.len(), 4);
    assert_eq!(
        reach("egress: { presets: [npm], routes: [{ host: a.test }, { host: pypi.org }] }").0,
        [
            "pypi.org of b",
            pypi[1],
            "a.test of b",
            "b.test of p",
            "registry.npmjs.org of b, preset npm, limited",
            "registry.yarnpkg.com of b, preset npm, limited",
            "nodejs.org of b, preset npm, limited",
        ]
    );
    assert_eq!(reach("egress: { replace: true, routes: [{ host: c.test }] }").0, ["c.test of b"]);
    assert_eq!(reach("egress: { replace: true }").0, Vec::<String>::new());
    assert_eq!(reach("egress: { presets: [] }").0, Vec::<String>::new());
    let (_, notes) = reach("egress: { routes: [{ host: b.test }] }");
    assert_eq!(
        notes,
        ["`b` repeats routes of `p`: routes add to the parent's now, and `egress: { replace: true }` keeps only the child's"]
    );
    let known = "the presets are: agent, crates, debian, github, gitlab, go, huggingface, maven, npm, pypi, rubygems";
    assert_refused("egress: { presets: [crate, x] }", "2:21: there is no preset `crate`", "did you mean `crates`?");
    assert_refused("egress: { presets: [zzzzzzz] }", "2:21: there is no preset `zzzzzzz`", known);
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

#[test]
fn basic_and_bearer_are_known_in_any_case() {
    for (written, read) in [("basic", "Basic"), ("BEARER", "Bearer"), ("token", "token"), ("Token", "Token")] {
        let yaml = format!("egress: {{ routes: [{{ host: a.test, auth: {{ token_ref: A, scheme: {written} }} }}] }}");
        let auth = Auth { header: "authorization".into(), scheme: Some(read.into()), token_ref: "A".into(), source: Default::default() };
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
        "error: bottle `d` cannot be used\ncause: /cfg/bottles/d.md:2:10: `extends` goes in a circle: b → c → d → b\nhint:  remove one of these `extends`"
    );
    assert_refused("extends: b", "2:10: `extends` goes in a circle: b → b", "remove one of these `extends`");
    assert_refused("extends: offlin", "2:10: there is no bottle `offlin`", "did you mean `offline`?");
    assert_refused("extends: ../../etc/passwd", "2:10: there is no bottle `../../etc/passwd`", "the bottles are: b, dev, offline");
    assert_eq!(bottle("extends: offline").unwrap().origin, Origin::Home("/cfg/bottles/b.md".into()));
    let broken = [AGENT, ("bottles/b", "---\nextends: c\n---\n"), ("bottles/c", "---\nzzz: 1\n---\n")];
    assert!(library(&broken).resolve("a").unwrap_err().cause.starts_with("/cfg/bottles/c.md:2:1: unknown key `zzz`"));
}

#[test]
fn a_repository_names_a_bottle_and_can_do_no_more() {
    let dev = ("bottles/dev", "---\nworkspace: overlay\n---\n");
    let agent = |yaml: &str| format!("---\nbottle: dev\nprovider: claude\n{yaml}\n---\nPrompt\n");
    for key in [
        "env: {}",
        "egress: {}",
        "rootfs: host",
        "tools: []",
        "limits: {}",
        "git: {}",
        "supervise: true",
        "extends: dev",
        "routes: []",
        "presets: []",
        "scan: {}",
        "backend: embedded",
        "hide: []",
        "auth: {}",
        "token_ref: A",
        "token_file: ~/.ssh/id",
        "token_command: [cat, /etc/shadow]",
        "on_secret: redact",
        "allow_addresses: [10.0.0.1]",
        "audit: {}",
    ] {
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
    // Even if the reader of files let one through.
    let bottle = source("/repo/.bottle", "bottles/dev", "---\negress: { routes: [{ host: '*' }] }\n---\n");
    assert_ne!(Library::new(None, vec![bottle], vec![]).resolve("implementer").unwrap().bottle.egress.routes, vec![route("*")]);
}

#[test]
fn the_operators_definition_wins_then_the_repositorys_then_the_built_in() {
    let agent = |program: &str| format!("---\nbottle: offline\ncommand: [{program}]\n---\n");
    let (own, repo) = (agent("own"), agent("repo"));
    let file = ("agents/implementer", repo.as_str());
    let program = |library: &Library| library.resolve("implementer").unwrap().agent.program;
    let both = library_with(&[("agents/implementer", own.as_str())], &[file]);
    assert_eq!(program(&both), AgentProgram::Command(vec!["own".into()]));
    assert_eq!(
        both.origins(Kind::Agent, "implementer"),
        [&Origin::Home("/cfg/agents/implementer.md".into()), &Origin::Repo("/repo/.bottle/agents/implementer.md".into()), &Origin::BuiltIn]
    );
    let repository = library_with(&[], &[file]);
    assert_eq!(program(&repository), AgentProgram::Command(vec!["repo".into()]));
    assert_eq!(
        repository.resolve("implementer").unwrap().notes(),
        [
            "this bottle has no routes: the agent reaches nothing",
            "the agent and its prompt come from this repository: /repo/.bottle/agents/implementer.md",
        ]
    );
    assert_eq!(program(&library(&[])).provider().map(|provider| provider.name.clone()), Some("claude".into()));
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
            assert!(!resolved.agent.description.is_empty(), "{name}");
            (name, resolved.bottle.name.clone(), resolved.workspace())
        })
        .collect();
    assert_eq!(
        agents,
        [
            ("aider", "dev".to_owned(), WorkspaceMode::Overlay),
            ("claude", "dev".to_owned(), WorkspaceMode::Overlay),
            ("codex", "dev".to_owned(), WorkspaceMode::Overlay),
            ("copilot", "dev".to_owned(), WorkspaceMode::Overlay),
            ("gemini", "dev".to_owned(), WorkspaceMode::Overlay),
            ("implementer", "dev".to_owned(), WorkspaceMode::Overlay),
            ("opencode", "dev".to_owned(), WorkspaceMode::Overlay),
            ("reviewer", "dev".to_owned(), WorkspaceMode::Overlay),
            ("shell", "offline".to_owned(), WorkspaceMode::Overlay),
        ]
    );
    let dev = library.resolve("implementer").unwrap().with_credentials(&|_| false).bottle;
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
    let what = "the agent must not see this directory: it contains, or is in, /home/u/.ssh";
    assert_refused("tools: [~/.ssh/keys]", &format!("2:9: {what}"), "name the tool's own directory");
}
