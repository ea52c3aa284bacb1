//! Starts the real program, in either mode, and speaks to it as its users do: over HTTP and the command line.
//! Knows nothing of the program's inside.

mod api;
mod binary;
mod cli;
mod job;
mod machines;
mod model_server;
mod opencode;
mod process;
mod pulling_agent;
mod repo;
mod sample_agent;
mod services;
mod sse;
mod stand;
mod stand_processes;
mod tenant;
mod wait;
mod watchdog;

pub use api::{Answer, Api};
pub use cli::Cli;
pub use job::Job;
pub use model_server::{INPUT_TOKENS, OUTPUT_TOKENS, Question, Reply};
pub use opencode::{KEY, OpenCodeStand, SERVER_PASSWORD};
pub use process::{is_alive, processes_with};
pub use pulling_agent::PullingAgent;
pub use repo::{Repo, git};
pub use sample_agent::{AGENT_SECRET, AGENT_TOKEN, SampleAgent};
pub use sse::Event;
pub use stand::{Mode, Plan, Stand};
pub use tenant::{LeadKey, Quota, Tenant};
pub use wait::{MODEL_PATIENCE, PATIENCE, eventually, instant, lines_of, number_in};
