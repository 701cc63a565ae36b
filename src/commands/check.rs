//! `bottle check`: asks the policy about a request, without sending anything, and reads a configuration as the door does.

mod config;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use bottle_contract::egress::EgressConfig;
use bottle_contract::pipelock::PipelockConfig;
use bottle_contract::reason::Reason;
use bottle_contract::route::Route;
use bottle_policy::dry::{Allowed, Denied, Policies, Wish, is_looked_up};
use bottle_policy::guard::interfaces::{Interfaces, System};
use bottle_policy::table::{Table, Way};
use bottle_scan::Fingerprints;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, NO, completions, output, rules};
use crate::error::{Error, Result};
use crate::manifest::Library;
use crate::plan::agent::Run;
use crate::plan::build::Facts;
use crate::plan::workspace::Place;
use crate::plan::{Plan, plan};
use crate::values;

/// A body at most: what a person would want to know about is far smaller.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// Ask whether a request would be let out, and by which rule, without sending anything
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["url", "config"]).required(true).multiple(true))]
pub struct Args {
    /// URL of the request
    pub url: Option<String>,
    /// Ask the bottle of this agent
    #[arg(long, default_value = "implementer", add = ArgValueCandidates::new(completions::agents))]
    pub agent: String,
    /// Use this method; without it GET, or POST with a body
    #[arg(long)]
    pub method: Option<String>,
    /// Send this file as the body; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Read this pipelock.yaml, and ask it instead of an agent's bottle
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    pub config: Option<PathBuf>,
    /// How to write the answer
    #[command(flatten)]
    pub format: Format,
}

/// Answers; the exit code is 0 for a request that would pass, 1 for one that would not.
pub fn run(args: &Args, library: &dyn Fn() -> Result<Library>, host: &dyn Fn(&str) -> Option<String>, out: &mut dyn Write) -> Result<u8> {
    let (routes, table, plan) = match &args.config {
        Some(file) => (None, config::read(file)?, None),
        None => {
            let resolved = library()?.resolve(&args.agent)?;
            let rules = rules::read(&resolved.bottle.scan.rules)?;
            let facts = Facts { place: Place::plain("/"), terminal: false, term: None, program: None, rules };
            let plan = plan(&resolved, &args.agent, &Run { command: None, prompt: None, headless: true }, &facts);
            let (routes, table) = policies(&plan, host)?;
            (routes, table, Some(plan))
        }
    };
    let Some(url) = &args.url else { return output(config::tell(&table, args.format, out)) };
    let body = args.body.as_deref().map(body).transpose()?;
    let method = args.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let local = System::default().addresses();
    let local = local.ok_or_else(|| Error::failed("cannot tell the machine's own addresses", "getifaddrs failed", "try again"))?;
    let policies = Policies { routes: routes.as_deref(), table: &table, local: &local };
    let verdict = policies.ask(Wish { method, url, body: body.as_deref() });
    let notes = plan.as_ref().map_or_else(Vec::new, |plan| values::weak_tokens(plan, host));
    let shown = Shown { notes, ..Shown::new(method, url, &verdict, plan.as_ref()) };
    output(tell(args.format, &shown, out))
}

/// The tables that the sidecars of this plan would enforce, with those of its secrets that are set.
fn policies(plan: &Plan, host: &dyn Fn(&str) -> Option<String>) -> Result<(Option<Vec<Route>>, Table)> {
    let fault =
        |why: &dyn std::fmt::Display| Error::failed("cannot make the bottle's policy", why, "this is a bug in bottle: please report it");
    let (_, config) = plan.sidecar::<PipelockConfig>().ok_or_else(|| fault(&"it has no door"))?;
    let mut config = config.clone();
    let routes = plan.sidecar::<EgressConfig>().map(|(_, config)| config.routes.clone());
    let values: Vec<String> = plan.sidecars.iter().flat_map(|s| &s.secrets).filter_map(|secret| host(&secret.token_ref)).collect();
    let secrets: Vec<&[u8]> = values.iter().map(|value| value.trim().as_bytes()).collect();
    config.x_bottle.fingerprints = serde_json::to_value(Fingerprints::of([0; 32], &secrets)).map_err(|e| fault(&e))?;
    Ok((routes, Table::new(config).map_err(|e| fault(&e))?))
}

