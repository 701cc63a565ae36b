//! A second wall behind the mount namespace: the kernel refuses writes outside the named trees, and reaching out of
//! the bottle by abstract sockets or signals.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::spec::{Failure, Spec};

/// Restricts this process and all that it starts. A kernel without landlock leaves the mount namespace, read-only
/// mounts and the system call filter, which hold on their own; the supervisor says so in the preflight.
pub(crate) fn restrict(spec: &Spec, fds: &[Option<OwnedFd>]) -> Result<(), Failure> {
    let abi = ABI::V6;
    let failed = |e: &dyn std::fmt::Display| Failure::new("restrict file access", e);
    let read = AccessFs::from_read(abi);
    let root = PathFd::new("/").map_err(|e| failed(&e))?;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.scope(Scope::from_all(abi)))
        .and_then(|r| r.create())
        .and_then(|r| r.add_rule(PathBeneath::new(root, read)))
        .map_err(|e| failed(&e))?;
    for path in &spec.writable {
        let Ok(fd) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(fd, AccessFs::from_all(abi))).map_err(|e| failed(&e))?;
    }
    // The program of a sidecar lies outside its root.
    if let Some(Some(program)) = spec.exec.program_fd.map(|index| fds.get(index).and_then(Option::as_ref)) {
        let access = AccessFs::Execute | AccessFs::ReadFile;
        rules = rules.add_rule(PathBeneath::new(program, access)).map_err(|e| failed(&e))?;
    }
    let status = rules.restrict_self().map_err(|e| failed(&e))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Ok(()),
    }
}
