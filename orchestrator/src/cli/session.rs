//! `orchestrator session ...`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use domain::{DependencyRule, JobId, JobState, Labels, Priority, Timestamp};
use serde_json::{Map, Value, json};

use super::{Connection, DemandArgs};
use crate::output::Format;

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made, once, from the command line"
)]
pub enum SessionCommand {
    /// Submit a session, and follow it to its end
    ///
    /// Its log goes to standard output, its events to standard error; the exit code tells how it ended: 0 completed,
    /// 6 timeout, 1 anything else, which a session is too that is paused because its budget is used up. With --detach only
    /// its id is printed. Ctrl-C ends the following, not the session.
    #[command(after_help = "\
Examples:
  orchestrator session run --run 'make test' --repo .
  orchestrator session run --repo ~/src/project --ref main --max-duration 600 -- cargo test --workspace
  orchestrator session run --run 'date > NOW.txt' --keep NOW.txt --tag nightly --detach
  orchestrator session run --run 'make deploy' --after 0198c5a2-7e1b-7cc0-8000-0123456789ab --detach
  orchestrator session run --run 'nvidia-smi' --require gpu=h100 --deadline 2026-12-24T18:00:00Z
  orchestrator session run --title hello --agent echo --prompt 'say hello'
  orchestrator session run --repo . --agent opencode --prompt 'Fix the failing test'
  orchestrator session run --repo . --agent eap --agent-name reviewer --file src/lib.rs --prompt 'Review it'")]
    Run(RunArgs),
    /// List sessions, newest first
    #[command(after_help = "\
Examples:
  orchestrator session list
  orchestrator session list --status queued,running --tag nightly --limit 200
  orchestrator session list -o json")]
    List(SessionListArgs),
    /// Show one session
    #[command(
        after_help = "Example:\n  orchestrator session get 0198c5a2-7e1b-7cc0-8000-0123456789ab -o json"
    )]
    Get(OneSession),
    /// Follow a session's events to its end; the exit code tells how it ended
    #[command(after_help = "\
Examples:
  orchestrator session watch 0198c5a2-7e1b-7cc0-8000-0123456789ab
  orchestrator session watch 0198c5a2-7e1b-7cc0-8000-0123456789ab --timeout 60")]
    Watch(WatchArgs),
    /// Print a session's log
    #[command(after_help = "\
Examples:
  orchestrator session logs 0198c5a2-7e1b-7cc0-8000-0123456789ab
  orchestrator session logs 0198c5a2-7e1b-7cc0-8000-0123456789ab --follow")]
    Logs(LogsArgs),
    /// Print what a session changed, as a patch
    #[command(
        after_help = "Example:\n  orchestrator session diff 0198c5a2-7e1b-7cc0-8000-0123456789ab | git apply"
    )]
    Diff(OneSession),
    /// Say why a session waits: its place, what blocks it, who holds the slots, and a guess when it begins
    #[command(
        after_help = "Example:\n  orchestrator session why 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Why(OneSession),
    /// Ask a running session to stop
    #[command(
        after_help = "Example:\n  orchestrator session stop 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Stop(OneSession),
    /// Take back a session that has not started
    #[command(
        after_help = "Example:\n  orchestrator session cancel 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Cancel(OneSession),
    /// Ask a running session to pause: it keeps its checkpoint and changes, and gives its slot back
    #[command(
        after_help = "Example:\n  orchestrator session pause 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Pause(OneSession),
    /// Queue a paused session again; it goes on where it was, and a used up budget is granted once more
    #[command(
        after_help = "Example:\n  orchestrator session resume 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Resume(OneSession),
    /// List a session's runs: which agent and worker had it, for how long, and how each ended
    #[command(
        after_help = "Example:\n  orchestrator session attempts 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Attempts(OneSession),
    /// List the checkpoints that a session's runs kept
    #[command(
        after_help = "Example:\n  orchestrator session checkpoints 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Checkpoints(OneSession),
    /// Let the next run of a session start from an earlier checkpoint
    #[command(
        after_help = "Example:\n  orchestrator session restore 0198c5a2-7e1b-7cc0-8000-0123456789ab 3"
    )]
    Restore(RestoreArgs),
    /// Queue a session again that failed, timed out or was stopped
    #[command(
        after_help = "Example:\n  orchestrator session retry 0198c5a2-7e1b-7cc0-8000-0123456789ab"
    )]
    Retry(OneSession),
}

