//! Renders a plan: for the operator's confirmation, and for `--dry-run`.

use std::fmt::Write;

use bottle_contract::Untrusted;
use bottle_contract::egress::EgressConfig;
use bottle_contract::gate::{GateConfig, Remote, Repo};
use bottle_contract::pipelock::PipelockConfig;
use bottle_contract::route::{Match, PathRule};

use crate::manifest::model::{Rootfs, WorkspaceMode};
use crate::plan::{Plan, RouteCount};

/// The summary of a plan; `notes` come from the backend.
pub fn preflight(plan: &Plan, backend: &str, notes: &[String]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "bottle {} (agent {}, bottle {}, {backend})", plan.id, plan.agent.name, plan.bottle);
    let mut row = |name: &str, text: &str| {
        let _ = writeln!(out, "  {name:<10} {text}");
    };
    row("program", &command_line(&plan.agent.argv));
    row("workspace", &workspace(plan));
    if let Some(git) = &plan.workspace.git {
        row("", &format!("{}, which its git needs, copy on write", Untrusted::new(git.as_os_str().as_encoded_bytes())));
    }
    if !plan.workspace.hidden.is_empty() {
        row("hides", &hidden(&plan.workspace.hidden));
    }
    if let Rootfs::Image(path) = &plan.rootfs {
        row("image", &path.display().to_string());
    }
    for (index, path) in plan.tools.iter().enumerate() {
        let path = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
        row(if index == 0 { "sees" } else { "" }, &format!("{path}, read-only"));
    }
    if plan.routes.iter().any(|routes| routes.count > 0 && routes.from != plan.bottle) {
        row("routes", &counts(plan));
    }
    let routes = routes(plan);
    if routes.is_empty() {
        row("reaches", "nothing");
    }
    for (index, route) in routes.iter().enumerate() {
        row(if index == 0 { "reaches" } else { "" }, route);
    }
    for (index, repo) in repos(plan).iter().enumerate() {
        row(if index == 0 { "git" } else { "" }, repo);
    }
    for (index, line) in scanning(plan).iter().enumerate() {
        row(if index == 0 { "scans" } else { "" }, line);
    }
    row("limits", &limits(plan));
    for (index, note) in plan.notes.iter().chain(notes).enumerate() {
        row(if index == 0 { "note" } else { "" }, note);
    }
    out
}

/// The summary and the steps.
pub fn dry_run(plan: &Plan, backend: &str, notes: &[String]) -> String {
    let mut out = preflight(plan, backend, notes);
    out.push_str("\nbottle would\n");
    for (number, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(out, "  {:>2}. {step}", number + 1);
    }
    out.push_str("and undo all of it, last first, when the agent exits\n");
    out
}

