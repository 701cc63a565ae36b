//! The command line: what can be asked of bottle, and where each answer comes from.

mod stdout;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::CompleteEnv;
use rustix::fs::Mode;

use crate::commands::{
    allow, answer, apply, asks, audit, check, cleanup, completions, demo, diff, doctor, explain, help, images, info, init, list, logs, man,
    policy, reload, rm, schema, start, stop, undo,
};
use crate::error::{Result, USAGE};
use crate::help::{Style, examples, parse, show};
use crate::store::Layout;
use crate::terminal::Messages;
use crate::{agent_program, manifest, terminal};
use stdout::Stdout;

/// Run a coding agent as if it were already compromised, and lose nothing when it is
#[derive(Debug, Parser)]
#[command(name = "bottle", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(start::Args),
    Stop(stop::Args),
    Reload(reload::Args),
    Asks(asks::Args),
    Answer(answer::Args),
    #[command(visible_aliases = ["ls", "ps"])]
    List(list::Args),
    Logs(logs::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Undo(undo::Args),
    Rm(rm::Args),
    Cleanup(cleanup::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Audit(audit::Args),
    Explain(explain::Args),
    Check(check::Args),
    Policy(policy::Args),
    Images(images::Args),
    Allow(allow::Args),
    Info(info::Args),
    Init(init::Args),
    Schema(schema::Args),
    Help(help::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What `bottle --help` ends with.
const TOPICS: &str = "`bottle help` lists topics too: manifests, git, the scanner, recipes …";

/// The command line as clap describes it, for the parser, completions and manual pages.
pub fn definition() -> clap::Command {
    let of_dry_run = |arg: clap::Arg| arg.requires("dry_run");
    let start = |start: clap::Command| start.mut_arg("format", of_dry_run).mut_arg("json", of_dry_run);
    with_examples(Cli::command().after_help(TOPICS).mut_subcommand("start", start), "bottle")
}

/// Puts a command's examples behind its help, and those of its subcommands behind theirs.
fn with_examples(command: clap::Command, name: &str) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let command = names
        .iter()
        .fold(command, |command, inner| command.mut_subcommand(inner, |command| with_examples(command, &format!("{name} {inner}"))));
    let Some(text) = examples(name) else { return command };
    let shown = show(&parse(text), Style { width: 80, colour: false });
    let rest = command.get_after_help().map(|text| format!("\n\n{text}")).unwrap_or_default();
    command.after_long_help(format!("Examples:\n\n{}{rest}", shown.trim_end()))
}

/// Runs bottle, and returns its exit code. Only this function prints errors.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    keep_own_rights();
    let args: Vec<OsString> = args.into_iter().collect();
    let directory = std::env::current_dir().ok();
    match CompleteEnv::with_factory(definition).var(completions::VARIABLE).try_complete(args.clone(), directory.as_deref()) {
        Ok(false) => {}
        Ok(true) => return 0,
        Err(error) => return not_parsed(&error),
    }
    let cli = match definition().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let mut out = Stdout::new(io::stdout().lock());
    let result = run(&cli.command, &mut out);
    match out.end(result) {
        Ok(code) => code,
        Err(error) => {
            match cli.command {
                // It hears signals only while it looks for them, so it must not hang in a message.
                Command::Start(_) => Messages::default().write(&format!("{error}\n")),
                _ => drop(writeln!(io::stderr(), "{error}")),
            }
            error.code
        }
    }
}

/// Prints what clap says instead: help, the version, or what is wrong with the command line.
fn not_parsed(error: &clap::Error) -> u8 {
    match error.print() {
        Err(printing) if printing.kind() == io::ErrorKind::BrokenPipe && !error.use_stderr() => stdout::CLOSED,
        _ if error.use_stderr() => USAGE,
        Ok(()) => 0,
        Err(_) => crate::error::FAILED,
    }
}

/// A umask that takes the owner's own rights would make what bottle itself cannot read again. What others may do is left to it.
fn keep_own_rights() {
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask - Mode::RWXU);
}

fn run(command: &Command, out: &mut dyn Write) -> Result<u8> {
    let library = || {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        manifest::load(&Layout::here()?.config, home.as_deref(), std::env::current_dir().ok().as_deref())
    };
    match command {
        Command::Start(args) => start::run(args, &Layout::here()?, out),
        Command::Stop(args) => stop::run(args, &Layout::here()?, out),
        Command::Reload(args) => reload::run(args, &Layout::here()?, out),
        Command::Asks(args) => asks::run(args, &Layout::here()?, out),
        Command::Answer(args) => answer::run(args, &Layout::here()?, &library, out),
        Command::List(args) => list::run(args, &Layout::here()?, out),
        Command::Logs(args) => logs::run(args, &Layout::here()?, out),
        Command::Diff(args) => diff::run(args, &Layout::here()?, out),
        Command::Apply(args) => apply::run(args, &Layout::here()?, out),
        Command::Undo(args) => undo::run(args, &Layout::here()?, out),
        Command::Rm(args) => rm::run(args, &Layout::here()?, out),
        Command::Cleanup(args) => cleanup::run(args, &Layout::here()?, out),
        Command::Doctor(args) => doctor::run(args, &Layout::here()?, &library, terminal::style(), out),
        Command::Demo(args) => demo::run(*args, out),
        Command::Audit(args) => audit::run(args, &Layout::here()?, out),
        Command::Explain(args) => explain::run(args, &Layout::here()?, out),
        Command::Check(args) => check::run(args, &library, &|name| std::env::var(name).ok(), out),
        Command::Policy(args) => policy::run(args, &Layout::here()?, &library, &|name| std::env::var(name).ok(), out),
        Command::Allow(args) => allow::run(args, &Layout::here()?, &library, out).map(|()| 0),
        Command::Info(args) => {
            let host = info::Host { is_set: &|name| std::env::var_os(name).is_some(), toolchains: &agent_program::toolchains };
            info::run(args, out, &library()?, &host).map(|()| 0)
        }
        Command::Images(args) => images::run(args, &Layout::here()?, out),
        Command::Init(args) => init::run(args, out, &Layout::here()?.config).map(|()| 0),
        Command::Schema(args) => schema::run(args, out).map(|()| 0),
        Command::Help(args) => help::run(args, definition(), terminal::style(), out),
        Command::Completions(args) => completions::run(args, out),
        Command::Man(args) => man::run(args, definition(), out),
    }
}
