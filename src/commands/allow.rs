//! `bottle allow`: writes a route into the bottle of an agent, in the person's own configuration, or allows it in one running bottle for a while; and an
//! exception of the scanner's.

mod at_once;
mod finding;

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

/// Let an agent reach more hosts, or send what only looks like a secret
///
/// What is allowed is added to your own configuration, in the file of the agent's bottle; comments and order stay. For a built-in bottle a file is written that extends it.
/// Bottles that run already are named: `bottle reload` lets them follow.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Hosts, as a manifest names them: `name`, `*.suffix`, with `:port` if it is neither 443 nor 80
    #[arg(required_unless_present = "finding", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Choose the agent whose bottle it is; `implementer`, or of a finding the one that sent it
    #[arg(long, add = ArgValueCandidates::new(completions::agents))]
    pub agent: Option<String>,
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
    /// Show what was found in a request, and let that value pass from now on, once its rule was typed
    #[arg(long, value_name = "REQUEST-ID", conflicts_with_all = ["hosts", "read_only", "bottle"])]
    pub finding: Option<String>,
}

/// A time as a manifest spells it.
fn time(text: &str) -> std::result::Result<Duration, String> {
    measure::duration(text).ok_or_else(|| "a time is a number and s, m or h, as in 10m".to_owned())
}

/// Adds the routes, and says where.
pub fn run(args: &Args, layout: &Layout, library: &dyn Fn() -> Result<Library>, out: &mut dyn Write) -> Result<()> {
    match (&args.finding, &args.bottle) {
        (Some(id), _) => finding::run(id, args.agent.as_deref(), layout, &library()?, out),
        (None, Some(id)) => at_once::run(args, &Running::named(layout, id)?, out),
        (None, None) => to_file(args, layout, &library()?, out),
    }
}

fn to_file(args: &Args, layout: &Layout, library: &Library, out: &mut dyn Write) -> Result<()> {
    let agent = args.agent.as_deref().unwrap_or("implementer");
    let matches = if args.read_only { ", matches: [{ methods: [GET, HEAD] }]" } else { "" };
    // Quoted as JSON is: a host may begin with a star.
    let rows: Vec<String> =
        args.hosts.iter().map(|host| format!("{{ host: {}{matches} }}", serde_json::Value::from(host.as_str()))).collect();
    let Added { file, before, after, library } = add(layout, library, agent, &rows)?;
    for host in &args.hosts {
        let what = if args.read_only { "to read" } else { "everything" };
        writeln!(out, "{agent} may reach {}: {what}, by {file}", Untrusted::new(host)).map_err(cannot_write)?;
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
    let own = Own::of(&before, &layout.config)?;
    let shown = own.shown();
    let by_hand = || {
        let cause = format!("{shown}: {}", edit::FLOW);
        Error::failed("the routes cannot be added", cause, format!("add to its routes: {}", rows.join(", ")))
    };
    let text = edit::with_routes(&own.text, rows).ok_or_else(by_hand)?;
    let library = own.with(&text, &before, library);
    let after = library.resolve(agent)?;
    differs_in_routes_alone(&before, &after, rows.len())
        .map_err(|cause| Error::failed("the routes were not added", cause, format!("add them to {shown} by hand")))?;
    own.write(&text)?;
    Ok(Added { file: shown, before, after, library })
}

/// The person's own file of a bottle, which need not be there yet.
struct Own {
    file: PathBuf,
    text: String,
}

impl Own {
    /// That of a bottle; for a built-in one, a file that extends it.
    fn of(resolved: &Resolved, config: &Path) -> Result<Self> {
        let bottle = &resolved.bottle.name;
        Ok(match &resolved.bottle.origin {
            Origin::Home(file) => Self { file: file.clone(), text: read(file)? },
            Origin::BuiltIn | Origin::Repo(_) => Self {
                file: config.join(Kind::Bottle.directory()).join(format!("{bottle}.md")),
                text: format!("---\nextends: {bottle}\n---\n\nThe built-in bottle `{bottle}`, and what was allowed besides.\n"),
            },
        })
    }

    fn shown(&self) -> String {
        Untrusted::new(self.file.as_os_str().as_encoded_bytes()).to_string()
    }

    /// The library with this text.
    fn with(&self, text: &str, before: &Resolved, library: &Library) -> Library {
        let origin = Origin::Home(self.file.clone());
        let source = Source { kind: Kind::Bottle, name: before.bottle.name.clone(), origin, content: Ok(text.to_owned().into_bytes()) };
        library.clone().with(source)
    }

    fn write(&self, text: &str) -> Result<()> {
        write(&self.file, text).map_err(|error| Error::failed(format!("cannot write {}", self.shown()), error, "check its permissions"))
    }
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