/// A command line, each argument quoted on one line; a long one is shortened.
fn command_line(argv: &[String]) -> String {
    let word = |argument: &String| {
        let line = argument.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(60).collect();
        let text = Untrusted::new(&cut).to_string();
        let whole = cut.len() == argument.len();
        let plain = !text.is_empty() && !text.contains([' ', '\'', '"']);
        match (plain, whole) {
            (true, true) => text,
            (_, true) => format!("'{text}'"),
            (_, false) => format!("'{text}…'"),
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn workspace(plan: &Plan) -> String {
    let source = Untrusted::new(plan.workspace.source.as_os_str().as_encoded_bytes()).to_string();
    let target = plan.workspace.target.display();
    // A tree that has its own path inside needs no second one here.
    let at = if plan.workspace.target == plan.workspace.source { String::new() } else { format!(" at {target}") };
    match plan.workspace.mode {
        WorkspaceMode::Overlay => format!("{source}{at}, copy on write: your files stay as they are"),
        WorkspaceMode::Copy => format!("a copy of {source}{at}"),
        WorkspaceMode::Mount => format!("{source} itself{at}, writable"),
        WorkspaceMode::None => format!("an empty directory at {target}"),
    }
}

/// How many routes come from where.
fn counts(plan: &Plan) -> String {
    let one = |routes: &RouteCount| match routes.from == plan.bottle {
        true => format!("{} own", routes.count),
        false => format!("{} from {}", routes.count, routes.from),
    };
    plan.routes.iter().map(one).collect::<Vec<_>>().join(" + ")
}

/// How many files are hidden, and the first of them.
fn hidden(paths: &[std::path::PathBuf]) -> String {
    const MAX_SHOWN: usize = 5;
    let shown: Vec<String> =
        paths.iter().take(MAX_SHOWN).map(|path| Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string()).collect();
    let more = if paths.len() > MAX_SHOWN { ", …" } else { "" };
    let files = if paths.len() == 1 { "1 untracked file" } else { &format!("{} untracked files", paths.len()) };
    format!("{files} that look like credentials: {}{more}; not one that appears later", shown.join(", "))
}

/// A row per route: host, methods and paths, and the credential's name.
fn routes(plan: &Plan) -> Vec<String> {
    let Some((sidecar, EgressConfig { routes, asks, .. })) = plan.sidecar() else { return Vec::new() };
    let hosts: Vec<String> = routes.iter().map(|r| r.host.to_string()).collect();
    let width = hosts.iter().map(String::len).max().unwrap_or(0);
    routes
        .iter()
        .zip(&hosts)
        .map(|(route, host)| {
            let mut text = format!("{host:<width$}");
            if !route.matches.is_empty() {
                text.push_str("  ");
                text.push_str(&route.matches.iter().map(matched).collect::<Vec<_>>().join("; "));
            }
            if route.ask && asks.is_some() {
                text.push_str(if route.matches.is_empty() { "  asks a person" } else { "; else asks a person" });
            }
            if let Some(auth) = &route.auth {
                let name = sidecar.secrets.iter().find(|s| s.slot == auth.slot).map_or("?", |s| s.token_ref.as_str());
                let _ = write!(text, "  with the token {name}");
            }
            text
        })
        .chain(asks.iter().filter(|asks| asks.unlisted).map(|_| "whatever else is requested: asks a person".to_owned()))
        .collect()
}

/// Scanning beyond the default.
fn scanning(plan: &Plan) -> Vec<String> {
    let Some((_, PipelockConfig { x_bottle, response_scanning, .. })) = plan.sidecar() else { return Vec::new() };
    let mut lines = Vec::new();
    for file in &x_bottle.rules {
        let digest = file.sha256.get(..16).unwrap_or(&file.sha256);
        lines.push(format!("by {} too, sha256 {digest}…", Untrusted::new(&file.path)));
    }
    if response_scanning.enabled {
        lines.push("answers, for text that tries to instruct the agent; what is found is recorded".to_owned());
    }
    lines
}

/// A row per repository: URL, the credential's name, and what may be pushed.
fn repos(plan: &Plan) -> Vec<String> {
    let Some((sidecar, GateConfig { repos, .. })) = plan.sidecar() else { return Vec::new() };
    let row = |repo: &Repo| {
        let (url, slot) = match &repo.upstream {
            Remote::Https { host, path, auth, .. } => (format!("https://{host}{path}"), auth.as_ref().map(|auth| &auth.slot)),
            Remote::Ssh { host, path, user, identity, .. } => (format!("ssh://{user}@{host}{path}"), Some(identity)),
        };
        let secret = slot.and_then(|slot| sidecar.secrets.iter().find(|secret| secret.slot == *slot));
        let with = secret.map_or(String::new(), |secret| format!("  with {}", Untrusted::new(&secret.token_ref)));
        let may: Vec<&str> =
            [(repo.push.force, "force"), (repo.push.delete, "delete")].iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        let may = if may.is_empty() { String::new() } else { format!(" ({})", may.join(", ")) };
        let pushes = match repo.push.allow.as_slice() {
            [] => "fetch only".to_owned(),
            patterns => format!("pushes {}{may}, scanned", patterns.join(" ")),
        };
        format!("{}  {url}{with}  {pushes}", repo.name)
    };
    repos.iter().map(row).collect()
}

fn matched(m: &Match) -> String {
    let methods = if m.methods.is_empty() { "any method".to_owned() } else { m.methods.join(" ") };
    let paths: Vec<String> = m
        .paths
        .iter()
        .map(|rule| match rule {
            PathRule::Exact(path) => path.clone(),
            PathRule::Prefix(path) => format!("{path}…"),
        })
        .collect();
    if paths.is_empty() { methods } else { format!("{methods} {}", paths.join(" ")) }
}

fn limits(plan: &Plan) -> String {
    let limits = &plan.limits;
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let gib = limits.memory as f64 / f64::from(1 << 30);
    let time = limits.time.map_or(String::new(), |time| format!(", {} s", time.as_secs()));
    format!("{gib:.1} GiB of memory, {} processes{time}", limits.pids)
}
