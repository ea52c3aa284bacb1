//! Why a job waits, for people and programs.

use application::ports::Holder;
use application::use_cases::{Reason, Why};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{JobId, JobKind, JobState, Labels};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::StateBody;

/// Why a job does not run now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Why)]
pub(crate) struct WhyBody {
    pub id: Uuid,
    pub status: StateBody,
    /// False for a job that runs or is over; there is nothing else to say then.
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
    /// `NOT_STARTED`, `PAUSED`, `PREREQUISITES`, `NOT_BEFORE`, `TENANT_INACTIVE`, `QUEUE_PAUSED`, `NO_WORKER`, `NO_AGENT`,
    /// `QUOTA_FULL`, `WORKERS_BUSY`, `TURN` or `ABOUT_TO_BEGIN`.
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

/// When it may begin, if runs go on taking as long as the latest ones of its queue did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartEstimate)]
pub(crate) struct EstimateBody {
    pub seconds: f64,
    /// How many runs that is made of.
    pub runs: u32,
}

impl From<Why> for WhyBody {
    fn from(why: Why) -> Self {
        let kind = why.job.kind();
        Self {
            id: why.job.id.as_uuid(),
            status: why.job.state().into(),
            waits: !why.reasons.is_empty(),
            reasons: why
                .reasons
                .iter()
                .map(|reason| ReasonBody::new(reason, kind))
                .collect(),
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

impl ReasonBody {
    fn new(reason: &Reason, kind: JobKind) -> Self {
        let (code, message, data) = words(reason, kind);
        Self {
            code,
            message,
            data,
        }
    }
}

fn words(reason: &Reason, kind: JobKind) -> (&'static str, String, Value) {
    match reason {
        Reason::NotStarted => (
            "NOT_STARTED",
            "It was created with `start: false`; start it.".to_owned(),
            json!({}),
        ),
        Reason::Paused => ("PAUSED", "It was paused; resume it.".to_owned(), json!({})),
        Reason::Prerequisites(open) => prerequisites(open),
        Reason::NotBefore(at) => (
            "NOT_BEFORE",
            format!(
                "It is not to run before {}.",
                at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            ),
            json!({"run_after": at}),
        ),
        Reason::TenantInactive => (
            "TENANT_INACTIVE",
            "Its tenant is switched off; an admin can set `active` to true.".to_owned(),
            json!({}),
        ),
        Reason::QueuePaused(kind) => (
            "QUEUE_PAUSED",
            format!("The queue of {kind} jobs is paused; a lead of the tenant can resume it."),
            json!({"queue": kind}),
        ),
        Reason::NoWorker { kind, requires } => no_worker(*kind, requires),
        Reason::QuotaFull { running, quota } => (
            "QUOTA_FULL",
            format!(
                "Its tenant's quota of {kind} jobs is full: {running} run and {quota} may; it begins when one ends."
            ),
            json!({"running": running, "quota": quota}),
        ),
        Reason::NoAgent(why) => (
            "NO_AGENT",
            format!("It waits for an agent: {why}. It begins when one can take it."),
            json!({"reason": why}),
        ),
        Reason::WorkersBusy { workers } => (
            "WORKERS_BUSY",
            format!(
                "Every worker that could run it ({workers}) is full; it begins when a run ends, or start more workers."
            ),
            json!({"workers": workers}),
        ),
        Reason::Turn { ahead } => (
            "TURN",
            match ahead {
                1 => "One job of its queue comes first".to_owned(),
                ahead => format!("{ahead} jobs of its queue come first"),
            } + ", by priority and by waiting time.",
            json!({"ahead": ahead}),
        ),
        Reason::AboutToBegin => (
            "ABOUT_TO_BEGIN",
            "Nothing keeps it: it is about to begin.".to_owned(),
            json!({}),
        ),
    }
}

fn prerequisites(open: &[(JobId, JobState)]) -> (&'static str, String, Value) {
    let listed: Vec<Value> = open
        .iter()
        .map(|(job, state)| json!({"id": job, "status": state}))
        .collect();
    let message = match open.len() {
        1 => "It waits until one other job has ended well.".to_owned(),
        count => format!("It waits until {count} other jobs have ended well."),
    };
    ("PREREQUISITES", message, json!({"jobs": listed}))
}

fn no_worker(kind: JobKind, requires: &Labels) -> (&'static str, String, Value) {
    if requires.is_empty() {
        let message = format!("No live worker takes {kind} jobs; start one.");
        return ("NO_WORKER", message, json!({"kind": kind}));
    }
    let message = format!(
        "No live worker takes {kind} jobs and has the labels {requires}; start one with `--label {requires}`."
    );
    let data = json!({"kind": kind, "requires": requires});
    ("NO_WORKER", message, data)
}
