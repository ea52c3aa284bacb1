//! How far a run is, as it says itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::JobId;
use crate::budget::wrong_report;

/// Where the data of a run that waits for a lock says so.
const LOCK: &str = "lock";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 1, when the run knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Numbers of the run's own: loss, step, files seen, ...
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

/// What a run waits for that has its slot, but not yet what it shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedLock {
    /// What is worked on by one run at a time, such as a branch of a repository.
    pub resource: String,
    /// How many come first.
    pub ahead: u32,
    /// Who has it now, where that is a job of the same tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<JobId>,
    /// The number of the run that waits: what an earlier run said of itself is true no more.
    pub attempt: u32,
}

impl fmt::Display for AwaitedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for {}: {} before it", self.resource, self.ahead)?;
        match self.holder {
            Some(holder) => write!(f, "; {holder} has it now"),
            None => Ok(()),
        }
    }
}

impl Progress {
    /// Why its fraction is none, as the end of a sentence.
    pub fn wrong_fraction(&self) -> Option<String> {
        let fraction = self.fraction.filter(|it| !(0.0..=1.0).contains(it))?;
        Some(format!("`fraction` is {fraction} and must be from 0 to 1"))
    }

    /// Why what it says to have used is not believed, as the end of a sentence.
    pub fn wrong_usage(&self) -> Option<String> {
        wrong_report(&self.data)
    }

    /// Of a run that waits for a lock.
    pub fn waiting_for(lock: &AwaitedLock) -> Self {
        Self {
            message: Some(lock.to_string()),
            data: Map::from_iter([(LOCK.to_owned(), json!(lock))]),
            ..Self::default()
        }
    }

    /// The lock that the run with this number waits for, if that is what it said last.
    pub fn awaited_lock(&self, attempt: u32) -> Option<AwaitedLock> {
        let lock = self.data.get(LOCK)?;
        let lock = AwaitedLock::deserialize(lock).ok()?;
        (lock.attempt == attempt).then_some(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_waits_for_a_lock_can_be_told_from_one_that_works() {
        let lock = AwaitedLock {
            resource: "branch:app@refs/heads/main".to_owned(),
            ahead: 2,
            holder: None,
            attempt: 3,
        };
        let waits = Progress::waiting_for(&lock);
        let message = waits.message.as_deref();
        assert_eq!(
            message,
            Some("waits for branch:app@refs/heads/main: 2 before it")
        );
        assert_eq!(waits.awaited_lock(4), None, "an earlier run said it");
        assert_eq!(waits.awaited_lock(3), Some(lock));
        let mut works = Progress::default();
        assert_eq!(works.awaited_lock(3), None);
        works
            .data
            .insert(LOCK.to_owned(), json!("a word of its own"));
        assert_eq!(works.awaited_lock(3), None);
    }
}
