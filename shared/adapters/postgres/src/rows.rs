//! Rows to domain values. A row that makes no sense is an error that names it, never a guess.

use std::fmt::Display;
use std::str::FromStr;

use domain::{
    ApiKey, ApiKeyId, Artifact, ArtifactId, Attempt, Checkpoint, Claim, Job, JobEvent, JobId,
    JobState, LogChunk, LogCursor, Priority, QueueKey, Quotas, SlotSnapshot, Status, Tenant,
    TenantId, WorkerId, WorkerView,
};
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Json};
use uuid::Uuid;

use crate::error::Failure;
use crate::months;

/// What [`job`] reads, of `jobs AS j`.
pub(crate) const JOB: &str = "j.id, j.tenant_id, j.state, j.priority, j.title, j.tags, j.metadata, j.spec, \
    j.progress, j.result, j.error, j.attempt, j.failures, j.max_attempts, j.max_duration_seconds, j.run_after, \
    j.deadline, j.requires, j.depends_on, j.if_prerequisite_fails, j.parent_id, j.fence, j.worker_id, j.worker_epoch, \
    j.event_seq, j.due, j.unmet, j.stop_requested_at, j.pause_requested_at, j.created_at, j.updated_at, j.queued_at, j.turn, j.started_at, \
    j.finished_at";

/// What [`slot`] reads, of `tenant_slots AS s JOIN tenants AS t`.
pub(crate) const SLOT: &str = "s.tenant_id, s.kind, s.version, t.weight, s.quota, s.running, s.queued, s.due, \
    s.published, s.paused OR NOT t.active OR s.kind = 'session' AND t.budget_until IS NOT NULL AS paused, \
    s.service_seconds";

/// A job with what only the store knows of it.
#[derive(Debug, Clone)]
pub(crate) struct StoredJob {
    pub job: Job,
    /// The number of its latest event.
    pub event_seq: i64,
    /// Its `run_after`, if any, has come, and that has been noticed.
    pub due: bool,
    /// How many of its prerequisites have not ended well.
    pub unmet: u32,
}

impl StoredJob {
    /// It is one of those that `tenant_slots.due` counts.
    pub(crate) fn is_ready(&self) -> bool {
        self.job.state() == JobState::Queued && self.due && self.job.requires.is_empty()
    }
}

pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Failure> {
    row.try_get(column).map_err(Failure::from)
}

/// The stores keep counts as signed integers; the domain never counts below zero.
pub(crate) fn count(row: &Row, column: &str) -> Result<u32, Failure> {
    let value: i32 = get(row, column)?;
    u32::try_from(value).map_err(|_| Failure::Unexpected(format!("{column} is {value}")))
}

/// A sum, which is never below zero either.
pub(crate) fn amount(row: &Row, column: &str) -> Result<u64, Failure> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|_| Failure::Unexpected(format!("{column} is {value}")))
}

