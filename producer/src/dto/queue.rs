use application::ports::QueueView;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::job::KindBody;

/// A tenant's queue of one kind of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueBody {
    /// The tenant's slug.
    pub tenant: String,
    pub kind: KindBody,
    /// Jobs that wait.
    pub depth: u32,
    /// How long the one that waits longest has waited; null when none waits whose time has come.
    pub oldest_age_seconds: Option<f64>,
    pub running: u32,
    /// How many may run at once.
    pub quota: u32,
    /// It takes jobs and starts none.
    pub paused: bool,
    /// It starts the jobs that it has and takes none.
    pub draining: bool,
}

/// Queues, by tenant and kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuePage {
    pub items: Vec<QueueBody>,
    /// With `all=true`: hand it back as `cursor` for the next tenants; null on the last page.
    pub next_cursor: Option<String>,
}

impl QueueBody {
    pub fn new(view: QueueView, now: DateTime<Utc>) -> Self {
        let age = |at: DateTime<Utc>| (now - at).as_seconds_f64().max(0.0);
        Self {
            tenant: view.tenant_slug,
            kind: view.queue.kind.into(),
            depth: view.depth,
            oldest_age_seconds: view.oldest_queued_at.map(age),
            running: view.running,
            quota: view.quota,
            paused: view.paused,
            draining: view.draining,
        }
    }
}
