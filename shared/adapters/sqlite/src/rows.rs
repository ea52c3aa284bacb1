//! Rows and what they mean. Ids are 16-byte blobs, instants microseconds, JSON and lists text.

use std::str::FromStr;

use application::ports::StoreError;
use chrono::DateTime;
use domain::{
    ApiKeyId, ArtifactId, Claim, Job, JobId, JobKind, JobState, Priority, QueueKey, Status,
    TenantId, Timestamp, WorkerId,
};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use crate::error::{corrupt, failed};

/// A job's row: the job, and what only stores know of it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub job: Job,
    pub event_seq: i64,
    /// Of a queued job: its time has come.
    pub due: bool,
    /// Prerequisites that have not ended well yet.
    pub unmet: u32,
}

impl Stored {
    /// Whether it is one of the jobs that `tenant_slots.due` counts.
    pub fn counts_as_due(&self) -> bool {
        self.job.state() == JobState::Queued && self.due && self.job.requires.is_empty()
    }
}

/// Reads one row by the names of its columns.
pub struct Reader<'r>(pub &'r SqliteRow);

impl<'r> Reader<'r> {
    pub fn get<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.0.try_get(column).map_err(failed)
    }

    pub fn count(&self, column: &str) -> Result<u32, StoreError> {
        let count: i64 = self.get(column)?;
        u32::try_from(count).map_err(|_| corrupt(format!("{column} is {count}")))
    }

    /// A sum, which is never below zero.
    pub fn amount(&self, column: &str) -> Result<u64, StoreError> {
        let amount: i64 = self.get(column)?;
        u64::try_from(amount).map_err(|_| corrupt(format!("{column} is {amount}")))
    }

    pub fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        time(self.get(column)?)
    }

    pub fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        self.get::<Option<i64>>(column)?.map(time).transpose()
    }

    /// A value with a name, such as a state or a kind.
    pub fn name<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let text: &str = self.get(column)?;
        text.parse().map_err(corrupt)
    }

    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| corrupt(format!("{column}: {error}")))
    }

    pub fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        match self.get::<Option<&str>>(column)? {
            Some(_) => self.json(column).map(Some),
            None => Ok(None),
        }
    }

    pub fn job_id(&self, column: &str) -> Result<JobId, StoreError> {
        Ok(JobId::from_uuid(self.get(column)?))
    }

    pub fn maybe_job_id(&self, column: &str) -> Result<Option<JobId>, StoreError> {
        Ok(self.get::<Option<Uuid>>(column)?.map(JobId::from_uuid))
    }

    pub fn tenant_id(&self, column: &str) -> Result<TenantId, StoreError> {
        Ok(TenantId::from_uuid(self.get(column)?))
    }

    pub fn worker_id(&self, column: &str) -> Result<WorkerId, StoreError> {
        Ok(WorkerId::from_uuid(self.get(column)?))
    }

    pub fn key_id(&self, column: &str) -> Result<ApiKeyId, StoreError> {
        Ok(ApiKeyId::from_uuid(self.get(column)?))
    }

    pub fn artifact_id(&self, column: &str) -> Result<ArtifactId, StoreError> {
        Ok(ArtifactId::from_uuid(self.get(column)?))
    }

    /// Of the columns `tenant_id` and `kind`.
    pub fn queue(&self) -> Result<QueueKey, StoreError> {
        Ok(QueueKey {
            tenant: self.tenant_id("tenant_id")?,
            kind: self.name::<JobKind>("kind")?,
        })
    }
}

pub fn job(row: &SqliteRow) -> Result<Job, StoreError> {
    Ok(stored(row)?.job)
}

/// A whole row of `jobs`. The error names the job: whoever repairs it has to find it.
pub fn stored(row: &SqliteRow) -> Result<Stored, StoreError> {
    let row = Reader(row);
    let id = row.job_id("id")?;
    read(id, &row).map_err(|error| match error {
        StoreError::Corrupt(why) => corrupt(format!("job {id}: {why}")),
        other => other,
    })
}

fn read(id: JobId, row: &Reader<'_>) -> Result<Stored, StoreError> {
    let job = Job {
        id,
        tenant: row.tenant_id("tenant_id")?,
        title: row.get("title")?,
        priority: priority(row)?,
        tags: row.json("tags")?,
        metadata: row.json("metadata")?,
        spec: row.json("spec")?,
        status: status(row)?,
        attempt: row.count("attempt")?,
        failures: row.count("failures")?,
        max_attempts: row.count("max_attempts")?,
        max_duration_seconds: row.count("max_duration_seconds")?,
        run_after: row.maybe_time("run_after")?,
        deadline: row.maybe_time("deadline")?,
        requires: row.maybe_json("requires")?.unwrap_or_default(),
        depends_on: row.json("depends_on")?,
        if_prerequisite_fails: row.name("if_prerequisite_fails")?,
        fence: row.get("fence")?,
        progress: row.maybe_json("progress")?,
        result: row.maybe_json("result")?,
        error: row.maybe_json("error")?,
        parent: row.maybe_job_id("parent_id")?,
        stop_requested_at: row.maybe_time("stop_requested_at")?,
        pause_requested_at: row.maybe_time("pause_requested_at")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        queued_at: row.maybe_time("queued_at")?,
        turn: row.maybe_time("turn")?,
        started_at: row.maybe_time("started_at")?,
        finished_at: row.maybe_time("finished_at")?,
    };
    Ok(Stored {
        job,
        event_seq: row.get("event_seq")?,
        due: row.get("due")?,
        unmet: row.count("unmet")?,
    })
}

pub fn priority(row: &Reader<'_>) -> Result<Priority, StoreError> {
    let rank: i64 = row.get("priority")?;
    Priority::from_rank(u8::try_from(rank).unwrap_or(u8::MAX)).map_err(corrupt)
}

fn status(row: &Reader<'_>) -> Result<Status, StoreError> {
    let state: JobState = row.name("state")?;
    let worker: Option<Uuid> = row.get("worker_id")?;
    let epoch: Option<i64> = row.get("worker_epoch")?;
    let claim = worker.zip(epoch).map(|(worker, epoch)| Claim {
        worker: WorkerId::from_uuid(worker),
        epoch,
    });
    Status::from_row(state, claim)
        .ok_or_else(|| corrupt(format!("it is {state} and names no worker")))
}

fn time(micros: i64) -> Result<Timestamp, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| corrupt(format!("{micros} is not an instant")))
}

/// An instant that may be missing, as its column has it.
pub fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(|time| time.timestamp_micros())
}
