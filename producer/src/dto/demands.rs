//! What a session asks of its agent's work.

use domain::Verify;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A command that decides whether an agent's work is good; for sessions whose workers allow the agent `command`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Verify)]
pub(crate) struct VerifyBody {
    /// A line for `/bin/sh -c`, run in the worktree; exit code 0 is success.
    #[schema(example = "cargo test")]
    pub run: String,
    /// How often, 0 to 5, its failure is told to the agent, which then goes on in the same worktree.
    #[serde(default)]
    pub rounds: u32,
    /// The command has failed when it takes longer; at most a day.
    #[serde(default = "Verify::default_timeout")]
    #[schema(default = 600)]
    pub timeout_seconds: u32,
}

impl VerifyBody {
    pub(crate) fn into_spec(self) -> Verify {
        Verify {
            run: self.run,
            rounds: self.rounds,
            timeout_seconds: self.timeout_seconds,
        }
    }
}

impl From<Verify> for VerifyBody {
    fn from(verify: Verify) -> Self {
        Self {
            run: verify.run,
            rounds: verify.rounds,
            timeout_seconds: verify.timeout_seconds,
        }
    }
}
