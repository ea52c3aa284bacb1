//! `orchestrator agent check`

use clap::{Args, Subcommand};

use crate::output::Format;

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Check whether an external agent keeps the protocol (EAP 1.0)
    ///
    /// For authors of agents. Speaks to the agent itself, and to no orchestrator: asks for its health, gives it some small
    /// tasks, some of them twice or wrong on purpose, and says what it should have done. A real agent may bill for the
    /// tasks. docs/eap.md is the protocol. Exit code 1: at least one check failed.
    #[command(after_help = "\
Examples:
  EAP_TOKEN=... orchestrator agent check http://127.0.0.1:9200
  REVIEWER=... orchestrator agent check https://agents.example.org/reviewer --token-env REVIEWER -o json")]
    Check(AgentCheckArgs),
}

#[derive(Debug, Args)]
pub struct AgentCheckArgs {
    /// Where the agent is: what /health and /task are appended to
    #[arg(value_name = "URL")]
    pub url: String,
    /// The variable that holds the agent's token
    #[arg(long, value_name = "NAME", default_value = "EAP_TOKEN")]
    pub token_env: String,
    /// What kind of work its tasks are
    #[arg(long, value_name = "TYPE", default_value = "coding")]
    pub task_type: String,
    /// What its tasks ask for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "This is a conformance check. Do as little as you can, and end."
    )]
    pub prompt: String,
    /// How long one task may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub patience: u64,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
