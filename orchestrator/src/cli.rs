//! The command line: what may be said, and the help for it. Decides nothing; `commands` does what was asked.

mod agent;
mod agent_check;
mod client;
mod dead_letter;
mod demands;
mod flags;
mod schedule;
mod server;
mod session;
mod tenant;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use agent::{AgentCommand, AgentRegisterArgs, AgentRouteArgs, OneAgent};
pub use agent_check::AgentCheckArgs;
pub use client::{Connection, Listing, OneQueue, QueueCommand, QueueListArgs, WorkersArgs};
pub use dead_letter::{DeadLetterCommand, OneReplay, ReplayArgs};
pub use demands::DemandArgs;
pub use flags::{DataFlags, HttpFlags, LogFlags, MetricsFlags, WorkerFlags};
pub use schedule::{OneSchedule, ScheduleCommand, ScheduleCreateArgs};
pub use server::{DemoArgs, DevArgs, DoctorArgs, MigrateArgs, ProducerArgs, WorkerArgs};
pub use session::{
    AgentChoice, LogsArgs, OneSession, RestoreArgs, RunArgs, SessionCommand, SessionListArgs,
    WatchArgs, WorkArgs,
};
pub use tenant::{
    KeyCommand, KeyCreateArgs, OneTenant, TenantCommand, TenantCreateArgs, TenantQuotaArgs,
};

const AFTER_HELP: &str = "\
Start here:
  orchestrator demo                          see it work on a repository of yours, in half a minute
  orchestrator dev                           all in one process: API, pages, worker, SQLite
  orchestrator session run --run 'make test' --repo .
  orchestrator session list

Production, against PostgreSQL, RabbitMQ and Redis (DATABASE_URL, AMQP_URL, REDIS_URL):
  orchestrator migrate
  orchestrator producer                      the API and the pages
  orchestrator worker                        as many as needed, on any machine
  orchestrator doctor                        what is configured, and whether it answers

Settings come from flags, over ORCHESTRATOR_* variables, over orchestrator.toml, over defaults.

Exit codes: 0 ok, 1 the job or the program failed, 2 usage, 3 not authorized, 4 not found,
5 quota used up, 6 timeout.";

/// Runs autonomous coding sessions and training jobs for many tenants, fairly, and never loses one.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file [default: orchestrator.toml in the working directory, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(DevArgs),
    Demo(DemoArgs),
    Producer(ProducerArgs),
    Worker(WorkerArgs),
    Migrate(MigrateArgs),
    Doctor(DoctorArgs),
    /// Print the API's OpenAPI document
    ///
    /// The same that a producer serves at /api/v1/openapi.json; needs no service.
    #[command(after_help = "Example:\n  orchestrator openapi > openapi.json")]
    Openapi,
    /// Submit coding sessions, watch and steer them
    #[command(subcommand)]
    Session(SessionCommand),
    /// See what waits, and pause, resume or drain queues
    #[command(subcommand)]
    Queue(QueueCommand),
    /// See jobs that failed for good, and queue them again
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Register agents, and see where a task would be routed
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Make sessions again and again, by a timetable
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Manage tenants and their quotas (needs a system admin's key)
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Make API keys
    #[command(subcommand)]
    Key(KeyCommand),
    Workers(WorkersArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that a person may call explains itself and shows how it is used.
    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let path = format!("{path} {}", sub.get_name());
                if sub.has_subcommands() {
                    check(sub, &path);
                    continue;
                }
                assert!(sub.get_about().is_some(), "{path} says what it does");
                let help = sub.get_after_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(help.contains(&path), "{path} shows an example");
            }
        }
        check(&Cli::command(), "orchestrator");
    }
}
