//! `bottle policy diff`: says in words what one bottle reaches that another does not.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use bottle_policy::reach::{self, Excess, Reach};

use super::running::Running;
use super::{Format, NO, output, rules};
use crate::control_socket::{Request, Response};
use crate::error::{Error, Result};
use crate::manifest::model::{Origin, Resolved};
use crate::manifest::source::Source;
use crate::manifest::{Kind, Library, key};
use crate::plan::agent::Invocation;
use crate::plan::build::Facts;
use crate::plan::plan;
use crate::store::{Bottles, Id, Layout, Status};

/// The largest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// The agent of a bottle that is compared by itself.
const NOBODY: &str = "nobody";

/// Compare what bottles may reach
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Say what B reaches that A does not
    ///
    /// Each is a running bottle by its id, an agent, a bottle, or a bottle's manifest by its path (with a slash, or ending in `.md`), in this
    /// order.
    Diff(DiffArgs),
}

/// Arguments of `bottle policy diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// A, then B; with --boundary, B alone
    #[arg(required = true, num_args = 1..=2, value_names = ["A", "B"])]
    pub bottles: Vec<String>,
    /// Exit with 1 if B reaches beyond this manifest
    #[arg(long, value_name = "FILE")]
    pub boundary: Option<PathBuf>,
    /// How to write the answer
    #[command(flatten)]
    pub format: Format,
}

/// Compares two bottles; with a boundary, the exit code is 1 if anything lies beyond it.
pub fn run(
    args: &Args,
    layout: &Layout,
    library: &dyn Fn() -> Result<Library>,
    host: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<u8> {
    let Action::Diff(args) = &args.action;
    let known = Named { layout, library, host };
    let (a, b, is_boundary) = match (&args.boundary, &*args.bottles) {
        (Some(file), [b]) => (known.file(file)?, known.reach(b)?, true),
        (None, [a, b]) => (known.reach(a)?, known.reach(b)?, false),
        (Some(_), _) => return Err(wrong("with a boundary, one bottle is compared")),
        (None, _) => return Err(wrong("two bottles are compared, or one with a boundary")),
    };
    let beyond = reach::beyond(&a, &b);
    output(write(&beyond, args.format, out).map(|()| if is_boundary && !beyond.is_empty() { NO } else { 0 }))
}

fn wrong(why: &str) -> Error {
    Error::usage("nothing can be compared", why, "bottle policy diff A B, or bottle policy diff --boundary FILE B")
}

fn write(beyond: &[Excess], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(beyond)?),
        Format::Text if beyond.is_empty() => writeln!(out, "nothing more is reached"),
        Format::Text => beyond.iter().try_for_each(|one| writeln!(out, "{one}")),
    }
}

/// Where a name is looked for.
struct Named<'n> {
    layout: &'n Layout,
    library: &'n dyn Fn() -> Result<Library>,
    host: &'n dyn Fn(&str) -> Option<String>,
}

impl Named<'_> {
    fn reach(&self, name: &str) -> Result<Reach> {
        if name.contains('/') || name.ends_with(".md") {
            return self.file(Path::new(name));
        }
        if let Some(reach) = self.running(name)? {
            return Ok(reach);
        }
        let library = (self.library)()?;
        let is_agent = library.names(Kind::Agent).any(|agent| agent == name);
        if is_agent { self.planned(library.resolve(name)?) } else { self.bottle(&library, name) }
    }

    /// What a running bottle reaches now, if there is one of this id.
    fn running(&self, name: &str) -> Result<Option<Reach>> {
        let Ok(id) = name.parse::<Id>() else { return Ok(None) };
        if !Bottles::find(self.layout, &id)?.is_some_and(|entry| entry.status == Status::Running) {
            return Ok(None);
        }
        let bottle = Running::named(self.layout, name)?;
        match bottle.ask(&Request::Policy)? {
            Response::Policy(policy) => Ok(Some(policy.reach)),
            _ => Err(bottle.unexpected()),
        }
    }

    /// A bottle that a manifest outside of the configuration defines; what it extends is looked for there.
    fn file(&self, file: &Path) -> Result<Reach> {
        let shown = Untrusted::new(file.as_os_str().as_encoded_bytes()).to_string();
        let failed = |e: io::Error| Error::usage(format!("cannot read {shown}"), e, "name a bottle's manifest, a file that ends in `.md`");
        let mut content = Vec::new();
        let opened = std::fs::File::open(file).map_err(failed)?;
        io::Read::read_to_end(&mut io::Read::take(opened, MAX_MANIFEST_BYTES), &mut content).map_err(failed)?;
        let name = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| key::is_valid(stem));
        let name = name.ok_or_else(|| Error::usage(format!("{shown} names no bottle"), key::GRAMMAR, "name a file like `dev.md`"))?;
        let file = std::path::absolute(file).map_err(failed)?;
        let source = Source { kind: Kind::Bottle, name: name.to_owned(), origin: Origin::Home(file), content: Ok(content) };
        self.bottle(&(self.library)()?.with(source), name)
    }

    /// A bottle by itself, as an agent without a provider would have it.
    fn bottle(&self, library: &Library, name: &str) -> Result<Reach> {
        let content = format!("---\nbottle: {name}\ncommand: [\"true\"]\n---\n").into_bytes();
        let source = Source { kind: Kind::Agent, name: NOBODY.to_owned(), origin: Origin::Home("/".into()), content: Ok(content) };
        self.planned(library.clone().with(source).resolve(NOBODY)?)
    }

    fn planned(&self, resolved: Resolved) -> Result<Reach> {
        let is_set = |name: &str| (self.host)(name).is_some_and(|value| !value.trim().is_empty());
        let resolved = resolved.with_credentials(&is_set);
        let facts = Facts::minimal(rules::read(&resolved.bottle.scan.rules)?);
        Ok(plan(&resolved, NOBODY, &Invocation { headless: true, ..Invocation::default() }, &facts).reach())
    }
}
