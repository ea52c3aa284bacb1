//! Commands that serve, and those that look after the installation.

use std::path::PathBuf;

use clap::Args;

use super::{DataFlags, HttpFlags, LogFlags, MetricsFlags, WorkerFlags};
use crate::output::Format;

/// Run everything in one process: API, pages, worker, SQLite
///
/// For a laptop, a first look and tests. Everything is kept in the data folder; the first start makes the tenant
/// `default` and writes an admin's key to DIR/admin.key (readable by you alone). One process a data folder.
///
/// Sessions may run commands as you, in worktrees of repositories below your home and the working directory (see
/// --agents and --roots).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator dev
  orchestrator dev --port 8090 --data-dir /tmp/try
  orchestrator dev --agents echo --concurrency 4

  curl -H \"Authorization: Bearer $(cat .orchestrator/admin.key)\" http://127.0.0.1:8080/api/v1/queues")]
pub struct DevArgs {
    #[command(flatten)]
    pub http: HttpFlags,
    #[command(flatten)]
    pub metrics: MetricsFlags,
    #[command(flatten)]
    pub worker: WorkerFlags,
    #[command(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Show the main job on a real repository, in half a minute
///
/// Starts the embedded mode on a free port with a data folder of its own. Three tenants with different quotas submit
/// real coding sessions over HTTP, each in its own worktree, and a small training job; their progress is shown live
/// and a table at the end says what happened. Your checkout is not changed. Exit code 0 only if every outcome is the
/// expected one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator demo
  orchestrator demo --repo ~/src/project
  orchestrator demo --keep            leaves the server and its pages up until Ctrl-C")]
pub struct DemoArgs {
    /// Git repository to work on [default: the checkout this is called in, or a small new one]
    #[arg(long, value_name = "PATH")]
    pub repo: Option<PathBuf>,

    /// Leave the server and its pages up afterwards, until Ctrl-C
    #[arg(long)]
    pub keep: bool,

    /// Port to serve on [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub port: u16,

    /// What to log on standard error
    #[arg(long, value_name = "FILTER", default_value = "error")]
    pub log: String,
}

/// Serve the API and the pages (services mode)
///
/// Needs PostgreSQL, RabbitMQ and Redis at DATABASE_URL, AMQP_URL and REDIS_URL, and a schema made by `orchestrator
/// migrate`. Any number of producers may run beside each other.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator producer
  orchestrator producer --host 0.0.0.0 --port 80 --log-format json")]
pub struct ProducerArgs {
    #[command(flatten)]
    pub http: HttpFlags,
    #[command(flatten)]
    pub metrics: MetricsFlags,
    #[command(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Run jobs (services mode)
///
/// Needs PostgreSQL, RabbitMQ and Redis at DATABASE_URL, AMQP_URL and REDIS_URL, and a schema made by `orchestrator
/// migrate`. Start as many as needed, on any machine. SIGTERM drains: no new jobs, running ones may go on for
/// --drain-seconds and are handed back after that; a second SIGTERM ends at once.
///
/// By default only the agents `echo` and `external` (those that registered themselves) are run: `command` and `opencode` do what tenants send as this user, so they have to
/// be named, as has `eap`, which gives work to the external agents of the configuration; and local repositories and datasets have to lie below one of --roots.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator worker --concurrency 64
  orchestrator worker --agents echo,command --roots /srv/repositories,/srv/datasets
  orchestrator worker --kinds training --concurrency 2 --label gpu=h100")]
pub struct WorkerArgs {
    #[command(flatten)]
    pub worker: WorkerFlags,
    #[command(flatten)]
    pub metrics: MetricsFlags,
    /// Address that /metrics listens on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    #[command(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Bring the database's schema up to date
///
/// PostgreSQL where DATABASE_URL is set, SQLite where --data-dir is given (`dev` does that by itself). Safe to run
/// twice, and from several places at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator migrate
  orchestrator migrate --data-dir .orchestrator")]
pub struct MigrateArgs {
    #[command(flatten)]
    pub data: DataFlags,
}

/// Show the effective configuration and probe each service
///
/// Prints every setting with where it came from, secrets hidden, and asks each service that is configured for a sign
/// of life. Exit code 1 if something that is needed does not work.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orchestrator doctor
  orchestrator doctor -o json")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub data: DataFlags,
    /// How to write the findings
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
