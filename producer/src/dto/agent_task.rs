//! The External Agent Protocol's words for asking for tasks. As the protocol says of reports and results, what is not known
//! here is left alone: later versions of it have more.

use chrono::{DateTime, Utc};
use domain::{
    Progress, TASK_RENEWAL, TaskKey, TaskLease, TaskLeaseId, TaskReport, Usage, Violations,
    is_inside, money, unbelievable_cost, unbelievable_tokens,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::check_object;

/// What stands in the agent's words where it said its own token: its owner reads them, and the store has no tokens.
const INSTEAD_OF_TOKEN: &str = "[redacted]";
/// Of a message; the rest is cut off.
const MESSAGE_CHARS: usize = 2000;
const DATA_BYTES_MAX: usize = 16 * 1024;
pub(crate) const WAIT_SECONDS_MAX: u32 = 30;

/// How long the agent waits for a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskWish {
    /// 0 to 30. The answer may come earlier without a task; ask again then.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// A task and how long the agent has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeasedTaskBody {
    /// As `POST {endpoint}/task` would have it; see the protocol.
    #[schema(value_type = Object)]
    pub task: Box<RawValue>,
    pub lease: TaskLeaseBody,
}

/// The agent's hold on a task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskLeaseBody {
    pub id: Uuid,
    pub expires_at: DateTime<Utc>,
    /// Seconds from now within which it should report.
    pub renew_within: u64,
}

/// The lease after a report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RenewedTask {
    pub lease: TaskLeaseBody,
}

/// How far an agent is. All but `lease_id` may be left out: that it says something renews its lease.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TaskReportBody {
    pub lease_id: Uuid,
    pub progress: Option<TaskProgress>,
    /// All tokens so far, read and written together.
    pub tokens_used: Option<u64>,
    /// How many of them were read.
    pub input_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TaskProgress {
    /// 0 to 1.
    pub fraction: Option<f64>,
    /// Each new one is a line in the session's log.
    pub message: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub data: Option<Map<String, Value>>,
}

/// How a task ended, as the answer to a task that is pushed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskResultBody {
    #[serde(skip_serializing)]
    pub lease_id: Uuid,
    /// If it is given, the address's.
    pub task_id: Option<String>,
    pub status: TaskEnd,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<TaskArtifact>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output_data: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_time_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskEnd {
    Completed,
    Failed,
}

/// A file for the session's worktree.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskArtifact {
    pub path: String,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl TaskWish {
    pub fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::default();
        if self.wait_seconds > WAIT_SECONDS_MAX {
            violations.add(
                "/wait_seconds",
                format!("must be a whole number from 0 to {WAIT_SECONDS_MAX}"),
            );
        }
        violations.or(())
    }
}

impl From<TaskLease> for TaskLeaseBody {
    fn from(lease: TaskLease) -> Self {
        Self {
            id: lease.id.as_uuid(),
            expires_at: lease.until,
            renew_within: TASK_RENEWAL.as_secs(),
        }
    }
}

impl TaskReportBody {
    /// `token`: the agent's own, which nothing of the report says afterwards.
    pub fn into_report(self, token: &str) -> Result<(TaskLeaseId, TaskReport), Violations> {
        let mut violations = Violations::default();
        check_cost(self.cost_usd, &mut violations);
        check_tokens(self.tokens_used, self.input_tokens, &mut violations);
        let progress = self
            .progress
            .map(|it| it.into_progress(token, &mut violations));
        let says_usage = self.tokens_used.is_some() || self.cost_usd.is_some();
        let all = self.tokens_used.unwrap_or_default();
        let read = self.input_tokens.unwrap_or_default().min(all);
        let usage = says_usage.then(|| Usage {
            input_tokens: read,
            output_tokens: all - read,
            cost: money(self.cost_usd.unwrap_or_default()),
        });
        let lease = TaskLeaseId::from_uuid(self.lease_id);
        violations.or((lease, TaskReport { progress, usage }))
    }
}

impl TaskProgress {
    fn into_progress(self, token: &str, violations: &mut Violations) -> Progress {
        let data = self.data.unwrap_or_default();
        check_object("/progress/data", &data, violations);
        let text = serde_json::to_string(&data).unwrap_or_default();
        let bytes = text.len();
        if bytes > DATA_BYTES_MAX {
            violations.add(
                "/progress/data",
                format!("has {bytes} bytes; at most {DATA_BYTES_MAX} are allowed"),
            );
        }
        if self.fraction.is_some_and(|it| !(0.0..=1.0).contains(&it)) {
            violations.add("/progress/fraction", "must be a number from 0 to 1");
        }
        let presentable = |text: String| -> String {
            // Before it is cut: the beginning of a token is one that no shape is known by.
            let text = without(token, &text).replace('\0', "\u{fffd}");
            text.chars().take(MESSAGE_CHARS).collect()
        };
        Progress {
            fraction: self.fraction,
            message: self.message.map(presentable).filter(|it| !it.is_empty()),
            data: serde_json::from_str(&without(token, &text)).unwrap_or_default(),
        }
    }
}

/// A token is letters, digits and `_`, so that JSON stays JSON. What is shorter is none; it is refused in a moment, and must
/// not make the text longer until then.
fn without(token: &str, text: &str) -> String {
    if token.len() < INSTEAD_OF_TOKEN.len() {
        return text.to_owned();
    }
    text.replace(token, INSTEAD_OF_TOKEN)
}

impl TaskResultBody {
    /// The lease, and the result as it is kept. `token`: the agent's own, which nothing of the result says afterwards.
    pub fn into_result(
        mut self,
        key: TaskKey,
        token: &str,
    ) -> Result<(TaskLeaseId, String), Violations> {
        let mut violations = Violations::default();
        check_cost(self.cost_usd, &mut violations);
        not_negative(
            "/execution_time_ms",
            self.execution_time_ms,
            &mut violations,
        );
        check_tokens(self.tokens_used, self.input_tokens, &mut violations);
        for (index, artifact) in self.artifacts.iter().flatten().enumerate() {
            if !is_inside(&artifact.path) {
                violations.add(
                    format!("/artifacts/{index}/path"),
                    "must be a relative path that stays inside the worktree, and outside of `.git`",
                );
            }
        }
        let id = key.to_string();
        if self.task_id.as_ref().is_some_and(|said| *said != id) {
            violations.add("/task_id", format!("must be `{id}`, as in the address"));
        }
        self.task_id = Some(id);
        let lease = TaskLeaseId::from_uuid(self.lease_id);
        match serde_json::to_string(&self) {
            Ok(text) => violations.or((lease, without(token, &text))),
            Err(error) => {
                violations.add("", format!("cannot be kept: {error}"));
                Err(violations)
            }
        }
    }
}

fn check_cost(cost: Option<f64>, violations: &mut Violations) {
    if let Some(why) = unbelievable_cost(cost) {
        violations.add("/cost_usd", why);
    }
}

fn check_tokens(all: Option<u64>, read: Option<u64>, violations: &mut Violations) {
    if let Some(why) = unbelievable_tokens(all) {
        violations.add("/tokens_used", why);
    }
    let all = all.unwrap_or_default();
    if let Some(read) = read.filter(|read| *read > all) {
        let detail =
            format!("must not be more than `tokens_used`, which counts them too: {read} of {all}");
        violations.add("/input_tokens", detail);
    }
}

fn not_negative(pointer: &str, amount: Option<f64>, violations: &mut Violations) {
    if amount.is_some_and(|amount| amount < 0.0) {
        violations.add(pointer, "must not be below 0");
    }
}
