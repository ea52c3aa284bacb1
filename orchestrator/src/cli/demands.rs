//! What is asked of a session's work.

use clap::Args;

// No doc comment, which would become the help of the command that it is flattened into.
#[derive(Debug, Default, Args)]
pub struct DemandArgs {
    /// Line for /bin/sh that decides whether the work is good: runs in the worktree when the agent is done
    #[arg(long, value_name = "LINE")]
    pub verify: Option<String>,
    /// How often its failure is told to the agent, which then goes on [default: 0]
    #[arg(long, value_name = "N", requires = "verify")]
    pub verify_rounds: Option<u32>,
    /// It has failed when it takes longer [default: 600]
    #[arg(long, value_name = "SECONDS", requires = "verify")]
    pub verify_timeout: Option<u32>,
}
