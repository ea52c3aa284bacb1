//! Why a job waits, for people and programs.

mod words;

use application::ports::Holder;
use application::use_cases::Why;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::StateBody;

/// Why a job does not run now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Why)]
pub(crate) struct WhyBody {
    pub id: Uuid,
    pub status: StateBody,
    /// False for a job that is over, or runs and waits for no lock; there is nothing else to say then.
    pub waits: bool,
    /// Everything that keeps it from running, the decisive first.
    pub reasons: Vec<ReasonBody>,
    /// Its place among the jobs of its queue that could run, from 1; null when it is not one of them yet.
    pub position: Option<u32>,
    /// Slots of its tenant for its kind that are taken, and how many there are.
    pub running: u32,
    pub quota: u32,
    /// The runs that hold those slots, the oldest first, 50 at most.
    pub holders: Vec<HolderBody>,
    pub estimate: Option<EstimateBody>,
}

/// One thing that keeps a job from running.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reason)]
pub(crate) struct ReasonBody {
    /// `NOT_STARTED`, `PAUSED`, `BUDGET_EXCEEDED`, `PREREQUISITES`, `NOT_BEFORE`, `BACKOFF`, `TENANT_INACTIVE`, `TENANT_BUDGET`,
    /// `TENANT_PAUSED`, `QUEUE_PAUSED`, `NO_WORKER`, `NO_AGENT`, `BROKER_AWAY`, `QUOTA_FULL`, `WORKERS_BUSY`, `TURN`,
    /// `ABOUT_TO_BEGIN`, or, of a job that runs, `LOCK`.
    #[schema(example = "QUOTA_FULL")]
    pub code: &'static str,
    /// What it is, and what to do about it.
    pub message: String,
    /// The same as data; what is in it depends on the code.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// A run that holds a slot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SlotHolder)]
pub(crate) struct HolderBody {
    pub id: Uuid,
    pub title: String,
    pub worker_id: Uuid,
    pub started_at: DateTime<Utc>,
}

/// When it may begin, if runs of its queue go on taking as long as the latest ones mostly did. Null where more than the
/// end of runs is waited for, and while no run has shown how long runs take.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartEstimate)]
pub(crate) struct EstimateBody {
    pub seconds: f64,
    /// How many runs that is made of.
    pub runs: u32,
}

impl From<Why> for WhyBody {
    fn from(why: Why) -> Self {
        Self {
            id: why.job.id.as_uuid(),
            status: why.job.state().into(),
            waits: !why.reasons.is_empty(),
            reasons: ReasonBody::of(&why),
            position: why.position,
            running: why.running,
            quota: why.quota,
            holders: why.holders.into_iter().map(HolderBody::from).collect(),
            estimate: why.estimate.map(|estimate| EstimateBody {
                seconds: estimate.seconds,
                runs: estimate.runs,
            }),
        }
    }
}

impl From<Holder> for HolderBody {
    fn from(holder: Holder) -> Self {
        Self {
            id: holder.job.as_uuid(),
            title: holder.title,
            worker_id: holder.worker.as_uuid(),
            started_at: holder.started_at,
        }
    }
}
