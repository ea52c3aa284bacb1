//! What a session asks of its agent's work, beyond that it was done.

use serde::{Deserialize, Serialize};

use crate::{Verify, Violations};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Decides whether the work is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

impl Demands {
    pub(crate) fn check(&self, violations: &mut Violations) {
        if let Some(verify) = &self.verify {
            verify.check(violations);
        }
    }

    /// True when the work is judged after the agent, who may be told to mend it.
    pub const fn judge(&self) -> bool {
        self.verify.is_some()
    }
}