// What a session does; no doc comment, which would become the help of the command that it is flattened into.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// What people see in lists [default: the command line, or the prompt]
    #[arg(long)]
    pub title: Option<String>,
    /// What the agent is asked to do
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prompt: String,
    /// Kind of agent [default: command where a command is given, else echo]
    #[arg(long, value_enum)]
    pub agent: Option<AgentChoice>,
    /// Provider and model of the opencode agent [default: what the worker prefers]
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub model: Option<String>,
    /// Whose providers and models the opencode agent uses, by their name in the workers' configuration [default: the
    /// tenant's own, or those for all]
    #[arg(long, value_name = "NAME")]
    pub providers: Option<String>,
    /// Rule for a tool of the opencode agent, such as deny:bash:'git push*' or allow:bash:'cargo *'; without a pattern for
    /// all that it is used on; may be repeated, the last that fits decides
    #[arg(long = "permission", value_name = "allow|deny:TOOL[:PATTERN]", value_parser = permission)]
    pub permissions: Vec<Value>,
    /// The external agent, by its name in the workers' configuration; for --agent eap
    #[arg(long, value_name = "NAME")]
    pub agent_name: Option<String>,
    /// File of the worktree that an agent which works elsewhere (--agent eap, --can) is handed; may be repeated
    #[arg(long = "file", value_name = "FILE", requires = "repo")]
    pub files: Vec<String>,
    /// What kind of work it is, in words that an agent which works elsewhere (--agent eap, --can) knows [default: coding]
    #[arg(long, value_name = "TYPE")]
    pub task_type: Option<String>,
    /// A JSON object that an agent which works elsewhere (--agent eap, --can) is handed as it is
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub input_data: Option<Map<String, Value>>,
    /// Line for /bin/sh, run by the command agent
    #[arg(long, value_name = "LINE", conflicts_with = "argv")]
    pub run: Option<String>,
    /// Program and arguments, run by the command agent
    #[arg(last = true, value_name = "ARGV")]
    pub argv: Vec<String>,
    /// Instead of an agent: what it must be able to do; the best registered agent that is free gets it
    #[arg(long = "can", value_name = "CAPABILITY,..", value_delimiter = ',',
        conflicts_with_all = ["agent", "model", "providers", "permissions", "run", "argv"])]
    pub capabilities: Vec<String>,
    /// With --can: the agent's least tier
    #[arg(long, value_name = "N", requires = "capabilities")]
    pub min_tier: Option<u8>,
    /// With --can: an agent to prefer, by name or id
    #[arg(long, value_name = "AGENT", requires = "capabilities")]
    pub prefer: Option<String>,
    /// Local git repository to work on; the session gets a worktree of its own
    #[arg(long, value_name = "PATH")]
    pub repo: Option<PathBuf>,
    /// Branch, tag or commit to start from [default: HEAD]
    #[arg(long = "ref", value_name = "REF", requires = "repo")]
    pub reference: Option<String>,
    /// critical, high, medium, low or deferred [default: medium]
    #[arg(long)]
    pub priority: Option<Priority>,
    /// Wall-clock limit of one run
    #[arg(long, value_name = "SECONDS")]
    pub max_duration: Option<u32>,
    /// How many runs may fail before the session does; only exit code 75 and the worker's own failures are tried again
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Mark to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// File of the worktree to keep as an artifact; may be repeated
    #[arg(long, value_name = "FILE")]
    pub keep: Vec<String>,
    /// Label that the worker must have; may be repeated
    #[arg(long = "require", value_name = "KEY=VALUE")]
    pub require: Vec<Labels>,
    /// Let no other exclusive session work on the same branch at the same time
    #[arg(long, requires = "repo")]
    pub exclusive: bool,
    #[command(flatten)]
    pub demands: DemandArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub session: OneSession,
    /// The checkpoint's number
    #[arg(value_name = "NUMBER")]
    pub number: u32,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub work: WorkArgs,
    /// Session that must end well first; may be repeated
    #[arg(long = "after", value_name = "ID")]
    pub after: Vec<JobId>,
    /// What becomes of it when one of those does not: fail or skip [default: fail]
    #[arg(long, value_name = "RULE", requires = "after")]
    pub if_prerequisite_fails: Option<DependencyRule>,
    /// Not before this instant, as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub run_after: Option<Timestamp>,
    /// By when it must have ended: it fails then if it still waits, and is ended if it runs
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub deadline: Option<Timestamp>,
    /// Follow it to its end; the default
    #[arg(long, conflicts_with = "detach")]
    pub follow: bool,
    /// Only submit it, and print its id
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub connection: Connection,
    /// `json` prints the session's document instead of its log
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong =
        |_| "write an instant with its zone, as 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00";
    text.parse().map_err(wrong).map_err(str::to_owned)
}

/// As the API takes it.
fn permission(text: &str) -> Result<Value, String> {
    let (action, on) = text.split_once(':').unwrap_or((text, ""));
    let (tool, pattern) = on.split_once(':').unwrap_or((on, "*"));
    if !["allow", "deny"].contains(&action) || tool.is_empty() || pattern.is_empty() {
        return Err(
            "write allow:TOOL or deny:TOOL, and :PATTERN behind it for some uses only".to_owned(),
        );
    }
    Ok(json!({"action": action, "permission": tool, "pattern": pattern}))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("write a JSON object: {error}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentChoice {
    /// Answers at once; for tests
    Echo,
    /// Runs a command line
    Command,
    /// A model does what the prompt says
    #[value(name = "opencode")]
    OpenCode,
    /// An external agent does it
    Eap,
}

#[derive(Debug, Args)]
pub struct SessionListArgs {
    /// Only these states
    #[arg(long, value_name = "STATE,..", value_delimiter = ',')]
    pub status: Vec<JobState>,
    /// Only this priority
    #[arg(long)]
    pub priority: Option<Priority>,
    /// Only those with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct OneSession {
    /// The session's id
    #[arg(value_name = "ID")]
    pub id: JobId,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The session's id
    #[arg(value_name = "ID")]
    pub id: JobId,
    /// Stop waiting after so many seconds, with exit code 6; the session goes on
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
    /// `json` prints each event as a line of JSON
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The session's id
    #[arg(value_name = "ID")]
    pub id: JobId,
    /// Go on with what is written, until the session ends
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub connection: Connection,
}
