//! What the operator's agents need on this host: their programs and the variables with their tokens. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bottle_contract::Untrusted;

use super::{Finding, Need};
use crate::manifest::model::{EnvValue, Resolved, Rootfs, TemplatePart};
use crate::manifest::token::TokenSource;
use crate::manifest::{Kind, Library};
use crate::plan::agent::{self, Invocation};
use crate::plan::toolchains::Toolchains;

/// Queries to the host.
pub struct Host<'a> {
    /// The path of a program, if it exists.
    pub program: &'a dyn Fn(&str) -> Option<String>,
    /// Programs and toolchains of the operator's home.
    pub toolchains: &'a Toolchains,
    /// Whether a variable has a value.
    pub is_set: &'a dyn Fn(&str) -> bool,
}

/// A finding for each program and variable that an agent needs, and for each unusable manifest.
pub fn agents(library: &Library, host: &Host<'_>) -> Vec<Finding> {
    let mut programs: BTreeMap<String, (Vec<&str>, Option<String>)> = BTreeMap::new();
    let mut variables: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in library.names(Kind::Agent) {
        let Ok(resolved) = library.resolve(name) else { continue };
        let resolved = resolved.with_credentials(host.is_set);
        if let Some(program) = program(&resolved) {
            let install = resolved.agent.program.provider().and_then(|provider| provider.install.clone());
            let (users, known) = programs.entry(program).or_default();
            users.push(name);
            *known = known.take().or(install);
        }
        for variable in needed(&resolved) {
            variables.entry(variable).or_default().push(name);
        }
    }
    let mut findings: Vec<Finding> =
        library.problems().into_iter().map(|problem| broken(problem.what, problem.cause.into(), problem.hint)).collect();
    findings.extend(programs.into_iter().map(|(program, (users, install))| {
        let result = (host.program)(&program).ok_or_else(|| "no directory of PATH has it".to_owned());
        finding(&program, &users, result, install.unwrap_or_else(|| format!("install `{program}` where PATH finds it")))
    }));
    findings.extend(toolchains(host.toolchains));
    findings.extend(variables.into_iter().map(|(variable, users)| {
        let result = if (host.is_set)(&variable) { Ok(format!("set, for {}", these(&users))) } else { Err("not set".to_owned()) };
        let fix = format!("export {variable}=… before `bottle start`");
        finding(&variable, &users, result, fix)
    }));
    findings
}

/// What agents see of the operator's home, and each directory of `PATH` that they do not.
fn toolchains(found: &Toolchains) -> Vec<Finding> {
    let names: Vec<&str> = found.managers.iter().copied().collect();
    let shown = (!names.is_empty()).then(|| finding("toolchains", &[], Ok(names.join(", ")), String::new()));
    let absent = found.absent.iter().map(|(directory, programs)| {
        let directory = Untrusted::new(directory.as_os_str().as_encoded_bytes());
        let result = Err(format!("{programs} of its programs are not shown to agents"));
        finding(&directory.to_string(), &[], result, format!("write `tools: [{directory}]` in the bottle"))
    });
    shown.into_iter().chain(absent).collect()
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
    if users.is_empty() {
        return "agents that use the host's tools".to_owned();
    }
    format!("agent{} {}", if users.len() > 1 { "s" } else { "" }, users.join(", "))
}

/// The program that is looked up on the host. An image brings its own.
fn program(resolved: &Resolved) -> Option<String> {
    if resolved.bottle.rootfs != Rootfs::Host {
        return None;
    }
    agent::program(&resolved.agent, &Invocation::default()).filter(|name| !name.contains('/')).map(str::to_owned)
}

/// The host's variables without which a start is refused.
fn needed(resolved: &Resolved) -> BTreeSet<String> {
    let bottle = &resolved.bottle;
    let routes = bottle.egress.routes.iter().filter_map(|route| route.auth.as_ref());
    let repos = bottle.git.iter().filter_map(|repo| repo.auth.as_ref());
    let tokens = routes.chain(repos).filter(|auth| auth.source == TokenSource::Variable).map(|auth| auth.token_ref.clone());
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
