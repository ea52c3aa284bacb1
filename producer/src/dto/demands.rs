//! What a session asks of its agent's work.

use domain::{Budget, Demands, OnLimit, OutputDemand, Push, Verify, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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

/// `true`, or the name of a branch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "must be true, or {\"branch\": NAME}")]
#[schema(as = Push)]
pub(crate) enum PushBody {
    /// As `orchestrator/` and the session's id.
    Flag(bool),
    Branch(PushBranchBody),
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushBranch)]
pub(crate) struct PushBranchBody {
    #[schema(example = "fixes/login")]
    pub branch: String,
}

impl PushBody {
    pub(crate) fn into_spec(self) -> Option<Push> {
        match self {
            Self::Flag(wanted) => wanted.then(Push::default),
            Self::Branch(PushBranchBody { branch }) => Some(Push {
                branch: Some(branch),
            }),
        }
    }
}

impl From<Push> for PushBody {
    fn from(push: Push) -> Self {
        match push.branch {
            Some(branch) => Self::Branch(PushBranchBody { branch }),
            None => Self::Flag(true),
        }
    }
}

/// What a session may use, over all its runs, by what its agent reports; at least one limit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Budget)]
pub(crate) struct BudgetBody {
    /// That models read and wrote, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// In the currency of the workers' prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Answers of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// `pause`: it is paused with the error `BUDGET_EXCEEDED`, and resuming it grants the same budget once more. `stop`:
    /// it is stopped.
    #[serde(default)]
    #[schema(inline)]
    pub on_limit: OnLimitBody,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OnLimit)]
pub(crate) enum OnLimitBody {
    #[default]
    Pause,
    Stop,
}

impl BudgetBody {
    fn into_spec(self) -> Budget {
        Budget {
            tokens: self.tokens,
            cost: self.cost,
            steps: self.steps,
            on_limit: match self.on_limit {
                OnLimitBody::Pause => OnLimit::Pause,
                OnLimitBody::Stop => OnLimit::Stop,
            },
        }
    }
}

impl From<Budget> for BudgetBody {
    fn from(budget: Budget) -> Self {
        Self {
            tokens: budget.tokens,
            cost: budget.cost,
            steps: budget.steps,
            on_limit: match budget.on_limit {
                OnLimit::Pause => OnLimitBody::Pause,
                OnLimit::Stop => OnLimitBody::Stop,
            },
        }
    }
}

/// What a session asks, as its body says it in fields of its own.
pub(crate) fn demands(
    verify: Option<VerifyBody>,
    push: Option<PushBody>,
    output_schema: Option<Value>,
    output_rounds: Option<u32>,
    budget: Option<BudgetBody>,
    violations: &mut Violations,
) -> Demands {
    if output_rounds.is_some() && output_schema.is_none() {
        violations.add("/output_rounds", "is for sessions with output_schema only");
    }
    Demands {
        verify: verify.map(VerifyBody::into_spec),
        push: push.and_then(PushBody::into_spec),
        budget: budget.map(BudgetBody::into_spec),
        output: output_schema.map(|schema| OutputDemand {
            schema,
            rounds: output_rounds.unwrap_or_default(),
        }),
    }
}
