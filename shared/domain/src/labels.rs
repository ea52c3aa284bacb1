//! What a worker has and a job asks for: `gpu=h100`, `region=eu`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Violations;

const LABELS_MAX: usize = 20;
const PART_MAX: usize = 63;

/// What a session that is routed asks for beside what it says: an agent. No worker has it by itself, so such sessions have
/// no wake-ups and are claimed together with their agent.
pub const AGENT_LABEL: &str = "orchestrator/agent";
const ROUTED: &str = "routed";

/// By key; a key has one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// The text is no label, or no list of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALabel {
    #[error(
        "`{0}` is not a label; write key=value, each of 1 to 63 characters of a-z, A-Z, 0-9, `.`, `_`, `-` and `/`"
    )]
    Malformed(String),
    #[error("the label `{0}` is given twice; a label has one value")]
    Doubled(String),
}

impl Labels {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when a worker with `labels` has everything that is asked for here.
    pub fn are_met_by(&self, labels: &Self) -> bool {
        self.0
            .iter()
            .all(|(key, value)| labels.0.get(key) == Some(value))
    }

    /// Adds one. A key that is there already is refused: of two values, one would be lost without a word.
    pub fn add(&mut self, key: String, value: String) -> Result<(), NotALabel> {
        if self.0.contains_key(&key) {
            return Err(NotALabel::Doubled(key.chars().take(128).collect()));
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// The same with [`AGENT_LABEL`].
    #[must_use]
    pub(crate) fn with_agent(mut self) -> Self {
        self.0.insert(AGENT_LABEL.to_owned(), ROUTED.to_owned());
        self
    }

    /// What a worker must have, or may say that it has.
    #[must_use]
    pub fn without_agent(mut self) -> Self {
        self.0.remove(AGENT_LABEL);
        self
    }

    pub(crate) fn check(&self, pointer: &str, violations: &mut Violations) {
        if self.0.len() > LABELS_MAX {
            violations.add(
                pointer,
                format!(
                    "has {} labels; at most {LABELS_MAX} are allowed",
                    self.0.len()
                ),
            );
        }
        for (key, value) in &self.0 {
            if !is_part(key) || !is_part(value) {
                violations.add(
                    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                    NotALabel::Malformed(format!("{key}={value}")).to_string(),
                );
            }
        }
    }
}

fn is_part(text: &str) -> bool {
    (1..=PART_MAX).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// `key=value,key=value`; an empty text is no labels.
impl FromStr for Labels {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let mut labels = Self::default();
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .filter(|(key, value)| is_part(key) && is_part(value))
                .ok_or_else(|| NotALabel::Malformed(part.chars().take(128).collect()))?;
            labels.add(key.to_owned(), value.to_owned())?;
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    #[test]
    fn a_worker_must_have_all_that_is_asked_for() {
        let worker = labels("gpu=h100, region=eu");
        assert!(labels("").are_met_by(&worker));
        assert!(labels("gpu=h100").are_met_by(&worker));
        assert!(!labels("gpu=a100").are_met_by(&worker));
        assert!(!labels("gpu=h100,disk=fast").are_met_by(&worker));
        assert_eq!(worker.to_string(), "gpu=h100,region=eu");
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for text in ["gpu", "=h100", "gpu=", "gpu=h 100", "gpü=1"] {
            assert!(text.parse::<Labels>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_label_has_one_value() {
        for text in ["gpu=a,gpu=b", "gpu=a, region=eu, gpu=a"] {
            let doubled = NotALabel::Doubled("gpu".to_owned());
            assert_eq!(text.parse::<Labels>(), Err(doubled), "{text}");
        }
    }
}
