//! `orchestrator agent ...`

use clap::{Args, Subcommand};
use domain::RegisteredKind;

use super::{AgentCheckArgs, Connection, Listing};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// List the agents that the tenant may use, its own and the shared ones
    #[command(after_help = "\
Examples:
  orchestrator agent list
  orchestrator agent list -o json")]
    List(Listing),
    /// Show one agent: what it can do, its load and how it fares
    #[command(after_help = "Example:\n  orchestrator agent get reviewer")]
    Get(OneAgent),
    /// Register an agent that workers run (needs a lead's key, with --shared a system admin's)
    ///
    /// Services of their own register themselves, by the External Agent Protocol.
    #[command(after_help = "\
Examples:
  orchestrator agent register reviewer --can code_review,language:rust --tier 4 --run 'review-it .'
  orchestrator agent register tester --can testing --capacity 4 -- make test
  orchestrator agent register critic --can code_review --eap sample
  orchestrator agent register writer --shared --can documentation --model anthropic/claude-sonnet-4-5")]
    Register(AgentRegisterArgs),
    /// Give it nothing new; what it works on goes on
    #[command(after_help = "Example:\n  orchestrator agent drain reviewer")]
    Drain(OneAgent),
    /// End its draining
    #[command(after_help = "Example:\n  orchestrator agent resume reviewer")]
    Resume(OneAgent),
    /// Remove it; what it works on goes on to its end
    #[command(after_help = "Example:\n  orchestrator agent remove reviewer")]
    Remove(OneAgent),
    /// Ask which agent a task would be routed to now, and why
    #[command(after_help = "\
Examples:
  orchestrator agent route --can code_review,language:rust
  orchestrator agent route --can testing --min-tier 3 --prefer tester -o json")]
    Route(AgentRouteArgs),
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
pub struct OneAgent {
    /// The agent's name or id
    #[arg(value_name = "AGENT")]
    pub named: String,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
#[group(id = "work", required = true, multiple = false, args = ["run", "argv", "model", "eap", "echo"])]
pub struct AgentRegisterArgs {
    /// Unique among the tenant's agents, or among the shared ones
    pub name: String,
    /// A line for `/bin/sh -c`
    #[arg(long, value_name = "LINE")]
    pub run: Option<String>,
    /// A program and its arguments, after `--`
    #[arg(last = true, value_name = "PROGRAM")]
    pub argv: Vec<String>,
    /// Work by OpenCode with this model
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub model: Option<String>,
    /// With --model: whose providers, by their name in the workers' configuration
    #[arg(long, value_name = "NAME", requires = "model")]
    pub providers: Option<String>,
    /// The external agent that the workers' configuration calls so
    #[arg(long, value_name = "NAME")]
    pub eap: Option<String>,
    /// Answer after so many seconds, for tests
    #[arg(long, value_name = "SECONDS")]
    pub echo: Option<u32>,
    /// What it can do; may be repeated
    #[arg(long = "can", value_name = "CAPABILITY,..", value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// 1 to 5: how hard the work may be [default: 3]
    #[arg(long, value_name = "N")]
    pub tier: Option<u8>,
    /// Tasks at once [default: 1]
    #[arg(long, value_name = "N")]
    pub capacity: Option<u32>,
    /// Labels that tasks may ask for; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// What a task costs in dollars, about
    #[arg(long, value_name = "DOLLARS")]
    pub cost: Option<f64>,
    /// For all tenants
    #[arg(long)]
    pub shared: bool,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct AgentRouteArgs {
    /// What the agent must be able to do; may be repeated
    #[arg(long = "can", value_name = "CAPABILITY,..", value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// Its least tier
    #[arg(long, value_name = "N")]
    pub min_tier: Option<u8>,
    /// Labels that it must have; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// An agent to prefer, name or id
    #[arg(long, value_name = "AGENT")]
    pub prefer: Option<String>,
    /// A kind of agents to prefer
    #[arg(long, value_name = "KIND")]
    pub prefer_kind: Option<RegisteredKind>,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
