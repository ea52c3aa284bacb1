//! What a session asks of its agent's work, beyond that it was done.

use serde::{Deserialize, Serialize};

use crate::{Budget, OutputDemand, Push, Verify, Violations};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Decides whether the work is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What the work must say about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputDemand>,
    /// What the work may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Where the work goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

impl Demands {
    pub(crate) fn check(&self, has_repository: bool, violations: &mut Violations) {
        if let Some(verify) = &self.verify {
            verify.check(violations);
        }
        if let Some(output) = &self.output {
            output.check(violations);
        }
        if let Some(budget) = &self.budget {
            budget.check(violations);
        }
        if let Some(push) = &self.push {
            push.check(violations);
            if !has_repository {
                violations.add("/push", "needs a repository to push to");
            }
        }
    }

    /// True when the work is judged after the agent, who may be told to mend it.
    pub const fn judge(&self) -> bool {
        self.verify.is_some() || self.output.is_some()
    }
}
