//! The needs of the embedded backend: each with what is lost without it, and how to get it. Pure; [`probe`] queries the host.

pub mod agents;
pub mod probe;

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

use crate::help::{Style, wrap};

/// One need of the backend, or of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What is lost without it.
    pub lost: Cow<'static, str>,
    /// How to get it.
    pub fix: Cow<'static, str>,
    /// Nothing starts without it.
    pub required: bool,
}

const fn required(name: &'static str, lost: &'static str, fix: &'static str) -> Need {
    Need { name: Cow::Borrowed(name), lost: Cow::Borrowed(lost), fix: Cow::Borrowed(fix), required: true }
}

const fn optional(name: &'static str, lost: &'static str, fix: &'static str) -> Need {
    Need { name: Cow::Borrowed(name), lost: Cow::Borrowed(lost), fix: Cow::Borrowed(fix), required: false }
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
/// The program of each sidecar; bottles that name no repository need no `git-gate`, and those that ask nobody no `supervise`.
pub const SIDECARS: [(&str, Need); 4] = [
    ("egress", required("sidecar egress", "no bottle with a network can start", INSTALL)),
    ("pipelock", required("sidecar pipelock", "no bottle with a network can start", INSTALL)),
    ("git-gate", optional("sidecar git-gate", "bottles with `git.repos`", INSTALL)),
    ("supervise", optional("sidecar supervise", "bottles with `supervise`", INSTALL)),
];
/// How to get a sidecar.
const INSTALL: &str = "install it beside bottle, or set BOTTLE_LIBEXEC to its directory";

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The need.
    pub need: Need,
    /// A detail, or the system's error.
    pub result: Result<String, String>,
}

/// Exit code: bottles can start here.
const READY: u8 = 0;
/// Exit code: they cannot.
const NOT_READY: u8 = 1;

/// The exit code. Optional needs do not change it.
pub fn code(findings: &[Finding]) -> u8 {
    if missing(findings, true).next().is_some() { NOT_READY } else { READY }
}

fn missing(findings: &[Finding], required: bool) -> impl Iterator<Item = &str> {
    findings.iter().filter(move |f| f.need.required == required && f.result.is_err()).map(|f| &*f.need.name)
}

/// The last line: whether bottles can start, and what is missing.
pub fn verdict(findings: &[Finding]) -> String {
    let [required, optional] = [true, false].map(|required| missing(findings, required).collect::<Vec<_>>().join(", "));
    match (required.is_empty(), optional.is_empty()) {
        (true, true) => "ready".to_owned(),
        (true, false) => format!("ready, without {optional}"),
        (false, _) => format!("not ready: {required}"),
    }
}

/// The column of the details.
const COLUMN: usize = 9;
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";

/// A line per finding, with loss and fix if it is missing; then the verdict.
pub fn text(findings: &[Finding], style: Style) -> String {
    let width = findings.iter().map(|f| f.need.name.chars().count()).max().unwrap_or(0);
    let second = COLUMN + width + 2;
    let mut out = String::new();
    for Finding { need, result } in findings {
        let (word, colour, detail) = match result {
            Ok(detail) => ("ok", GREEN, detail),
            Err(cause) if need.required => ("missing", RED, cause),
            Err(cause) => ("missing", YELLOW, cause),
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "{}{:2$}{3:<width$}  ", style.coloured(word, colour), "", COLUMN - word.len(), need.name);
        wrap(detail, second, style, &mut out);
        if result.is_err() {
            for (name, text) in [("lost: ", &need.lost), ("fix:  ", &need.fix)] {
                let _ = write!(out, "{:second$}{name}", "");
                wrap(text, second + name.len(), style, &mut out);
            }
        }
    }
    let colour = if code(findings) == READY { GREEN } else { RED };
    let _ = writeln!(out, "\n{}", style.coloured(&verdict(findings), colour));
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
            name: &need.name,
            state: if missing { "missing" } else { "ok" },
            required: need.required,
            detail,
            lost: missing.then_some(&need.lost),
            fix: missing.then_some(&need.fix),
        })
    };
    serde_json::json!({"ok": code(findings) == READY, "verdict": verdict(findings), "checks": findings.iter().map(row).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> [Finding; 3] {
        let claude = optional("claude", "agents implementer, reviewer", "npm install -g @anthropic-ai/claude-code");
        [
            Finding { need: SECCOMP, result: Ok("filters".into()) },
            Finding { need: claude, result: Err("no directory of PATH has it".into()) },
            Finding { need: CLONE, result: Err("Function not implemented".into()) },
        ]
    }

    // covers: R18
    // covers: W33
    #[test]
    fn what_is_missing_is_told_with_the_loss_and_the_remedy_and_the_verdict_comes_last() {
        assert_eq!(
            text(&findings(), Style { width: 60, colour: false }),
            "ok       seccomp  filters\n\
             missing  claude   no directory of PATH has it\n                  \
             lost: agents implementer, reviewer\n                  \
             fix:  npm install -g\n                        @anthropic-ai/claude-code\n\
             missing  clone3   Function not implemented\n                  \
             lost: no bottle can start\n                  \
             fix:  use Linux 5.12 or later; in a\n                        \
             container, allow `clone3` in its\n                        seccomp profile\n\n\
             not ready: clone3\n"
        );
        let first = text(&findings()[..1], Style { width: 60, colour: true });
        assert_eq!(first, "\x1b[32mok\x1b[0m       seccomp  filters\n\n\x1b[32mready\x1b[0m\n");
    }

    #[test]
    fn only_a_required_need_fails() {
        let findings = findings();
        assert_eq!((code(&findings), code(&findings[..2])), (1, 0));
        assert_eq!(verdict(&findings[..2]), "ready, without claude");
        assert_eq!(
            json(&findings[..1]),
            serde_json::json!({"ok": true, "verdict": "ready", "checks": [
                {"name": "seccomp", "state": "ok", "required": true, "detail": "filters", "lost": null, "fix": null}
            ]})
        );
    }
}
