//! The command line: what can be asked of bottle, and where each answer comes from.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use rustix::fs::Mode;

use crate::commands::{
    apply, audit, check, cleanup, completions, demo, diff, doctor, explain, images, info, init, list, logs, man, schema, start, stop,
};
use crate::error::{Result, USAGE};
use crate::manifest;
use crate::store::Layout;
use crate::terminal::Messages;

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
    List(list::Args),
    Logs(logs::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Cleanup(cleanup::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    /// Check the record of what crossed the wall
    Audit(audit::Args),
    Explain(explain::Args),
    Check(check::Args),
    Images(images::Args),
    Info(info::Args),
    Init(init::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The command line as clap describes it, for completions and manual pages.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs bottle, and returns its exit code. Only this function prints errors.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    keep_own_rights();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    let mut out = std::io::stdout().lock();
    match run(&cli.command, &mut out) {
        Ok(code) => code,
        Err(error) => {
            match cli.command {
                // It hears signals only while it looks for them, so it must not hang in a message.
                Command::Start(_) => Messages::default().write(&format!("{error}\n")),
                _ => drop(writeln!(std::io::stderr(), "{error}")),
            }
            error.code
        }
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
        Command::List(args) => list::run(args, &Layout::here()?, out),
        Command::Logs(args) => logs::run(args, &Layout::here()?, out),
        Command::Diff(args) => diff::run(args, &Layout::here()?, out),
        Command::Apply(args) => apply::run(args, &Layout::here()?, out),
        Command::Cleanup(args) => cleanup::run(args, &Layout::here()?, out),
        Command::Doctor(args) => doctor::run(args, &Layout::here()?, out),
        Command::Demo(args) => demo::run(*args, out),
        Command::Audit(args) => audit::run(args, &Layout::here()?, out),
        Command::Explain(args) => explain::run(args, &Layout::here()?, out),
        Command::Check(args) => check::run(args, &library, &|name| std::env::var(name).ok(), out),
        Command::Info(args) => info::run(args, out, &library()?, &|name| std::env::var_os(name).is_some()).map(|()| 0),
        Command::Images(args) => images::run(args, &Layout::here()?, out),
        Command::Init(args) => init::run(args, out, &Layout::here()?.config).map(|()| 0),
        Command::Schema(args) => schema::run(args, out).map(|()| 0),
        Command::Completions(args) => completions::run(args, definition(), out),
        Command::Man(args) => man::run(args, definition(), out),
    }
}
