//! What the operator's agents need on this host: their programs and the variables with their tokens. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Need};
use crate::manifest::model::{EnvValue, Provider, Resolved, Rootfs, TemplatePart};
use crate::manifest::{Kind, Library};
use crate::plan::agent;

/// Queries to the host.
pub struct Host<'a> {
    /// The path of a program, if it exists.
    pub program: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a variable is set.
    pub is_set: &'a dyn Fn(&str) -> bool,
}

/// A finding for each program and variable that an agent needs, and for each unusable manifest.
pub fn agents(library: &Library, host: &Host<'_>) -> Vec<Finding> {
    let mut programs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut variables: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in library.names(Kind::Agent) {
        let Ok(resolved) = library.resolve(name) else { continue };
        if let Some(program) = program(&resolved) {
            programs.entry(program).or_default().push(name);
        }
        for variable in needed(&resolved) {
            variables.entry(variable).or_default().push(name);
        }
    }
    let mut findings: Vec<Finding> =
        library.problems().into_iter().map(|problem| broken(problem.what, problem.cause.into(), problem.hint)).collect();
    findings.extend(programs.into_iter().map(|(program, users)| {
        let result = (host.program)(&program).ok_or_else(|| "no directory of PATH has it".to_owned());
        finding(&program, &users, result, install(&program))
    }));
    findings.extend(variables.into_iter().map(|(variable, users)| {
        let result = if (host.is_set)(&variable) { Ok(format!("set, for {}", these(&users))) } else { Err("not set".to_owned()) };
        let fix = format!("export {variable}=… before `bottle start`");
        finding(&variable, &users, result, fix)
    }));
    findings
}

/// A manifest, or all of them, cannot be used.
pub fn broken(what: String, cause: String, fix: String) -> Finding {
    let need = Need { name: "manifest".into(), lost: format!("what it defines ({what})").into(), fix: fix.into(), required: false };
    Finding { need, result: Err(cause) }
}

fn finding(name: &str, users: &[&str], result: Result<String, String>, fix: String) -> Finding {
    Finding { need: Need { name: name.to_owned().into(), lost: these(users).into(), fix: fix.into(), required: false }, result }
}

fn these(users: &[&str]) -> String {
    format!("agent{} {}", if users.len() > 1 { "s" } else { "" }, users.join(", "))
}

fn install(program: &str) -> String {
    match program {
        "claude" => "npm install -g @anthropic-ai/claude-code".to_owned(),
        other => format!("install `{other}` where PATH finds it"),
    }
}

/// The program that is looked up on the host. An image brings its own.
fn program(resolved: &Resolved) -> Option<String> {
    if resolved.bottle.rootfs != Rootfs::Host {
        return None;
    }
    let command = match &resolved.agent.provider {
        Provider::Command(argv) => argv.first().filter(|name| !name.contains('/')).cloned(),
        _ => None,
    };
    command.or_else(|| agent::program(&resolved.agent).map(str::to_owned))
}

/// The host's variables without which a start is refused.
fn needed(resolved: &Resolved) -> BTreeSet<String> {
    let bottle = &resolved.bottle;
    let routes = bottle.egress.routes.iter().filter_map(|route| route.auth.as_ref());
    let repos = bottle.git.iter().filter_map(|repo| repo.auth.as_ref());
    let tokens = routes.chain(repos).map(|auth| auth.token_ref.clone());
    let templates = bottle.env.values().filter_map(|value| match value {
        EnvValue::Template(parts) => Some(parts),
        EnvValue::Ask(_) => None,
    });
    let hosts = templates.flatten().filter_map(|part| match part {
        TemplatePart::Host(name) => Some(name.clone()),
        TemplatePart::Text(_) => None,
    });
    tokens.chain(hosts).collect()
}
