//! The arguments of `bottle start`, and the times that they set.

use std::time::Duration;

use clap_complete::ArgValueCandidates;

use crate::backend::kind::Kind;
use crate::commands::{Format, completions};
use crate::lifecycle::RunOptions;
use crate::lifecycle::state_machine::Times;
use crate::plan::Plan;

/// How long everything up to the agent's first instruction may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The same on an engine, which may have images to load and be busy with others.
const ENGINE_START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the sidecars may take to end by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an agent may take to end after it was asked, in seconds.
const DEFAULT_GRACE_SECONDS: u64 = 10;
/// Start an agent in a bottle
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Agent: `bottle info` lists them
    #[arg(add = ArgValueCandidates::new(completions::agents))]
    pub agent: String,
    /// Give these arguments to the agent's program, as in `-- --verbose`; without a dash in front, run this program instead
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// Start without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Run without a person: no terminal, no questions
    #[arg(long)]
    pub headless: bool,
    /// Give the agent this task
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Print the agent's events as they come, in its own format (headless)
    #[arg(long)]
    pub stream: bool,
    /// Use this model, by the name that the agent's program knows
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Set the bottle's id; without it, the agent's name or the next free one after it
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Kill the agent this many seconds after it was asked to exit
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE_SECONDS)]
    pub grace: u64,
    /// Let the agent's output act on more than the screen: clipboard, notifications, queries
    #[arg(long)]
    pub unfiltered: bool,
    /// Choose the backend; without it, $BOTTLE_BACKEND decides, then the manifest
    #[arg(long, value_enum)]
    pub backend: Option<Kind>,
    /// Let the agent see a home directory, `/`, or another directory that holds credentials
    #[arg(long)]
    pub allow_private_directory: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How a dry run is printed
    #[command(flatten)]
    pub format: Format,
}

impl Args {
    /// How the agent runs.
    pub(super) fn run_options(&self, kind: Kind, plan: &Plan) -> RunOptions {
        let start = match kind {
            Kind::Embedded => START_TIMEOUT,
            Kind::Compose => ENGINE_START_TIMEOUT,
        };
        let times = Times { start, run: plan.limits.time, grace: Duration::from_secs(self.grace), drain: DRAIN_TIMEOUT };
        RunOptions { times, feed: !self.headless, filter: !self.unfiltered }
    }
}
