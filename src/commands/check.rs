//! `bottle check`: judges a request without sending it, and validates a configuration of pipelock.

mod config;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use bottle_contract::egress::EgressConfig;
use bottle_contract::pipelock::PipelockConfig;
use bottle_contract::reason::Reason;
use bottle_contract::route::Route;
use bottle_policy::evaluate::{Allowed, Denied, Policies, Query, is_looked_up};
use bottle_policy::guard::interfaces::{Interfaces, System};
use bottle_policy::pipelock_policy::{PipelockPolicy, Way};
use bottle_scan::Fingerprints;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, NO, completions, output, rules};
use crate::error::{Error, OrFail, Result};
use crate::manifest::Library;
use crate::plan::agent::Invocation;
use crate::plan::build::Facts;
use crate::plan::{Plan, plan};
use crate::values;

/// The largest body that is read.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// Ask whether a request would be allowed, and by which rule, without sending it
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

/// Judges the request; the exit code is 0 if it would be allowed, 1 if not.
pub fn run(args: &Args, library: &dyn Fn() -> Result<Library>, host: &dyn Fn(&str) -> Option<String>, out: &mut dyn Write) -> Result<u8> {
    let (routes, pipelock, plan) = match &args.config {
        Some(file) => (None, config::read(file)?, None),
        None => {
            let is_set = |name: &str| host(name).is_some_and(|value| !value.trim().is_empty());
            let resolved = library()?.resolve(&args.agent)?.with_credentials(&is_set);
            let rules = rules::read(&resolved.bottle.scan.rules)?;
            let facts = Facts::minimal(rules);
            let plan = plan(&resolved, &args.agent, &Invocation { headless: true, ..Invocation::default() }, &facts);
            let (routes, pipelock) = policies(&plan, host)?;
            (routes, pipelock, Some(plan))
        }
    };
    let Some(url) = &args.url else { return output(config::write(&pipelock, args.format, out)) };
    let body = args.body.as_deref().map(body).transpose()?;
    let method = args.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let local = System::default().addresses();
    let local = local.ok_or_else(|| Error::failed("cannot determine the machine's own addresses", "getifaddrs failed", "try again"))?;
    let policies = Policies { routes: routes.as_deref(), pipelock: &pipelock, local: &local };
    let verdict = policies.evaluate(Query { method, url, body: body.as_deref() });
    let notes = plan.as_ref().map_or_else(Vec::new, |plan| values::weak_tokens(plan, host));
    let report = Report { notes, ..Report::new(method, url, &verdict, plan.as_ref()) };
    output(write(args.format, &report, out))
}

/// The policies that the sidecars of this plan would enforce, with the secrets that are set.
fn policies(plan: &Plan, host: &dyn Fn(&str) -> Option<String>) -> Result<(Option<Vec<Route>>, PipelockPolicy)> {
    const WHAT: &str = "cannot build the bottle's policy";
    let (_, config) = plan.sidecar::<PipelockConfig>().ok_or("it has no pipelock").or_bug(WHAT)?;
    let mut config = config.clone();
    let routes = plan.sidecar::<EgressConfig>().map(|(_, config)| config.routes.clone());
    let values: Vec<String> = plan.sidecars.iter().flat_map(|s| &s.secrets).filter_map(|secret| host(&secret.token_ref)).collect();
    let secrets: Vec<&[u8]> = values.iter().map(|value| value.trim().as_bytes()).collect();
    config.x_bottle.fingerprints = Some(Fingerprints::of([0; 32], &secrets).into());
    Ok((routes, PipelockPolicy::new(config).or_bug(WHAT)?))
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

/// The report.
#[derive(Serialize)]
struct Report {
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
    /// Warnings about tokens that no sidecar recognises.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Report {
    fn new(method: &str, url: &str, verdict: &std::result::Result<Allowed<'_>, Denied>, plan: Option<&Plan>) -> Self {
        let escaped = |text: &str| Untrusted::new(text).to_string();
        let mut report = Self {
            verdict: if verdict.is_ok() { "allowed" } else { "refused" },
            method: escaped(method),
            url: escaped(url),
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
                report.target = Some(allowed.target.url());
                report.route = allowed.route.map(|(route, _)| route.host.to_string());
                let auth = allowed.route.filter(|(_, put_in)| *put_in).and_then(|(route, _)| route.auth.as_ref());
                report.credential = auth.map(|auth| format!("{} in `{}`", token(plan, &auth.slot), auth.header));
                report.listed = Some(allowed.listed.clone());
                report.way = Some(match allowed.way {
                    Way::Fixed(address) => format!("{address} would be dialled, as the route says"),
                    Way::Parent(address) => format!("the proxy at {address} would be used"),
                    Way::Resolve if is_looked_up(allowed) => "the name would be resolved, and each of its addresses judged".to_owned(),
                    Way::Resolve => "the address would be dialled".to_owned(),
                });
            }
            Err(Denied { component, refused }) => {
                // A URL with a secret is not repeated.
                if refused.reason == Reason::SecretDetected {
                    report.url = "(a URL that is not repeated)".to_owned();
                }
                report.component = Some(component);
                report.reason = Some(refused.reason);
                report.message = Some(escaped(&refused.message));
                report.rule = refused.rule.as_deref().map(escaped);
                report.place = refused.place.as_ref().map(|place| escaped(&place.to_string()));
                report.hint = Some(refused.reason.hint());
            }
        }
        report
    }
}

/// The name of the secret in a slot.
fn token(plan: Option<&Plan>, slot: &str) -> String {
    let mut secrets = plan.into_iter().flat_map(|plan| &plan.sidecars).flat_map(|sidecar| &sidecar.secrets);
    secrets.find(|secret| secret.slot == slot).map_or_else(|| slot.to_owned(), |secret| secret.token_ref.clone())
}

fn write(format: Format, report: &Report, out: &mut dyn Write) -> io::Result<u8> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(report)?)?,
        Format::Text => text(report, out)?,
    }
    Ok(if report.reason.is_some() { NO } else { 0 })
}

fn text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, value: &Option<String>| match value {
        Some(value) => writeln!(out, "  {name:<10} {value}"),
        None => Ok(()),
    };
    let reason = report.reason.map(|reason| reason.to_string());
    row(report.verdict, &Some(format!("{} {}", report.method, report.target.as_ref().unwrap_or(&report.url))))?;
    row("by", &report.component.map(str::to_owned))?;
    row("reason", &reason)?;
    row("because", &report.message)?;
    row("rule", &report.rule)?;
    row("where", &report.place)?;
    row("agent may", &report.hint.map(str::to_owned))?;
    row("route", &report.route)?;
    row("with", &report.credential)?;
    row("listed as", &report.listed)?;
    row("then", &report.way)?;
    report.notes.iter().try_for_each(|note| row("note", &Some(note.clone())))
}
