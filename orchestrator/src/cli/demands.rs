//! What is asked of a session's work.

use std::path::PathBuf;

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
    /// Push what changed to the repository, as the branch orchestrator/<session> or the one named here
    #[arg(long, value_name = "BRANCH", num_args = 0..=1, require_equals = true, requires = "repo")]
    #[expect(
        clippy::option_option,
        reason = "clap's way to say: the flag, with or without a value"
    )]
    pub push: Option<Option<String>>,
    /// File with a JSON schema that the session's output must fit
    #[arg(long, value_name = "FILE")]
    pub output_schema: Option<PathBuf>,
    /// Tokens that it may use, by what its agent reports, before it pauses to ask
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,
    /// What it may cost
    #[arg(long, value_name = "AMOUNT")]
    pub budget_cost: Option<f64>,
    /// Answers that its model may give
    #[arg(long, value_name = "N")]
    pub budget_steps: Option<u64>,
    /// Stop it when its budget is used up, instead of pausing it
    #[arg(long)]
    pub budget_stops: bool,
    /// How often what does not fit is told to the agent, which then goes on [default: 0]
    #[arg(long, value_name = "N", requires = "output_schema")]
    pub output_rounds: Option<u32>,
}
