//! The checks in their order, and what came of each. A check stops the others only where they could show nothing.

use std::future::Future;

use serde::Serialize;
use tokio::time::Instant;

use super::caller::Caller;
use super::{misuse, tasks};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It could not be seen with this agent; the detail says why.
    Skipped,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub outcome: Outcome,
    pub milliseconds: u128,
    /// What was seen; of a failure, what the agent should do.
    pub detail: String,
}

/// How a check ends that did not fail.
pub enum Seen {
    Good(String),
    /// The protocol allows what the agent did, and so there was nothing to see.
    Nothing(String),
}

/// The error says what was seen and what the agent should do.
pub type Checked = Result<Seen, String>;

#[expect(clippy::unnecessary_wraps, reason = "it is how a check ends")]
pub fn good(detail: impl Into<String>) -> Checked {
    Ok(Seen::Good(detail.into()))
}

#[expect(clippy::unnecessary_wraps, reason = "it is how a check ends")]
pub fn nothing(detail: impl Into<String>) -> Checked {
    Ok(Seen::Nothing(detail.into()))
}

impl Outcome {
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

impl Finding {
    pub fn is_failure(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

/// All of them, one after the other. An agent that is not there, or does not take the token, is asked nothing more.
pub async fn all(caller: &Caller) -> Vec<Finding> {
    let health = check("health", misuse::health(caller)).await;
    if health.is_failure() {
        return vec![health];
    }
    let token = check("token", misuse::token(caller)).await;
    if token.is_failure() {
        return vec![health, token];
    }
    vec![
        health,
        token,
        check("wrong token", misuse::wrong_token(caller)).await,
        check("missing token", misuse::missing_token(caller)).await,
        check("bad JSON", misuse::bad_json(caller)).await,
        check("no task id", misuse::no_task_id(caller)).await,
        check("unknown task", misuse::unknown_task(caller)).await,
        check("task", tasks::task(caller)).await,
        check("same task again", tasks::again(caller)).await,
        check("same task at once", tasks::at_once(caller)).await,
        check("unknown fields", tasks::unknown_fields(caller)).await,
        check("large task", tasks::large(caller)).await,
        check("202 and later", tasks::later(caller)).await,
        check("cancellation", tasks::cancellation(caller)).await,
        check("health after all that", misuse::health(caller)).await,
    ]
}

async fn check(check: &'static str, checking: impl Future<Output = Checked>) -> Finding {
    let began = Instant::now();
    let (outcome, detail) = match checking.await {
        Ok(Seen::Good(detail)) => (Outcome::Passed, detail),
        Ok(Seen::Nothing(detail)) => (Outcome::Skipped, detail),
        Err(detail) => (Outcome::Failed, detail),
    };
    Finding {
        check,
        outcome,
        milliseconds: began.elapsed().as_millis(),
        detail,
    }
}
