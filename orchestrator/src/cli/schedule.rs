//! `orchestrator schedule ...`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::{MissedTicks, Overlap};

use super::{Connection, Listing, WorkArgs};
use crate::output::Format;

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made, once, from the command line"
)]
pub enum ScheduleCommand {
    /// Make a session at each tick of a timetable
    ///
    /// The timetable has five fields (minute, hour, day of month, month, day of week) or is @hourly, @daily, @weekly,
    /// @monthly or @yearly. What the sessions do is said as with `session run`; training jobs and whatever has no flag
    /// here come by --body.
    #[command(after_help = "\
Examples:
  orchestrator schedule create nightly --cron '30 3 * * 1-5' --timezone Europe/Berlin --repo . --run 'make test'
  orchestrator schedule create backup --cron @hourly --overlap skip --missed skip -- /usr/local/bin/backup --all
  orchestrator schedule create retrain --cron @weekly --body training.json")]
    Create(ScheduleCreateArgs),
    /// List schedules, by name
    #[command(after_help = "\
Examples:
  orchestrator schedule list
  orchestrator schedule list -o json")]
    List(Listing),
    /// Show one schedule, with its next ticks
    #[command(after_help = "Example:\n  orchestrator schedule get nightly")]
    Get(OneSchedule),
    /// Make no more jobs until it is resumed
    #[command(after_help = "Example:\n  orchestrator schedule pause nightly")]
    Pause(OneSchedule),
    /// Go on with the next tick; those of the pause are not made up for
    #[command(after_help = "Example:\n  orchestrator schedule resume nightly")]
    Resume(OneSchedule),
    /// Make one job now, and print its id; the ticks go on as if nothing had been
    #[command(after_help = "\
Examples:
  orchestrator schedule run nightly
  orchestrator session watch $(orchestrator schedule run nightly)")]
    Run(OneSchedule),
    /// Delete it; the jobs that it made stay
    #[command(after_help = "Example:\n  orchestrator schedule delete nightly")]
    Delete(OneSchedule),
}

#[derive(Debug, Args)]
pub struct ScheduleCreateArgs {
    /// Name of a-z, 0-9 and -, unique within the tenant
    pub name: String,
    /// When: `30 3 * * 1-5`, @daily, ...
    #[arg(long, value_name = "TIMETABLE")]
    pub cron: String,
    /// Where these hours are told, as the IANA database names it [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// What becomes of ticks that nobody saw: skip, latest or all [default: latest]
    #[arg(long, value_name = "RULE")]
    pub missed: Option<MissedTicks>,
    /// While the previous job has not ended: allow another one, or skip the tick [default: allow]
    #[arg(long, value_name = "RULE")]
    pub overlap: Option<Overlap>,
    /// From when a job is made to its deadline
    #[arg(long, value_name = "SECONDS")]
    pub deadline_after: Option<u32>,
    /// Make no jobs until it is resumed
    #[arg(long)]
    pub paused: bool,
    /// JSON file with `session` or `training`, as the API takes them, instead of the flags that say what to do
    #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "prompt", "agent", "run", "argv", "repo", "reference",
        "priority", "capabilities", "min_tier", "prefer", "permissions", "max_duration", "max_attempts", "tags", "keep", "require", "exclusive"])]
    pub body: Option<PathBuf>,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct OneSchedule {
    /// The schedule's name or id
    #[arg(value_name = "SCHEDULE")]
    pub named: String,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