fn body(path: &Path) -> Result<Vec<u8>> {
    let failed = |e: io::Error| Error::usage("the body cannot be read", e, "name a file, or `-` for standard input");
    let mut bytes = Vec::new();
    match path.as_os_str() == "-" {
        true => io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?,
        false => std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?,
    };
    if bytes.len() as u64 > MAX_INPUT_BYTES { Err(failed(io::Error::other("larger than 256 MiB"))) } else { Ok(bytes) }
}

/// What is told.
#[derive(Serialize)]
struct Shown {
    verdict: &'static str,
    method: String,
    url: String,
    /// In canonical form, as it would be sent.
    target: Option<String>,
    component: Option<&'static str>,
    reason: Option<Reason>,
    message: Option<String>,
    rule: Option<String>,
    place: Option<String>,
    hint: Option<&'static str>,
    route: Option<String>,
    credential: Option<String>,
    listed: Option<String>,
    way: Option<String>,
    /// What the answer does not show: tokens that no sidecar recognises.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Shown {
    fn new(method: &str, url: &str, verdict: &std::result::Result<Allowed<'_>, Denied>, plan: Option<&Plan>) -> Self {
        let shown = |text: &str| Untrusted::new(text).to_string();
        let mut told = Self {
            verdict: if verdict.is_ok() { "allowed" } else { "refused" },
            method: shown(method),
            url: shown(url),
            target: None,
            component: None,
            reason: None,
            message: None,
            rule: None,
            place: None,
            hint: None,
            route: None,
            credential: None,
            listed: None,
            way: None,
            notes: Vec::new(),
        };
        match verdict {
            Ok(allowed) => {
                told.target = Some(allowed.target.url());
                told.route = allowed.route.map(|(route, _)| route.host.to_string());
                let auth = allowed.route.filter(|(_, put_in)| *put_in).and_then(|(route, _)| route.auth.as_ref());
                told.credential = auth.map(|auth| format!("{} in `{}`", token(plan, &auth.slot), auth.header));
                told.listed = Some(allowed.listed.clone());
                told.way = Some(match allowed.way {
                    Way::Fixed(address) => format!("{address} would be dialled, as the route says"),
                    Way::Parent(address) => format!("the proxy at {address} would be asked"),
                    Way::Resolve if is_looked_up(allowed) => "the name would be looked up, and each of its addresses judged".to_owned(),
                    Way::Resolve => "the address would be dialled".to_owned(),
                });
            }
            Err(Denied { component, refused }) => {
                // What holds a secret is not repeated.
                if refused.reason == Reason::SecretDetected {
                    told.url = "(a URL that is not repeated)".to_owned();
                }
                told.component = Some(component);
                told.reason = Some(refused.reason);
                told.message = Some(shown(&refused.message));
                told.rule = refused.rule.as_deref().map(shown);
                told.place = refused.place.as_ref().map(|place| shown(&place.to_string()));
                told.hint = Some(refused.reason.hint());
            }
        }
        told
    }
}

/// The name of the secret in a slot.
fn token(plan: Option<&Plan>, slot: &str) -> String {
    let mut secrets = plan.into_iter().flat_map(|plan| &plan.sidecars).flat_map(|sidecar| &sidecar.secrets);
    secrets.find(|secret| secret.slot == slot).map_or_else(|| slot.to_owned(), |secret| secret.token_ref.clone())
}

fn tell(format: Format, told: &Shown, out: &mut dyn Write) -> io::Result<u8> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(told)?)?,
        Format::Text => text(told, out)?,
    }
    Ok(if told.reason.is_some() { NO } else { 0 })
}

fn text(told: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, value: &Option<String>| match value {
        Some(value) => writeln!(out, "  {name:<10} {value}"),
        None => Ok(()),
    };
    let reason = told.reason.map(|reason| reason.to_string());
    row(told.verdict, &Some(format!("{} {}", told.method, told.target.as_ref().unwrap_or(&told.url))))?;
    row("by", &told.component.map(str::to_owned))?;
    row("reason", &reason)?;
    row("because", &told.message)?;
    row("rule", &told.rule)?;
    row("where", &told.place)?;
    row("agent may", &told.hint.map(str::to_owned))?;
    row("route", &told.route)?;
    row("with", &told.credential)?;
    row("listed as", &told.listed)?;
    row("then", &told.way)?;
    told.notes.iter().try_for_each(|note| row("note", &Some(note.clone())))
}
