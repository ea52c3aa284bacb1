//! The API's documents as far as this client reads them. Fields that it does not know are none of its business.

use domain::{EventKind, JobId, JobState, Labels, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub status: JobState,
    pub title: String,
    pub priority: String,
    /// Runs so far.
    pub attempt: u32,
    /// Runs that count against `max_attempts`; a retry by hand starts that count anew.
    pub failures: u32,
    pub max_attempts: u32,
    #[serde(default)]
    pub tags: Vec<String>,
    /// Not before.
    pub run_after: Option<Timestamp>,
    /// By when it must have ended.
    pub deadline: Option<Timestamp>,
    #[serde(default)]
    pub requires: Labels,
    #[serde(default)]
    pub depends_on: Vec<JobId>,
    pub progress: Option<Progress>,
    pub result: Option<Map<String, Value>>,
    pub error: Option<JobError>,
    #[serde(default)]
    pub stop_requested: bool,
    #[serde(default)]
    pub pause_requested: bool,
    pub created_at: Timestamp,
    pub queued_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    pub fraction: Option<f64>,
    pub message: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct JobError {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Attempt {
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct JobEvent {
    pub seq: i64,
    pub at: Timestamp,
    pub kind: EventKind,
    pub attempt: u32,
    #[serde(default)]
    pub data: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Queue {
    pub tenant: String,
    pub kind: String,
    pub depth: u32,
    pub oldest_age_seconds: Option<f64>,
    pub running: u32,
    pub quota: u32,
    pub paused: bool,
    #[serde(default)]
    pub draining: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Why {
    pub status: JobState,
    pub reasons: Vec<Reason>,
    pub position: Option<u32>,
    pub running: u32,
    pub quota: u32,
    pub holders: Vec<Holder>,
    pub estimate: Option<Estimate>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reason {
    pub message: String,
    #[serde(default)]
    pub data: Value,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Holder {
    pub id: JobId,
    pub title: String,
    pub started_at: Timestamp,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Estimate {
    pub seconds: f64,
    pub runs: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Tenant {
    pub id: String,
    pub slug: String,
    pub name: String,
    pub active: bool,
    pub weight: u32,
    pub max_queued: u32,
    pub quotas: Quotas,
    pub monthly_tokens: Option<u64>,
    pub monthly_cost_usd: Option<f64>,
    /// Only of one that was asked for by itself.
    pub this_month: Option<TenantMonth>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TenantMonth {
    pub tokens: u64,
    pub cost_usd: f64,
    pub used_up: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Quotas {
    pub session: u32,
    pub training: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Worker {
    pub id: String,
    pub host: String,
    pub kinds: Vec<String>,
    #[serde(default)]
    pub labels: Labels,
    pub capacity: u32,
    pub running: u32,
    pub draining: bool,
    pub alive: bool,
    pub started_at: Timestamp,
}

#[derive(Debug, Clone, Deserialize)]
pub struct CreatedKey {
    pub key: String,
}

/// A list, or a page of one.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DeadLetterGroup {
    pub kind: String,
    pub fingerprint: String,
    pub count: u32,
    pub last_at: Timestamp,
    pub latest_id: JobId,
}
