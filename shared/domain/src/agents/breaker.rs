//! The circuit breaker of an agent: one that fails again and again is left alone for a while, then tried with one task.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Failures in a row that open the breaker: one may be the task's fault, three in a row seldom are.
pub const BREAKER_FAILURES: u32 = 3;
/// How long it stays open the first time; doubled each time the probe fails.
pub const BREAKER_PAUSE: Duration = Duration::from_secs(30);
/// An agent that was mended is tried after so long at the latest.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_mins(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    /// Takes tasks.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Takes none until `until`; after that, one.
    Open {
        until: Timestamp,
        /// How often it opened since the last success.
        opened: u32,
    },
    /// One task is on its way, whose end decides.
    HalfOpen { opened: u32 },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// True when an agent that works on `in_use` tasks may be given another: an open one must have waited, and is
    /// probed with one task at a time.
    pub fn admits(&self, in_use: u32, now: Timestamp) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { until, .. } => *until <= now && in_use == 0,
            Self::HalfOpen { .. } => in_use == 0,
        }
    }

    /// When a task is given to the agent.
    #[must_use]
    pub const fn taken(self) -> Self {
        match self {
            Self::Open { opened, .. } => Self::HalfOpen { opened },
            other => other,
        }
    }

    #[must_use]
    pub const fn succeeded() -> Self {
        Self::Closed { failures: 0 }
    }

    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        match self {
            Self::Closed { failures } if failures + 1 < BREAKER_FAILURES => Self::Closed {
                failures: failures + 1,
            },
            Self::Closed { .. } => Self::open(1, now),
            Self::HalfOpen { opened } => Self::open(opened.saturating_add(1), now),
            // A task that was begun before it opened says nothing new.
            Self::Open { .. } => self,
        }
    }

    fn open(opened: u32, now: Timestamp) -> Self {
        let doublings = opened.saturating_sub(1).min(16);
        let pause = BREAKER_PAUSE.saturating_mul(1 << doublings);
        Self::Open {
            until: now + pause.min(BREAKER_PAUSE_MAX),
            opened,
        }
    }
}
