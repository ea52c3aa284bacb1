//! `orchestrator dead-letter ...`

use clap::{Args, Subcommand};
use domain::{JobKind, ReplayId};

use super::{Connection, Listing};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List jobs that failed for good, grouped by what their errors have in common
    #[command(after_help = "\
Examples:
  orchestrator dead-letter list
  orchestrator dead-letter list -o json")]
    List(Listing),
    /// Queue all that match once more, and watch it
    ///
    /// A bar on a terminal shows how far it is. Ctrl-C ends the watching, not the replay: `dead-letter abort` does that.
    #[command(after_help = "\
Examples:
  orchestrator dead-letter replay --all --dry-run
  orchestrator dead-letter replay --code LEASE_LOST
  orchestrator dead-letter replay --fingerprint 'COMMAND_FAILED: the command ended with exit code #' --detach")]
    Replay(ReplayArgs),
    /// Show how far a replay is
    #[command(
        after_help = "Example:\n  orchestrator dead-letter show 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Show(OneReplay),
    /// Call a replay off; what it has queued stays queued
    #[command(
        after_help = "Example:\n  orchestrator dead-letter abort 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Abort(OneReplay),
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["all", "kind", "fingerprint", "code"])]
pub struct ReplayArgs {
    /// All dead letters of the tenant
    #[arg(long, conflicts_with_all = ["kind", "fingerprint", "code"])]
    pub all: bool,
    /// Of this kind of jobs
    #[arg(long)]
    pub kind: Option<JobKind>,
    /// Of this group, as `list` names it
    #[arg(long, value_name = "TEXT")]
    pub fingerprint: Option<String>,
    /// With this error code
    #[arg(long)]
    pub code: Option<String>,
    /// Only say how many match
    #[arg(long, conflicts_with = "detach")]
    pub dry_run: bool,
    /// Only begin it, and print its id
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct OneReplay {
    /// The replay's id
    #[arg(value_name = "ID")]
    pub id: ReplayId,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
