//! The compose project of every kind of bottle: whole files against `tests/cases/compose`, and what must hold for any of them.
//!
//! `UPDATE=1 cargo test -p bottle --test it compose` writes the files anew; read the difference before you keep it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bottle::plan::agent::AGENT;
use bottle::plan::agent::Invocation;
use bottle::plan::{Network, Plan};
use bottle::render::compose::{Bind, Closed, Facts, Subnet, Tree, Workplace, render};
use serde_json::{Value, json};

use crate::plan::{EGRESS, WORKSPACES, made};

fn facts(plan: &Plan, workspace: &str, closed: Closed) -> Facts {
    let components = || std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.component.as_str())).map(str::to_owned);
    let state = PathBuf::from("/home/ada/.local/state/bottle/web/workspace");
    Facts {
        project: "bottle-web-0a1b2c3d".into(),
        owner: "0a1b2c3d4e5f6071".into(),
        runtime: "/run/user/1000/bottle/web".into(),
        users: components().map(|component| (component, (1000, 1000))).collect(),
        images: components().map(|component| (component.clone(), format!("sha256:{component}"))).collect(),
        closed,
        subnets: [Subnet(Ipv4Addr::new(10, 208, 0, 0)), Subnet(Ipv4Addr::new(10, 208, 0, 16))],
        trees: vec![Tree { source: "/usr".into(), target: "/usr".into() }],
        empty: "/run/user/1000/bottle/web/empty".into(),
        agent: vec![Bind::read_only("/run/user/1000/bottle/web/agent/etc/hosts", "/etc/hosts")],
        resolution: vec![Bind::read_only("/run/user/1000/bottle/web/resolution/hosts", "/etc/hosts")],
        workplace: match workspace {
            "overlay" => Workplace::Overlay { lower: "/home/ada/web".into(), changes: state },
            "copy" => Workplace::Directory(state.join("copy")),
            "mount" => Workplace::Directory("/home/ada/web".into()),
            _ => Workplace::Empty,
        },
        git: None,
    }
}

fn every() -> impl Iterator<Item = (String, Plan, Facts)> {
    let kinds = EGRESS.iter().flat_map(|egress| WORKSPACES.map(|workspace| (egress, workspace)));
    kinds.map(|((egress, text), workspace)| {
        let plan = made(text, workspace, &Invocation::default(), true);
        let closed = if workspace == "copy" { Closed::WithoutAddress } else { Closed::Isolated };
        let facts = facts(&plan, workspace, closed);
        (format!("{egress}-{workspace}.yml"), plan, facts)
    })
}

#[test]
fn a_project_of_every_kind_of_bottle_is_as_recorded() {
    for (name, plan, facts) in every() {
        let text = render(&plan, &facts);
        assert_eq!(text, render(&plan, &facts));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/compose").join(&name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert!(text == fs::read_to_string(&file).unwrap_or_default(), "{name} is not as recorded; UPDATE=1 records it:\n{text}");
    }
}

// covers: C12 C13
#[test]
fn no_image_decides_what_a_service_is_and_no_service_has_a_privilege() {
    for (name, plan, facts) in every() {
        let project: Value = serde_json::from_str(&render(&plan, &facts)).unwrap();
        let services = project["services"].as_object().unwrap();
        assert_eq!(services.len(), plan.sidecars.len() + 1);
        for (component, service) in services {
            for (key, value) in [
                ("read_only", json!(true)),
                ("cap_drop", json!(["ALL"])),
                ("security_opt", json!(["no-new-privileges:true"])),
                ("restart", json!("no")),
                ("user", json!("1000:1000")),
                ("working_dir", json!("/")),
                ("healthcheck", json!({"disable": true})),
                ("entrypoint", json!(["/run/bottle/init/bottle-init", "join", "/run/bottle/join/socket"])),
                ("command", json!([])),
            ] {
                assert_eq!(service[key], value, "{name}: {component}: {key}");
            }
            assert!(service["pids_limit"].as_u64() > Some(0) && service["mem_limit"].as_u64() > Some(0), "{name}: {component}");
            assert_eq!((&service["environment"], &service["env_file"], &service["privileged"]), (&Value::Null, &Value::Null, &Value::Null));
            for volume in service["volumes"].as_array().unwrap() {
                assert!(!volume["source"].as_str().unwrap().contains("docker.sock"), "{name}: {component}");
            }
        }
    }
}

// covers: S03
#[test]
fn a_secret_is_a_file_in_memory_for_the_one_service_that_uses_it() {
    for (name, plan, facts) in every() {
        let project: Value = serde_json::from_str(&render(&plan, &facts)).unwrap();
        for (component, service) in project["services"].as_object().unwrap() {
            let secret = |volume: &&Value| volume["target"] == "/run/bottle/secrets";
            let found: Vec<&Value> = service["volumes"].as_array().unwrap().iter().filter(secret).collect();
            let uses = plan.sidecars.iter().any(|s| s.component == *component && !s.secrets.is_empty());
            assert_eq!(found.len(), usize::from(uses), "{name}: {component}");
            assert!(found.iter().all(|volume| volume["read_only"] == true && volume["source"].as_str().unwrap().starts_with("/run/user/")));
        }
    }
}

#[test]
fn only_what_may_dial_out_is_on_a_network_that_leads_out() {
    for (name, plan, facts) in every() {
        let project: Value = serde_json::from_str(&render(&plan, &facts)).unwrap();
        let out: BTreeMap<&str, bool> = plan.sidecars.iter().map(|s| (s.component.as_str(), s.network == Network::Host)).collect();
        for (component, service) in project["services"].as_object().unwrap() {
            let leads_out = service["networks"].get("egress").is_some();
            assert_eq!(leads_out, out.get(component.as_str()).copied().unwrap_or(false), "{name}: {component}");
        }
        assert_eq!(
            (&project["networks"]["internal"]["internal"], &project["networks"]["egress"]["internal"]),
            (&json!(true), &json!(false))
        );
    }
}

// covers: C14
#[test]
fn a_path_arrives_as_it_is_whatever_compose_or_yaml_would_make_of_it() {
    let plan = made(EGRESS[1].1, "mount", &Invocation::default(), false);
    for path in ["/w/$HOME", "/w/${X:-y}", "/w/a:b:ro", "/w/#c", "/w/no", "/w/\"q\"", "/w/a\nb", "/w/ü", "/w/$$"] {
        let facts = Facts { workplace: Workplace::Directory(path.into()), ..facts(&plan, "mount", Closed::Isolated) };
        let project: Value = serde_json::from_str(&render(&plan, &facts)).unwrap();
        let volumes = project["services"][AGENT]["volumes"].as_array().unwrap();
        let source = volumes.iter().find(|volume| volume["target"] == "/workspace").unwrap()["source"].as_str().unwrap();
        assert_eq!(source.replace("$$", "$"), path);
        assert_eq!(source.matches('$').count(), 2 * path.matches('$').count());
    }
}
