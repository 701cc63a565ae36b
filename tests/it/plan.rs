//! The plan as text and as data, for every kind of bottle: whole values against files in `tests/cases/plan`.
//!
//! `UPDATE=1 cargo test -p bottle --test it plan` writes the files anew; read the difference before you keep it.

use std::fs;
use std::path::{Path, PathBuf};

use bottle::manifest;
use bottle::plan::agent::Invocation;
use bottle::plan::build::Facts;
use bottle::plan::workspace::Place;
use bottle::plan::{Plan, plan};
use bottle::render::preflight;

/// No routes, one open route, routes with everything that a route can have, and repositories without routes.
pub(crate) const EGRESS: [(&str, &str); 4] = [
    ("closed", "egress:\n  routes: []\n"),
    ("open", "egress:\n  routes:\n    - host: \"*.pythonhosted.org\"\n"),
    (
        "tokens",
        "egress:
  trust: [/etc/corp/root.pem]
  proxy: { address: 127.0.0.1:3128, ca: /etc/corp/proxy.pem }
  routes:
    - host: api.github.com
      matches: [{ methods: [GET], paths: [/repos/acme/, /user] }]
      auth: { scheme: token, token_ref: GITHUB_TOKEN }
    - host: uploads.github.com
      auth: { header: x-api-key, token_ref: OTHER_TOKEN }
    - host: again.github.com
      auth: { token_ref: GITHUB_TOKEN }
    - host: git.corp.example:8443
      connect: 10.0.0.7:443
",
    ),
    (
        "git",
        "egress:
  routes: []
git:
  author: { name: Ada's agent, email: agent@ada.example }
  repos:
    - name: app
      upstream: ssh://git@github.com/acme/app.git
      identity: ~/.ssh/id_app
      host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
      push: { allow: [refs/heads/agent/*], delete: true }
    - name: docs
      upstream: https://git.corp.example:8443/acme/docs
      connect: 10.0.0.7:443
      auth: { scheme: Basic, token_ref: GIT_TOKEN }
",
    ),
];
pub(crate) const WORKSPACES: [&str; 4] = ["overlay", "copy", "mount", "none"];

pub(crate) fn made(egress: &str, workspace: &str, run: &Invocation, terminal: bool) -> Plan {
    let config = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "bottles/web.md",
            format!(
                "---\n{egress}workspace: {workspace}\nenv:\n  EDITOR: ${{EDITOR}}\n  LEVEL: debug\nlimits: {{ pids: 64, time: 2h }}\n---\n"
            ),
        ),
        ("agents/web.md", "---\nbottle: web\nprovider: claude\n---\nBe brief.\n".to_owned()),
    ] {
        let file = config.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let library = manifest::load(config.path(), Some(Path::new("/home/ada")), None).unwrap();
    let facts = Facts {
        place: Place::plain("/home/ada/web"),
        terminal,
        term: Some("xterm-256color".into()),
        programs: Vec::new(),
        toolchains: Default::default(),
        rules: Vec::new(),
        home: Default::default(),
        has_local_names: true,
    };
    plan(&library.resolve("web").unwrap(), "web", run, &facts)
}

fn compare(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/plan").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(text == expected, "{name} is not as recorded; UPDATE=1 records it:\n{text}");
}

#[test]
fn a_plan_of_every_kind_of_bottle_reads_as_recorded() {
    for (egress, text) in EGRESS {
        for workspace in WORKSPACES {
            let plan = made(text, workspace, &Invocation::default(), true);
            compare(&format!("{egress}-{workspace}.txt"), &preflight::dry_run(&plan, "embedded", &[]));
        }
    }
}

#[test]
fn a_plan_as_data_is_as_recorded() {
    for (egress, text) in EGRESS {
        let run = Invocation { prompt: Some("fix it".into()), headless: true, ..Invocation::default() };
        let plan = made(text, "overlay", &run, false);
        compare(&format!("{egress}.json"), &format!("{}\n", serde_json::to_string_pretty(&plan).unwrap()));
    }
}

// covers: Y08
#[test]
fn every_tool_is_told_of_the_proxy_and_of_the_authority() {
    let plan = made(EGRESS[1].1, "none", &Invocation::default(), false);
    let literal = |name: &str| serde_json::to_value(&plan.agent.env[name]).unwrap()["template"][0]["text"].as_str().unwrap().to_owned();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        assert_eq!(literal(name), "http://egress:9099", "{name}");
    }
    for name in ["NO_PROXY", "no_proxy"] {
        assert_eq!(literal(name), "localhost,.localhost,127.0.0.1,127.0.0.0/8,::1,0.0.0.0,web", "{name}");
    }
    for name in bottle::plan::agent::CA_VARIABLES {
        assert_eq!(literal(name), bottle::plan::agent::CA_BUNDLE, "{name}");
    }
}

#[test]
fn the_same_wish_gives_the_same_plan() {
    let twice = [0, 1].map(|_| made(EGRESS[2].1, "overlay", &Invocation::default(), true));
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn one_secret_has_one_slot_however_often_it_is_used() {
    let plan = made(EGRESS[2].1, "none", &Invocation::default(), false);
    let slots: Vec<_> = plan.sidecars.iter().flat_map(|s| &s.secrets).map(|s| (s.slot.as_str(), s.token_ref.as_str())).collect();
    assert_eq!(slots, [("EGRESS_TOKEN_0", "GITHUB_TOKEN"), ("EGRESS_TOKEN_1", "OTHER_TOKEN")]);
}
