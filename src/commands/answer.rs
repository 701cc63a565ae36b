//! `bottle answer`: a person's decision about a question.

use std::io::Write;
use std::path::PathBuf;

use bottle_contract::Untrusted;

use super::running::Running;
use super::{allow, asks, cannot_write};
use crate::asks::{Decision, Lease, Verdict};
use crate::control_socket::asks_command::AnswerResult;
use crate::control_socket::{Request, Response};
use crate::error::{Error, Result};
use crate::manifest::{Library, measure};
use crate::store::Layout;

/// More than any signature has.
const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

/// Answer what an agent asks for
///
/// The hash binds the answer to what `bottle asks` showed. A yes is for one request unless something else is said, and never outlives the
/// bottle, but for `--always`, which writes the route into your own configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Question: `bottle asks` shows them
    pub ask: String,
    /// The answer
    #[arg(value_enum)]
    pub answer: Answer,
    /// Give the first 16 or more digits of the question's hash
    #[arg(long, value_name = "HASH")]
    pub hash: String,
    /// Let it last so long, as in 10m
    #[arg(long = "for", value_name = "TIME", group = "lease")]
    pub lasts: Option<String>,
    /// Let so many requests pass
    #[arg(long, value_name = "COUNT", group = "lease")]
    pub uses: Option<u32>,
    /// Let it last as long as the bottle runs
    #[arg(long, group = "lease")]
    pub bottle: bool,
    /// Keep it: as long as the bottle runs, and as a route in your own configuration
    #[arg(long, group = "lease")]
    pub always: bool,
    /// Give the host once more, where a credential would be sent
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Give a reason, which the agent reads
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Give a signature of the whole hash: `ssh-keygen -Y sign -n ask@bottle`
    #[arg(long, value_name = "FILE", requires = "signer")]
    pub signature: Option<PathBuf>,
    /// Give the signer's name in the file of signers
    #[arg(long, value_name = "NAME", requires = "signature")]
    pub signer: Option<String>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Answer {
    /// Allow it
    Yes,
    /// Refuse it
    No,
}

/// Sends the decision, and says what came of it.
pub fn run(args: &Args, layout: &Layout, library: &dyn Fn() -> Result<Library>, out: &mut dyn Write) -> Result<u8> {
    let shown = Untrusted::new(&args.ask).to_string();
    let (bottle, _) = args.ask.rsplit_once('.').ok_or_else(|| {
        Error::usage(format!("`{shown}` names no question"), "a question is named BOTTLE.NUMBER", "`bottle asks` shows them")
    })?;
    let running = Running::named(layout, bottle)?;
    let decision = Decision {
        ask: args.ask.clone(),
        hash: args.hash.clone(),
        verdict: match args.answer {
            Answer::Yes => Verdict::Yes(lease(args)?),
            Answer::No => Verdict::No,
        },
        host: args.host.clone(),
        reason: args.reason.clone(),
        signature: args.signature.as_ref().map(signature).transpose()?,
        signer: args.signer.clone(),
    };
    let row = if args.always && args.answer == Answer::Yes { Some(row(args, layout, bottle)?) } else { None };
    match running.ask(&Request::Answer(Box::new(decision)))? {
        Response::Answer(AnswerResult::Denied) => writeln!(out, "{shown} is refused").map_err(cannot_write)?,
        Response::Answer(AnswerResult::Granted { generation }) => {
            writeln!(out, "{shown} is allowed (generation {generation})").map_err(cannot_write)?;
        }
        _ => return Err(running.unexpected()),
    }
    if let Some(row) = row {
        let added = allow::add(layout, &library()?, &running.metadata.agent, &[row])?;
        writeln!(out, "later bottles have the route too, by {}", added.file).map_err(cannot_write)?;
    }
    Ok(0)
}

fn lease(args: &Args) -> Result<Lease> {
    if let Some(text) = &args.lasts {
        let time = measure::duration(text).ok_or_else(|| {
            Error::usage(format!("`{}` is not a time", Untrusted::new(text)), "no such duration", "write it as in 10m or 1h30m")
        })?;
        return Ok(Lease::For(time.as_secs()));
    }
    Ok(match args.uses {
        Some(uses) => Lease::Uses(uses),
        None if args.bottle || args.always => Lease::Bottle,
        None => Lease::Uses(1),
    })
}

/// The row for the manifest, before anything is decided: what cannot be written must not be half done.
fn row(args: &Args, layout: &Layout, bottle: &str) -> Result<String> {
    let lists = asks::lists(Some(bottle), layout)?;
    let found = lists.into_iter().flat_map(|(_, list)| list.asks).find(|shown| shown.ask == args.ask);
    let shown = found
        .ok_or_else(|| Error::usage("the question is closed".to_owned(), "nothing of this name waits", "`bottle asks` shows what waits"))?;
    if !shown.can_be_written {
        let cause = "in a manifest, a path that ends with a slash includes all paths below it";
        return Err(Error::usage("this cannot be kept for later bottles", cause, "allow it with `--bottle`, and write a route by hand"));
    }
    Ok(shown.yaml)
}

fn signature(path: &PathBuf) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SIGNATURE_BYTES).read_to_string(&mut text));
    read.map_err(|error| {
        let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
        Error::failed(format!("cannot read {shown}"), error, "name the file that `ssh-keygen -Y sign` wrote")
    })?;
    Ok(text)
}
