//! What becomes of the ticks that have come: of those that were missed, and of those that come while the previous job has
//! not ended. It never looks whether that job has ended: only the store can see that as it fires.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::Timestamp;

/// What becomes of ticks that nobody saw in time ([`MissedTicks::ON_TIME`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedTicks {
    /// Nothing; it goes on with the next one.
    Skip,
    /// One job for the latest of them.
    #[default]
    Latest,
    /// A job each, for the latest [`MissedTicks::ALL_MAX`] of them.
    All,
}

/// What a tick does while the schedule's previous job has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It makes a job beside it.
    #[default]
    Allow,
    /// It makes none.
    Skip,
}

/// The text names nothing that is known; `expected` says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not known here; use {expected}")]
pub struct UnknownPolicy {
    pub text: String,
    pub expected: &'static str,
}

impl UnknownPolicy {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(64).collect(),
            expected,
        }
    }
}

impl MissedTicks {
    pub const ALL: [Self; 3] = [Self::Skip, Self::Latest, Self::All];

    /// After a long absence, the jobs of more ticks than these would only be in the way of what is due now.
    pub const ALL_MAX: usize = 100;

    /// A tick that is younger when it is seen was not missed: workers look every few seconds, another takes over from one
    /// that died within a quarter of a minute, and one that is restarted is back within a minute.
    pub const ON_TIME: Duration = Duration::from_mins(1);

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Latest => "latest",
            Self::All => "all",
        }
    }
}

impl Overlap {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Skip];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for MissedTicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MissedTicks {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy::new(text, "skip, latest or all"))
    }
}

impl FromStr for Overlap {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy::new(text, "allow or skip"))
    }
}

impl Schedule {
    /// Of the latest ticks that have come (rising, none after `now`), those that make a job.
    pub fn ticks_to_fire(&self, come: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let mut ticks = match (self.missed, come.last()) {
            (_, None) => Vec::new(),
            (MissedTicks::All, _) => {
                come[come.len().saturating_sub(MissedTicks::ALL_MAX)..].to_vec()
            }
            (MissedTicks::Latest, Some(&latest)) => vec![latest],
            (MissedTicks::Skip, Some(&latest)) if now - MissedTicks::ON_TIME < latest => {
                vec![latest]
            }
            (MissedTicks::Skip, _) => Vec::new(),
        };
        if self.overlap == Overlap::Skip && ticks.len() > 1 {
            // The second would overlap with the first.
            ticks.drain(..ticks.len() - 1);
        }
        ticks
    }
}
