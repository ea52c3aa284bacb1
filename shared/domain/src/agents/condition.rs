//! How an agent fares: what it said last, and what came of its tasks. Kept by the stores, changed only by these methods.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::breaker::Breaker;
use crate::{Timestamp, Violations};

/// How often an external agent is asked to beat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// How late an agent's own beat may be before the agent is asked.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(5);
/// After so many missed beats an external agent is given nothing more.
pub const HEARTBEATS_MISSED: u32 = 3;
/// An agent may ask and report many times a second; that it lives is written down no more often than this.
const HEARD_AGAIN: Duration = Duration::from_secs(5);
/// Outcomes that count half of what the latest one counts are about seven back.
const MEMORY: f64 = 0.9;
const METRICS_BYTES_MAX: usize = 4096;
const IN_PROGRESS_MAX: u64 = 100_000;

/// What an external agent says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Healthy,
    /// Works, though not well.
    Degraded,
    /// Takes nothing more for now.
    Busy,
    Offline,
}

/// The text is no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status; use healthy, degraded, busy or offline")]
pub struct UnknownStatus(pub String);

impl AgentStatus {
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Busy, Self::Offline];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AgentStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.chars().take(64).collect()))
    }
}

/// A heartbeat, as it was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub at: Timestamp,
    pub status: AgentStatus,
    /// 0 idle, 1 full.
    pub load: f64,
    /// As the agent counts them, others' included.
    pub tasks_in_progress: u32,
    /// Whatever else it says; shown to people.
    #[serde(default)]
    pub metrics: Map<String, Value>,
    /// It was asked, and did not beat by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probed: bool,
}

impl Beat {
    pub fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::default();
        if !(0.0..=1.0).contains(&self.load) {
            violations.add("/current_load", "must be a number from 0 to 1");
        }
        violations.range(
            "/tasks_in_progress",
            self.tasks_in_progress.into(),
            0,
            IN_PROGRESS_MAX,
        );
        let bytes = serde_json::to_string(&self.metrics).map_or(0, |text| text.len());
        if bytes > METRICS_BYTES_MAX {
            violations.add(
                "/metrics",
                format!("has {bytes} bytes; at most {METRICS_BYTES_MAX} are allowed"),
            );
        }
        violations.no_nul("/metrics", &self.metrics);
        violations.or(())
    }

    /// True when it is time to ask the agent how it is: it does not say so by itself.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let slack = if self.probed {
            Duration::ZERO
        } else {
            HEARTBEAT_SLACK
        };
        now >= self.at + HEARTBEAT_INTERVAL + slack
    }

    /// True while no more than [`HEARTBEATS_MISSED`] beats are missing.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.at + HEARTBEAT_INTERVAL * HEARTBEATS_MISSED
    }
}

/// What the end of a task says of the agent that had it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did the work. `quality`: of the work, from 0 to 1; absent when nobody said.
    Succeeded { seconds: f64, quality: Option<f64> },
    /// It did work that is not what was asked for: it works, though not well.
    Rejected { quality: Option<f64> },
    /// It did not, and that may be its fault.
    Failed,
    /// Stopped, handed back, or never begun: nothing that the agent did.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The latest; only external agents beat.
    #[serde(default)]
    pub beat: Option<Beat>,
    /// Of the latest tasks, decaying; 1 before the first.
    pub success_rate: f64,
    /// Of the latest successful tasks, decaying; absent before the first.
    #[serde(default)]
    pub latency_seconds: Option<f64>,
    /// Of the latest work that was rated, from 0 to 1, decaying; absent before the first.
    #[serde(default)]
    pub quality: Option<f64>,
    /// Tasks that succeeded or failed, ever.
    pub tasks: u64,
    pub breaker: Breaker,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            beat: None,
            success_rate: 1.0,
            latency_seconds: None,
            quality: None,
            tasks: 0,
            breaker: Breaker::default(),
        }
    }
}

impl Condition {
    /// A beat that was overtaken by a later one changes nothing.
    #[must_use]
    pub fn beaten(self, beat: Beat) -> Self {
        if self.beat.as_ref().is_some_and(|known| known.at > beat.at) {
            return self;
        }
        Self {
            beat: Some(beat),
            ..self
        }
    }

    /// The agent asks for a task, or says something of one, which is as good as a beat. What its last beat said stays as long
    /// as that one is fresh, but that it is offline. `None`: nothing that is worth writing down.
    #[must_use]
    pub fn heard(self, now: Timestamp) -> Option<Self> {
        let said = self
            .beat
            .as_ref()
            .filter(|beat| beat.is_fresh(now) && beat.status != AgentStatus::Offline);
        let beat = match said {
            Some(beat) if now < beat.at + HEARD_AGAIN => return None,
            Some(beat) => Beat {
                at: now,
                probed: false,
                ..beat.clone()
            },
            None => Beat {
                at: now,
                status: AgentStatus::Healthy,
                load: 0.0,
                tasks_in_progress: 0,
                metrics: Map::new(),
                probed: false,
            },
        };
        Some(self.beaten(beat))
    }

    /// A task is given to the agent.
    #[must_use]
    pub fn taken(self) -> Self {
        Self {
            breaker: self.breaker.taken(),
            ..self
        }
    }

    /// A task of the agent has ended.
    #[must_use]
    pub fn after(self, outcome: Outcome, now: Timestamp) -> Self {
        let remember = |before: f64, latest: f64| before * MEMORY + latest * (1.0 - MEMORY);
        // The first counts as it is.
        let remember_some = |before: Option<f64>, latest: f64| {
            before.map_or(latest, |before| remember(before, latest))
        };
        let rated = |quality: Option<f64>| {
            let latest = quality.map(|latest| remember_some(self.quality, latest));
            latest.or(self.quality)
        };
        match outcome {
            Outcome::Nothing => self,
            Outcome::Rejected { quality } => Self {
                quality: rated(quality),
                ..self
            },
            Outcome::Succeeded { seconds, quality } => Self {
                success_rate: remember(self.success_rate, 1.0),
                latency_seconds: Some(remember_some(self.latency_seconds, seconds)),
                quality: rated(quality),
                tasks: self.tasks.saturating_add(1),
                breaker: Breaker::succeeded(),
                ..self
            },
            Outcome::Failed => Self {
                success_rate: remember(self.success_rate, 0.0),
                tasks: self.tasks.saturating_add(1),
                breaker: self.breaker.failed(now),
                ..self
            },
        }
    }
}