/// A count as the store keeps it; the domain's limits are far below.
pub(crate) fn int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(crate) fn named<T: FromStr<Err: Display>>(row: &Row, column: &str) -> Result<T, Failure> {
    get::<&str>(row, column)?
        .parse()
        .map_err(Failure::unexpected)
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, Failure> {
    Ok(row.try_get::<_, Json<T>>(column)?.0)
}

pub(crate) fn json_or_null<T: DeserializeOwned>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, Failure> {
    Ok(row
        .try_get::<_, Option<Json<T>>>(column)?
        .map(|json| json.0))
}

pub(crate) fn job_id(row: &Row, column: &str) -> Result<JobId, Failure> {
    get(row, column).map(JobId::from_uuid)
}

pub(crate) fn job_id_or_null(row: &Row, column: &str) -> Result<Option<JobId>, Failure> {
    Ok(get::<Option<Uuid>>(row, column)?.map(JobId::from_uuid))
}

pub(crate) fn job_ids(row: &Row, column: &str) -> Result<Vec<JobId>, Failure> {
    let ids: Vec<Uuid> = get(row, column)?;
    Ok(ids.into_iter().map(JobId::from_uuid).collect())
}

pub(crate) fn tenant_id(row: &Row, column: &str) -> Result<TenantId, Failure> {
    get(row, column).map(TenantId::from_uuid)
}

pub(crate) fn queue(row: &Row) -> Result<QueueKey, Failure> {
    Ok(QueueKey {
        tenant: tenant_id(row, "tenant_id")?,
        kind: named(row, "kind")?,
    })
}

pub(crate) fn priority(row: &Row) -> Result<Priority, Failure> {
    let rank: i16 = get(row, "priority")?;
    let rank = u8::try_from(rank).map_err(Failure::unexpected)?;
    Priority::from_rank(rank).map_err(Failure::unexpected)
}

/// The error names the job: whoever repairs it has to find it.
pub(crate) fn job(row: &Row) -> Result<StoredJob, Failure> {
    let id = job_id(row, "id")?;
    read(id, row).map_err(|error| Failure::Unexpected(format!("job {id}: {}", error.why())))
}

fn read(id: JobId, row: &Row) -> Result<StoredJob, Failure> {
    let job = Job {
        id,
        tenant: tenant_id(row, "tenant_id")?,
        title: get(row, "title")?,
        priority: priority(row)?,
        tags: get(row, "tags")?,
        metadata: json(row, "metadata")?,
        spec: json(row, "spec")?,
        status: status(row)?,
        attempt: count(row, "attempt")?,
        failures: count(row, "failures")?,
        max_attempts: count(row, "max_attempts")?,
        max_duration_seconds: count(row, "max_duration_seconds")?,
        run_after: get(row, "run_after")?,
        deadline: get(row, "deadline")?,
        requires: json_or_null(row, "requires")?.unwrap_or_default(),
        depends_on: job_ids(row, "depends_on")?,
        if_prerequisite_fails: named(row, "if_prerequisite_fails")?,
        fence: get(row, "fence")?,
        progress: json_or_null(row, "progress")?,
        result: json_or_null(row, "result")?,
        error: json_or_null(row, "error")?,
        parent: job_id_or_null(row, "parent_id")?,
        stop_requested_at: get(row, "stop_requested_at")?,
        pause_requested_at: get(row, "pause_requested_at")?,
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
        queued_at: get(row, "queued_at")?,
        turn: get(row, "turn")?,
        started_at: get(row, "started_at")?,
        finished_at: get(row, "finished_at")?,
    };
    Ok(StoredJob {
        job,
        event_seq: get(row, "event_seq")?,
        due: get(row, "due")?,
        unmet: count(row, "unmet")?,
    })
}

fn status(row: &Row) -> Result<Status, Failure> {
    let state: JobState = named(row, "state")?;
    let worker: Option<Uuid> = get(row, "worker_id")?;
    let epoch: Option<i64> = get(row, "worker_epoch")?;
    let claim = worker.zip(epoch).map(|(worker, epoch)| Claim {
        worker: WorkerId::from_uuid(worker),
        epoch,
    });
    Status::from_row(state, claim)
        .ok_or_else(|| Failure::Unexpected(format!("it is {state} and names no worker")))
}

pub(crate) fn slot(row: &Row) -> Result<SlotSnapshot, Failure> {
    Ok(SlotSnapshot {
        queue: queue(row)?,
        version: get(row, "version")?,
        weight: count(row, "weight")?,
        quota: count(row, "quota")?,
        running: count(row, "running")?,
        queued: count(row, "queued")?,
        due: count(row, "due")?,
        published: count(row, "published")?,
        paused: get(row, "paused")?,
        service_seconds: get(row, "service_seconds")?,
    })
}

pub(crate) fn event(row: &Row) -> Result<JobEvent, Failure> {
    Ok(JobEvent {
        job: job_id(row, "job_id")?,
        seq: get(row, "seq")?,
        at: get(row, "at")?,
        kind: named(row, "kind")?,
        attempt: count(row, "attempt")?,
        data: json_or_null(row, "data")?.unwrap_or_default(),
    })
}

pub(crate) fn log_chunk(row: &Row) -> Result<LogChunk, Failure> {
    Ok(LogChunk {
        cursor: LogCursor {
            attempt: count(row, "attempt")?,
            number: count(row, "number")?,
        },
        at: get(row, "at")?,
        stream: named(row, "stream")?,
        text: get(row, "text")?,
    })
}

pub(crate) fn attempt(row: &Row) -> Result<Attempt, Failure> {
    let outcome = get::<Option<&str>>(row, "outcome")?
        .map(str::parse)
        .transpose()
        .map_err(Failure::unexpected)?;
    Ok(Attempt {
        number: count(row, "number")?,
        worker: WorkerId::from_uuid(get(row, "worker_id")?),
        agent: get(row, "agent_name")?,
        started_at: get(row, "started_at")?,
        finished_at: get(row, "finished_at")?,
        outcome,
        error: json_or_null(row, "error")?,
    })
}

pub(crate) fn checkpoint(row: &Row) -> Result<Checkpoint, Failure> {
    Ok(Checkpoint {
        number: count(row, "number")?,
        attempt: count(row, "attempt")?,
        at: get(row, "at")?,
        data: json(row, "data")?,
    })
}

pub(crate) fn artifact(row: &Row) -> Result<Artifact, Failure> {
    let bytes: i64 = get(row, "bytes")?;
    Ok(Artifact {
        id: ArtifactId::from_uuid(get(row, "id")?),
        attempt: count(row, "attempt")?,
        name: get(row, "name")?,
        media_type: get(row, "media_type")?,
        bytes: u64::try_from(bytes).map_err(Failure::unexpected)?,
        sha256: get(row, "sha256")?,
        created_at: get(row, "created_at")?,
    })
}

/// Needs `session_quota` and `training_quota` beside the columns of `tenants`.
pub(crate) fn tenant(row: &Row) -> Result<Tenant, Failure> {
    Ok(Tenant {
        id: tenant_id(row, "id")?,
        slug: get(row, "slug")?,
        name: get(row, "name")?,
        active: get(row, "active")?,
        weight: count(row, "weight")?,
        max_queued: count(row, "max_queued")?,
        quotas: Quotas {
            session: count(row, "session_quota")?,
            training: count(row, "training_quota")?,
        },
        monthly: months::limits(row)?,
        version: get(row, "version")?,
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
    })
}

pub(crate) fn api_key(row: &Row) -> Result<ApiKey, Failure> {
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(get(row, "id")?),
        tenant: tenant_id(row, "tenant_id")?,
        role: named(row, "role")?,
        name: get(row, "name")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
        revoked_at: get(row, "revoked_at")?,
    })
}

/// Needs `running` beside the columns of `workers`.
pub(crate) fn worker(row: &Row) -> Result<WorkerView, Failure> {
    let kinds = get::<Vec<String>>(row, "kinds")?
        .iter()
        .map(|kind| kind.parse())
        .collect::<Result<_, _>>()
        .map_err(Failure::unexpected)?;
    let running: i64 = get(row, "running")?;
    Ok(WorkerView {
        id: WorkerId::from_uuid(get(row, "id")?),
        epoch: get(row, "epoch")?,
        host: get(row, "host")?,
        kinds,
        labels: json(row, "labels")?,
        capacity: count(row, "capacity")?,
        running: u32::try_from(running).map_err(Failure::unexpected)?,
        draining: get(row, "draining")?,
        started_at: get(row, "started_at")?,
        lease_until: get(row, "lease_until")?,
    })
}
