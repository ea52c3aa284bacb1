//! The structured output that a session must give.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Violations;

/// Of the schema as JSON text.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;
const ROUNDS_MAX: u64 = 5;

/// The most that an output may have as JSON text: it stands in the job's document, which lists show.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Where it is looked for in the worktree when the agent handed none over.
pub const OUTPUT_FILE: &str = "output.json";

/// What an output must fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputDemand {
    /// A JSON schema that refers to nothing outside of itself.
    pub schema: Value,
    /// How often what does not fit is told to the agent, which then goes on.
    #[serde(default)]
    pub rounds: u32,
}

impl OutputDemand {
    /// Whether the schema is one is checked by who has the means.
    pub(crate) fn check(&self, violations: &mut Violations) {
        let bytes = self.schema.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            violations.add(
                "/output_schema",
                format!("has {bytes} bytes; at most {SCHEMA_BYTES_MAX} are allowed"),
            );
        }
        match &self.schema {
            Value::Object(members) => violations.no_nul("/output_schema", members),
            _ => violations.add("/output_schema", "must be an object"),
        }
        violations.range("/output_rounds", self.rounds.into(), 0, ROUNDS_MAX);
    }
}
