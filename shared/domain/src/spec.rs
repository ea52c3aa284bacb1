//! What a job is to do. Sessions and training jobs share one lifecycle; what differs is here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AgentSpec, RouteRequest, SessionSpec, TrainingSpec, Violations};

/// The kinds of jobs. Quotas, queues and handlers exist once a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Session,
    Training,
}

/// The text names no kind of job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of job; use session or training")]
pub struct UnknownKind(pub String);

impl JobKind {
    pub const ALL: [Self; 2] = [Self::Session, Self::Training];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Training => "training",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

/// The typed payload of a job; JSON in the stores, tagged by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSpec {
    Session(SessionSpec),
    Training(TrainingSpec),
}

impl JobSpec {
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Session(_) => JobKind::Session,
            Self::Training(_) => JobKind::Training,
        }
    }

    /// What is asked of an agent, of a session that is routed.
    pub const fn route(&self) -> Option<&RouteRequest> {
        match self {
            Self::Session(SessionSpec {
                agent: AgentSpec::Routed(request),
                ..
            }) => Some(request),
            Self::Session(_) | Self::Training(_) => None,
        }
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        match self {
            Self::Session(spec) => spec.check(violations),
            Self::Training(spec) => spec.check(violations),
        }
    }
}
