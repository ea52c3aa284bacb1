//! Rows as the account tells them.

use serde_json::Value;
use uuid::Uuid;

use super::{AttemptRow, JobRow};

/// The columns of one change, by their place.
pub struct Says<'a>(pub &'a [Value]);

impl Says<'_> {
    /// 0 for a null.
    pub fn number(&self, at: usize) -> i64 {
        self.maybe(at).unwrap_or_default()
    }

    pub fn maybe(&self, at: usize) -> Option<i64> {
        self.0.get(at).and_then(Value::as_i64)
    }

    pub fn text(&self, at: usize) -> &str {
        self.0.get(at).and_then(Value::as_str).unwrap_or_default()
    }

    /// An id in hexadecimal; a null is an empty text there.
    pub fn id(&self, at: usize) -> Option<Uuid> {
        Uuid::parse_str(self.text(at)).ok()
    }
}

/// In the order of `audit.sql`.
pub fn job(says: &Says<'_>) -> JobRow {
    JobRow {
        tenant: says.id(0).unwrap_or_default(),
        kind: says.text(1).to_owned(),
        state: says.text(2).parse().unwrap_or(domain::JobState::Orphaned),
        attempt: says.number(3),
        failures: says.number(4),
        max_attempts: says.number(5),
        fence: says.number(6),
        worker: says.id(7),
        event_seq: says.number(9),
        published: says.maybe(10).is_some(),
        run_after: says.maybe(11),
        stop_requested: says.maybe(12),
        ..JobRow::default()
    }
}

pub fn attempt(says: &Says<'_>) -> AttemptRow {
    AttemptRow {
        number: says.number(0),
        open: says.maybe(2).is_none(),
        outcome: says.text(3).to_owned(),
    }
}
