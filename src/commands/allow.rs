//! `bottle allow`: writes a route into the bottle of an agent, in the person's own configuration, or allows it in one running bottle for a while.

mod at_once;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::running::Running;
use super::{cannot_write, completions};
use crate::error::{Error, Result};
use crate::manifest::model::{Origin, Resolved, Route};
use crate::manifest::source::Source;
use crate::manifest::{Kind, Library, edit, measure};
use crate::store::Layout;

/// Let an agent reach more hosts, by a route in your own configuration
///
/// The routes are added to the file of the agent's bottle; comments and order stay. For a built-in bottle a file is written that extends it.
/// Bottles that run already are named: `bottle reload` lets them follow.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Hosts, as a manifest names them: `name`, `*.suffix`, with `:port` if it is neither 443 nor 80
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Choose the agent whose bottle it is
    #[arg(long, default_value = "implementer", add = ArgValueCandidates::new(completions::agents))]
    pub agent: String,
    /// Let it read only: GET and HEAD
    #[arg(long)]
    pub read_only: bool,
    /// Allow it at once, in this running bottle alone; nothing is written
    #[arg(long = "in", value_name = "ID", conflicts_with = "agent", add = ArgValueCandidates::new(completions::ids))]
    pub bottle: Option<String>,
    /// End it after this time, such as 10m; its connections are closed then
    #[arg(long = "for", value_name = "TIME", requires = "bottle", value_parser = time)]
    pub time: Option<Duration>,
    /// End it after this many requests
    #[arg(long, value_name = "N", requires = "bottle", value_parser = clap::value_parser!(u64).range(1..))]
    pub uses: Option<u64>,
}

/// A time as a manifest spells it.
fn time(text: &str) -> std::result::Result<Duration, String> {
    measure::duration(text).ok_or_else(|| "a time is a number and s, m or h, as in 10m".to_owned())
}

/// Adds the routes, and says where.
pub fn run(args: &Args, layout: &Layout, library: &dyn Fn() -> Result<Library>, out: &mut dyn Write) -> Result<()> {
    match &args.bottle {
        Some(id) => at_once::run(args, &Running::named(layout, id)?, out),
        None => to_file(args, layout, &library()?, out),
    }
}

fn to_file(args: &Args, layout: &Layout, library: &Library, out: &mut dyn Write) -> Result<()> {
    let matches = if args.read_only { ", matches: [{ methods: [GET, HEAD] }]" } else { "" };
    // Quoted as JSON is: a host may begin with a star.
    let rows: Vec<String> =
        args.hosts.iter().map(|host| format!("{{ host: {}{matches} }}", serde_json::Value::from(host.as_str()))).collect();
    let Added { file, before, after, library } = add(layout, library, &args.agent, &rows)?;
    for host in &args.hosts {
        let what = if args.read_only { "to read" } else { "everything" };
        writeln!(out, "{args_agent} may reach {}: {what}, by {file}", Untrusted::new(host), args_agent = args.agent)
            .map_err(cannot_write)?;
    }
    // Whether they follow is for the person to say, who is then shown all that would change.
    let new = |route: &&Route| !before.bottle.egress.routes.contains(route);
    let follows = |running: &&Running| {
        let its = library.resolve(&running.metadata.agent).map(|its| its.bottle);
        its.is_ok_and(|its| {
            let has_new = after.bottle.egress.routes.iter().filter(new).any(|route| its.egress.routes.contains(route));
            its.name == running.metadata.bottle && has_new
        })
    };
    let running = Running::all(layout).unwrap_or_default();
    running.iter().filter(follows).try_for_each(|running| {
        let id = &running.id;
        writeln!(out, "{id} runs without it: `bottle reload {id}` lets it follow").map_err(cannot_write)
    })
}

/// What was written.
pub(super) struct Added {
    /// The file, harmless for a terminal.
    pub(super) file: String,
    before: Resolved,
    after: Resolved,
    library: Library,
}

/// Adds rows to the bottle of an agent, in the person's own configuration.
pub(super) fn add(layout: &Layout, library: &Library, agent: &str, rows: &[String]) -> Result<Added> {
    let before = library.resolve(agent)?;
    let bottle = &before.bottle.name;
    let (file, text) = match &before.bottle.origin {
        Origin::Home(file) => (file.clone(), read(file)?),
        Origin::BuiltIn | Origin::Repo(_) => {
            let file = layout.config.join(Kind::Bottle.directory()).join(format!("{bottle}.md"));
            (file, format!("---\nextends: {bottle}\n---\n\nThe built-in bottle `{bottle}`, and what was allowed besides.\n"))
        }
    };
    let shown = Untrusted::new(file.as_os_str().as_encoded_bytes()).to_string();
    let by_hand = || {
        let cause = format!("{shown}: {}", edit::FLOW);
        Error::failed("the routes cannot be added", cause, format!("add to its routes: {}", rows.join(", ")))
    };
    let text = edit::with_routes(&text, rows).ok_or_else(by_hand)?;
    let source =
        Source { kind: Kind::Bottle, name: bottle.clone(), origin: Origin::Home(file.clone()), content: Ok(text.clone().into_bytes()) };
    let library = library.clone().with(source);
    let after = library.resolve(agent)?;
    differs_in_routes_alone(&before, &after, rows.len())
        .map_err(|cause| Error::failed("the routes were not added", cause, format!("add them to {shown} by hand")))?;
    write(&file, &text).map_err(|error| Error::failed(format!("cannot write {shown}"), error, "check its permissions"))?;
    Ok(Added { file: shown, before, after, library })
}

/// What was read again is what was there, and the new routes.
fn differs_in_routes_alone(before: &Resolved, after: &Resolved, count: usize) -> std::result::Result<(), String> {
    let mut rest = after.clone();
    rest.bottle.origin = before.bottle.origin.clone();
    let new: Vec<_> = after.bottle.egress.routes.iter().filter(|route| !before.bottle.egress.routes.contains(route)).collect();
    let host_is_new = |host| before.bottle.egress.routes.iter().all(|route| route.host != host);
    if let Some(route) = new.iter().find(|route| !host_is_new(route.host.clone())) {
        return Err(format!("`{}` has a route already, which this one would replace", route.host));
    }
    if new.len() != count {
        return Err("the file would not say what was asked for".to_owned());
    }
    // A file that extends a built-in bottle has its rows under the same name.
    rest.bottle.egress.routes.retain(|route| before.bottle.egress.routes.contains(route));
    if &rest == before { Ok(()) } else { Err("more than the routes would change".to_owned()) }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|error| {
        let shown = Untrusted::new(file.as_os_str().as_encoded_bytes()).to_string();
        Error::failed(format!("cannot read {shown}"), error, "check its permissions")
    })
}

/// The whole text is on disk before it has the name. A link of the person's stays one.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let file: PathBuf = if file.exists() { file.canonicalize()? } else { file.to_owned() };
    let directory = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mode = fs::metadata(&file).map_or(0o644, |meta| meta.permissions().mode() & 0o777);
    let temporary = directory.join(format!(".allow.{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).and_then(|mut target| {
        target.write_all(text.as_bytes())?;
        target.sync_all()?;
        fs::rename(&temporary, &file)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}
