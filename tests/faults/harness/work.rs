//! What jobs there are in a load, and how each of them must end whatever happens around it.

use std::path::Path;

use serde_json::{Value, json};

/// Lost leases count as failures; none of these jobs may run out of attempts because of them.
const ATTEMPTS: u32 = 100;
/// Ticks of a long run, 0.3 s each.
const TICKS: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Ends at once, without a process.
    Echo,
    /// A command that sleeps a little.
    Short,
    /// Asks for another attempt until its third one.
    Flaky,
    /// Fails for good.
    Broken,
    /// Asks for another attempt more often than it has.
    Exhausted,
    /// Goes on for seconds, so that it lives through a fault or dies of it.
    Long,
}

impl Work {
    /// The state that a job of this kind ends in.
    pub fn end(self) -> &'static str {
        match self {
            Self::Echo | Self::Short | Self::Flaky | Self::Long => "completed",
            Self::Broken | Self::Exhausted => "failed",
        }
    }

    /// True when each of its runs writes marks.
    pub fn marks(self) -> bool {
        self != Self::Echo
    }

    /// The body of a submission; commands write their marks to `marks`.
    pub fn body(self, marks: &Path) -> Value {
        let agent = match self.script() {
            None => json!({"kind": "echo"}),
            Some(script) => json!({"kind": "command", "run": format!("{}\n{script}", mark(marks))}),
        };
        json!({
            "title": format!("{self:?}"),
            "agent": agent,
            "max_duration_seconds": 120,
            "max_attempts": if self == Self::Exhausted { 2 } else { ATTEMPTS },
        })
    }

    fn script(self) -> Option<String> {
        let script = match self {
            Self::Echo => return None,
            Self::Short => "mark begin; sleep 0.2; mark end".to_owned(),
            Self::Flaky => {
                "mark begin; mark end; [ \"$ORCHESTRATOR_ATTEMPT\" -ge 3 ] || exit 75".to_owned()
            }
            Self::Broken => "mark begin; mark end; exit 3".to_owned(),
            Self::Exhausted => "mark begin; mark end; exit 75".to_owned(),
            Self::Long => format!(
                "mark begin; i=0; while [ $i -lt {TICKS} ]; do sleep 0.3; mark tick; i=$((i+1)); done; mark end"
            ),
        };
        Some(script)
    }
}

/// One short line a mark, appended in one write, so that the file has them in the order in which they happened.
fn mark(marks: &Path) -> String {
    format!(
        "mark() {{ echo \"$ORCHESTRATOR_JOB_ID $ORCHESTRATOR_ATTEMPT $1 $(date +%s%3N)\" >> '{}'; }}",
        marks.display()
    )
}
