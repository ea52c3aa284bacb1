//! What requests for all kinds of jobs share.

use std::collections::BTreeMap;
use std::fmt;

use application::use_cases::Offer;
use chrono::{DateTime, Utc};
use domain::{DependencyRule, JobId, Labels, NewJob, Priority};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

pub(crate) const DEFAULT_DURATION_SECONDS: u32 = 3600;
pub(crate) const DEFAULT_ATTEMPTS: u32 = 3;

pub(crate) const fn default_duration() -> u32 {
    DEFAULT_DURATION_SECONDS
}

pub(crate) const fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

pub(crate) const fn default_start() -> bool {
    true
}

/// How urgent a job is among its own tenant's jobs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Priority)]
pub(crate) enum PriorityBody {
    Critical,
    High,
    #[default]
    Medium,
    Low,
    Deferred,
}

impl From<PriorityBody> for Priority {
    fn from(priority: PriorityBody) -> Self {
        match priority {
            PriorityBody::Critical => Self::Critical,
            PriorityBody::High => Self::High,
            PriorityBody::Medium => Self::Medium,
            PriorityBody::Low => Self::Low,
            PriorityBody::Deferred => Self::Deferred,
        }
    }
}

impl From<Priority> for PriorityBody {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Critical => Self::Critical,
            Priority::High => Self::High,
            Priority::Medium => Self::Medium,
            Priority::Low => Self::Low,
            Priority::Deferred => Self::Deferred,
        }
    }
}

/// What becomes of a job when one that it waits for does not end well.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IfPrerequisiteFails)]
pub(crate) enum RuleBody {
    /// It fails too, with `PREREQUISITE_FAILED`.
    #[default]
    Fail,
    /// It is cancelled.
    Skip,
}

impl From<RuleBody> for DependencyRule {
    fn from(rule: RuleBody) -> Self {
        match rule {
            RuleBody::Fail => Self::Fail,
            RuleBody::Skip => Self::Skip,
        }
    }
}

impl From<DependencyRule> for RuleBody {
    fn from(rule: DependencyRule) -> Self {
        match rule {
            DependencyRule::Fail => Self::Fail,
            DependencyRule::Skip => Self::Skip,
        }
    }
}

pub(crate) fn labels(requires: BTreeMap<String, String>) -> Labels {
    Labels(requires)
}

/// Labels, each named once: a plain map would keep the last of two values without a word.
pub(crate) fn labels_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Once;

    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of labels to their values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut labels = Labels::default();
            while let Some((key, value)) = map.next_entry()? {
                labels.add(key, value).map_err(A::Error::custom)?;
            }
            Ok(labels.0)
        }
    }

    deserializer.deserialize_map(Once)
}

/// The same, or null.
pub(crate) fn some_labels_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    #[derive(Deserialize)]
    struct Once(#[serde(deserialize_with = "labels_once")] BTreeMap<String, String>);

    let found = Option::<Once>::deserialize(deserializer)?;
    Ok(found.map(|Once(labels)| labels))
}

/// An instant or null. The library's own words for a wrong one say nothing of what would be right.
pub(crate) fn instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    DateTime::parse_from_rfc3339(&text)
        .map(|at| Some(at.to_utc()))
        .map_err(|_| {
            let start: String = text.chars().take(64).collect();
            D::Error::custom(format!(
                "`{start}` is not an instant as RFC 3339 writes it; write one with its zone, as 2026-12-24T18:00:00Z"
            ))
        })
}

/// The job with its prerequisites: ids are of stored jobs, anything else is a name in the same request.
pub(crate) fn offer(mut job: NewJob, name: Option<String>, depends_on: Vec<String>) -> Offer {
    let mut after = Vec::new();
    for named in depends_on {
        match named.parse::<JobId>() {
            Ok(id) => job.depends_on.push(id),
            Err(_) => after.push(named),
        }
    }
    Offer { job, name, after }
}
