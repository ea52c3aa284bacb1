//! `orchestrator agent check`

use clap::Args;

use crate::output::Format;

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
