//! What a start fixes: the differences between two plans that no reload can make true while a bottle runs.

use super::{Plan, SidecarPlan};
use crate::manifest::model::{Bottle, Resolved};

/// Whatever differs and cannot change, by its key in the manifest. `started` is what runs.
pub(super) fn differences(started: (&Resolved, &Plan), next: (&Resolved, &Plan)) -> Vec<String> {
    let mut named = keys(started.0, next.0);
    let (before, after) = (&started.1.sidecars, &next.1.sidecars);
    for sidecar in after {
        match before.iter().find(|other| other.component == sidecar.component) {
            None => named.push(format!("{} (a sidecar `{}` that does not run)", key(&sidecar.component), sidecar.component)),
            Some(before) => named.extend(of_sidecar(before, sidecar)),
        }
    }
    let gone = before.iter().filter(|sidecar| !after.iter().any(|other| other.component == sidecar.component));
    named.extend(gone.map(|sidecar| format!("{} (the sidecar `{}` would not be needed)", key(&sidecar.component), sidecar.component)));
    if named.is_empty() {
        let moved = before.iter().zip(after).filter(|(before, after)| !is_same_process(before, after));
        named.extend(moved.map(|(sidecar, _)| format!("how `{}` is reached", sidecar.component)));
    }
    named.sort();
    named.dedup();
    named
}

/// The key whose presence makes a sidecar.
fn key(component: &str) -> &str {
    if component == bottle_contract::names::GIT_GATE.0 { "git" } else { component }
}

/// Every key is listed, so that a new one is decided upon: a policy, or fixed.
fn keys(before: &Resolved, after: &Resolved) -> Vec<String> {
    let Bottle {
        name,
        env,
        egress: _,
        git: _,
        author,
        supervise,
        scan: _,
        limits,
        rootfs,
        tools,
        toolchains,
        workspace,
        backend,
        origin: _,
    } = &before.bottle;
    let next = &after.bottle;
    let same = [
        ("the agent's manifest", before.agent == after.agent),
        ("bottle", *name == next.name),
        ("env", *env == next.env),
        ("git.author", *author == next.author),
        ("supervise", *supervise == next.supervise),
        ("limits", *limits == next.limits),
        ("rootfs", *rootfs == next.rootfs),
        ("tools", (tools, toolchains) == (&next.tools, &next.toolchains)),
        ("workspace", *workspace == next.workspace),
        ("backend", *backend == next.backend),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key.to_owned()).collect()
}

fn of_sidecar(before: &SidecarPlan, after: &SidecarPlan) -> Vec<String> {
    let new = after.secrets.iter().filter(|secret| !before.secrets.contains(secret));
    let mut named: Vec<String> = new.map(|secret| format!("auth (the token `{}` has no value in this bottle)", secret.token_ref)).collect();
    if before.trust != after.trust {
        named.push("egress.trust".to_owned());
    }
    named
}

/// True if everything but what a reload reads is the same.
fn is_same_process(before: &SidecarPlan, after: &SidecarPlan) -> bool {
    let read = SidecarPlan { config: before.config.clone(), secrets: before.secrets.clone(), ..after.clone() };
    read == *before
}
