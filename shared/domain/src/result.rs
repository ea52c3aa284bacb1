//! What a run left behind.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Pushed, Verified};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobResult {
    Session(SessionResult),
    Training(TrainingResult),
}

impl JobResult {
    /// True when the work was done and found not to be what was asked for: its job fails, and keeps this.
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Session(session) if matches!(session.success, Some(false)))
    }

    /// From 0 to 1: what it says of whoever did the work. Absent when nothing was there to rate it.
    pub fn rating(&self) -> Option<f64> {
        match self {
            Self::Session(session) => session.rating(),
            Self::Training(_) => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Absent when the session had no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffStat>,
    /// Absent when the agent used no model, or did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether the work is what was asked for. Absent when nothing was there to judge it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verified>,
    /// What the agent gave for the session's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Absent when nothing was to be pushed, or nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Pushed>,
    /// From 0 to 1: what its check found or, without one, what the agent said. Absent when neither says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// How sure the agent said that it is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

impl SessionResult {
    /// The same with what is known of how good the work is. A check counts more than what an agent says of itself, and
    /// work that was rejected is not what its agent says that it is.
    #[must_use]
    pub fn rated(self, own: OwnRating) -> Self {
        let quality = match (self.verify, self.success) {
            (Some(_), Some(false)) => Some(0.0),
            (Some(verified), Some(true)) => Some(verified.quality()),
            (None, Some(false)) => None,
            _ => own.quality,
        };
        Self {
            quality,
            confidence: own.confidence,
            ..self
        }
    }

    /// What this work says of whoever did it: its quality, else how sure they were of it.
    pub fn rating(&self) -> Option<f64> {
        let rejected = matches!(self.success, Some(false));
        self.quality.or(self.confidence.filter(|_| !rejected))
    }
}

/// What an agent says of its own work: numbers from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OwnRating {
    pub quality: Option<f64>,
    pub confidence: Option<f64>,
}

impl OwnRating {
    /// By the members `quality` and `confidence`; what is no number from 0 to 1 says nothing.
    pub fn of(output: &Value) -> Self {
        let member = |name: &str| {
            let number = output.get(name).and_then(Value::as_f64);
            number.filter(|number| (0.0..=1.0).contains(number))
        };
        Self {
            quality: member("quality"),
            confidence: member("confidence"),
        }
    }

    /// Each from here, else from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            quality: self.quality.or(other.quality),
            confidence: self.confidence.or(other.confidence),
        }
    }
}

/// What an agent used of its models, all runs of its conversation together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that the models read, those from a cache included.
    pub input_tokens: u64,
    /// Tokens that the models wrote, those of their reasoning included.
    pub output_tokens: u64,
    /// By the prices in the worker's configuration, in their currency; 0 without prices.
    pub cost: f64,
}

/// How much the worktree differs from the revision it started from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStat {
    pub files: Vec<String>,
    pub insertions: u64,
    pub deletions: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingResult {
    pub model_name: String,
    /// SHA-256 of the model file, as the trainer said and the worker verified.
    pub sha256: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<f64>,
    pub steps: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rating(verify: Option<(u32, bool)>, success: Option<bool>, own: &Value) -> Option<f64> {
        let verify = verify.map(|(rounds, passed)| Verified {
            exit_code: None,
            rounds,
            passed,
        });
        let result = SessionResult {
            success,
            verify,
            ..SessionResult::default()
        };
        result.rated(OwnRating::of(own)).rating()
    }

    #[test]
    fn a_check_counts_more_than_what_an_agent_says() {
        let proud = json!({"quality": 0.9, "confidence": 0.7});
        let none = json!({});
        for (verify, success, own, expected) in [
            (Some((0, true)), Some(true), &none, Some(1.0)),
            (Some((1, true)), Some(true), &proud, Some(0.5)),
            (Some((3, true)), Some(true), &none, Some(0.25)),
            (Some((2, false)), Some(false), &proud, Some(0.0)),
            // Its output did not fit, though the check passed.
            (Some((0, true)), Some(false), &none, Some(0.0)),
            (None, None, &none, None),
            (None, None, &proud, Some(0.9)),
            (None, Some(true), &json!({"confidence": 0.7}), Some(0.7)),
            (None, Some(false), &proud, None),
        ] {
            let found = rating(verify, success, own);
            assert_eq!(found, expected, "{verify:?} {success:?} {own}");
        }
        for wrong in [
            json!({"quality": 1.1}),
            json!({"quality": "1"}),
            json!([1]),
            json!(null),
        ] {
            assert_eq!(OwnRating::of(&wrong), OwnRating::default(), "{wrong}");
        }
    }
}
