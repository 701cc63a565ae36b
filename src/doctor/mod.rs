//! What a host gives to the embedded backend: each need, what is lost without it, and how to get it. Pure; [`probe`] asks the host.

pub mod probe;

use std::fmt::Write;

use serde::Serialize;

/// One need of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub name: &'static str,
    /// What is lost without it.
    pub lost: &'static str,
    /// How to get it.
    pub fix: &'static str,
    /// Nothing starts without it.
    pub required: bool,
}

const fn required(name: &'static str, lost: &'static str, fix: &'static str) -> Need {
    Need { name, lost, fix, required: true }
}

const fn optional(name: &'static str, lost: &'static str, fix: &'static str) -> Need {
    Need { name, lost, fix, required: false }
}

/// All starts.
const ALL: &str = "no bottle can start";

/// `clone3` with a pidfd.
pub const CLONE: Need = required("clone3", ALL, "use Linux 5.12 or later; in a container, allow `clone3` in its seccomp profile");
/// User and all other namespaces.
pub const NAMESPACES: Need = required(
    "user namespaces",
    ALL,
    "set what the cause names: kernel.apparmor_restrict_unprivileged_userns=0 (or an AppArmor profile with `userns,`), \
     kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0; in a container, allow `unshare` and `mount`",
);
/// `lo` inside.
pub const NETWORK: Need =
    required("loopback interface", "the agent reaches no sidecar", "load no security module that forbids it in user namespaces");
/// The mount API by descriptors.
pub const MOUNTS: Need =
    required("mount API", ALL, "use Linux 5.12 or later; in a container, allow `fsopen`, `open_tree`, `move_mount`, `mount_setattr`");
/// A `/proc` of the bottle's own.
pub const PROC: Need = required("own /proc", ALL, "in a container, leave /proc unmasked (`--security-opt systempaths=unconfined`)");
/// Overlays in user namespaces.
pub const OVERLAY: Need = optional(
    "overlayfs",
    "`workspace: overlay`, which is the default",
    "use Linux 5.11 or later with overlayfs, or write `workspace: copy`",
);
/// System call filters.
pub const SECCOMP: Need = required("seccomp", ALL, "use a kernel with CONFIG_SECCOMP_FILTER");
/// Landlock.
pub const LANDLOCK: Need = optional(
    "landlock",
    "the second wall behind the mounts, against writes, abstract sockets and signals",
    "use Linux 6.12 or later, with `landlock` in the kernel's `lsm=` list",
);
/// Control groups.
pub const CGROUP: Need = optional(
    "control group",
    "`limits.memory` is refused, and without it memory has no limit",
    "start it in a delegated group: `systemd-run --user --scope -p Delegate=yes bottle …`",
);
/// A runtime directory in memory.
pub const RUNTIME: Need = required("directory in memory", ALL, "set XDG_RUNTIME_DIR to a directory of yours on tmpfs, with mode 0700");
/// The sidecars.
pub const SIDECARS: Need =
    required("sidecar programs", "no bottle with a network can start", "install them beside bottle, or set BOTTLE_LIBEXEC");
/// Claude Code.
pub const CLAUDE: Need = optional("claude", "agents with `provider: claude`, as `implementer`", "npm install -g @anthropic-ai/claude-code");

/// What the host said to one need: what it has, or why it has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The need.
    pub need: Need,
    /// A word on it, or the system's own words.
    pub result: Result<String, String>,
}

/// The exit code: a required need that is missing is bottle's failure.
pub fn code(findings: &[Finding]) -> u8 {
    if findings.iter().any(|f| f.need.required && f.result.is_err()) { crate::error::FAILED } else { 0 }
}

/// One line each.
pub fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.need.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Finding { need, result } in findings {
        // Writing to a String cannot fail.
        let _ = match result {
            Ok(detail) => writeln!(out, "ok       {:<width$}  {detail}", need.name),
            Err(cause) => writeln!(out, "missing  {:<width$}  {cause}; lost: {}; fix: {}", need.name, need.lost, need.fix),
        };
    }
    out
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    state: &'a str,
    required: bool,
    detail: &'a str,
    lost: Option<&'a str>,
    fix: Option<&'a str>,
}

/// The same for programs.
pub fn json(findings: &[Finding]) -> serde_json::Value {
    let row = |finding: &Finding| {
        let Finding { need, result } = finding;
        let missing = result.is_err();
        let (Ok(detail) | Err(detail)) = result;
        serde_json::json!(Row {
            name: need.name,
            state: if missing { "missing" } else { "ok" },
            required: need.required,
            detail,
            lost: missing.then_some(need.lost),
            fix: missing.then_some(need.fix),
        })
    };
    serde_json::json!({"ok": code(findings) == 0, "checks": findings.iter().map(row).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> [Finding; 3] {
        [
            Finding { need: SECCOMP, result: Ok("filters".into()) },
            Finding { need: CLAUDE, result: Err("not on PATH".into()) },
            Finding { need: CLONE, result: Err("Function not implemented".into()) },
        ]
    }

    // covers: R18
    #[test]
    fn what_is_missing_is_one_line_with_the_loss_and_the_remedy() {
        assert_eq!(
            text(&findings()),
            "ok       seccomp  filters\n\
             missing  claude   not on PATH; lost: agents with `provider: claude`, as `implementer`; fix: npm install -g @anthropic-ai/claude-code\n\
             missing  clone3   Function not implemented; lost: no bottle can start; fix: use Linux 5.12 or later; in a container, allow `clone3` \
             in its seccomp profile\n"
        );
    }

    #[test]
    fn only_a_required_need_fails() {
        assert_eq!((code(&findings()), code(&findings()[..2])), (125, 0));
        assert_eq!(
            json(&findings()[..1]),
            serde_json::json!({"ok": true, "checks": [
                {"name": "seccomp", "state": "ok", "required": true, "detail": "filters", "lost": null, "fix": null}
            ]})
        );
    }
}
