//! Rows as the account tells them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::{AttemptRow, JobRow};

/// The columns of one change, by their place.
pub struct Says<'a>(pub &'a [Value]);

/// What a worker has or a job asks for.
pub type Labels = BTreeMap<String, String>;

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

    pub fn flag(&self, at: usize) -> bool {
        self.number(at) != 0
    }

    pub fn labels(&self, at: usize) -> Labels {
        let pairs = self.0.get(at).and_then(Value::as_object).into_iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pairs
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }

    pub fn list(&self, at: usize) -> &[Value] {
        let list = self.0.get(at).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }
}

/// What a job was asked to be; it never changes.
#[derive(Debug, Default)]
pub struct Wishes {
    pub rank: i64,
    /// Cancelled, not failed, when a prerequisite does not end well.
    pub skips: bool,
    pub requires: Labels,
    pub depends_on: Vec<Uuid>,
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
        event_seq: says.number(8),
        run_after: says.maybe(9),
        stop_requested: says.maybe(10),
        pause_requested: says.maybe(20),
        due: says.flag(11),
        turn: says.number(12),
        queued_at: says.number(13),
        is_dead_letter: says.flag(14),
        deadline: says.maybe(16),
        ..JobRow::default()
    }
}

pub fn wishes(says: &Says<'_>) -> Arc<Wishes> {
    let prerequisites = says.list(19).iter().filter_map(Value::as_str);
    Arc::new(Wishes {
        rank: says.number(15),
        skips: says.text(17) == "skip",
        requires: says.labels(18),
        depends_on: prerequisites
            .filter_map(|id| Uuid::parse_str(id).ok())
            .collect(),
    })
}

pub fn attempt(says: &Says<'_>) -> AttemptRow {
    AttemptRow {
        number: says.number(0),
        open: says.maybe(2).is_none(),
        outcome: says.text(3).to_owned(),
    }
}
