//! WRITE: what running jobs say between their start and their end. A job that is no longer the worker's gets nothing.

mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use application::ports::{Report, Reported, StoreError};
use domain::{CHECKPOINTS_KEPT, EventKind, JobId, Ledger, OverBudget, Timestamp, WorkerRef};
use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use crate::batch::{Hex, ids, json, text};
use crate::error::{corrupt, failed};
use crate::events::{self, EventRow};
use crate::finish::{Held, held};
use crate::rows::Reader;
use crate::{SqliteStore, budgets, months};
use tables::{
    ArtifactRow, CheckpointRow, DELETE_CHECKPOINTS, INSERT_CHECKPOINTS, INSERT_LOGS, JobRow,
    LogRow, UPDATE_JOBS, UPSERT_ARTIFACTS, each,
};

pub use tables::add_logs;

pub async fn report(
    store: &SqliteStore,
    worker: WorkerRef,
    reports: Vec<Report>,
    now: Timestamp,
) -> Result<Reported, StoreError> {
    let mut tx = store.write().await?;
    let mut held = held(&mut tx, worker, reports.iter().map(|r| r.job)).await?;
    let mut checkpoints = latest_checkpoints(&mut tx, &reports).await?;
    let mut written = Written::default();
    let mut lost = BTreeSet::new();
    for report in &reports {
        match held.get_mut(&(report.job, report.fence)) {
            Some(held) => {
                let checkpoint = checkpoints.entry(report.job).or_default();
                written.add(report, held, checkpoint, now)?;
            }
            None => {
                lost.insert(report.job);
            }
        }
    }
    let ledger = std::mem::take(&mut written.ledger);
    written.write(&mut tx, now).await?;
    let over = settle(&mut tx, ledger, now).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Reported {
        lost: lost.into_iter().collect(),
        over,
    })
}

/// Adds what was spent where it counts, and returns those that have to end.
async fn settle(
    connection: &mut SqliteConnection,
    ledger: Ledger,
    now: Timestamp,
) -> Result<Vec<(JobId, OverBudget)>, StoreError> {
    if ledger.is_empty() {
        return Ok(Vec::new());
    }
    let accounts = budgets::charge(&mut *connection, &ledger.accounts).await?;
    let months = months::spend(connection, &ledger.tenants, now).await?;
    Ok(ledger.over(&accounts, &months))
}

/// Of jobs that bring new ones; a job without any is not in it.
async fn latest_checkpoints(
    connection: &mut SqliteConnection,
    reports: &[Report],
) -> Result<HashMap<JobId, u32>, StoreError> {
    let jobs: BTreeSet<_> = reports
        .iter()
        .filter(|report| !report.checkpoints.is_empty())
        .map(|report| report.job.as_uuid())
        .collect();
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    sqlx::query(
        "SELECT job_id, max(number) AS number FROM checkpoints
         WHERE job_id IN (SELECT unhex(value) FROM json_each(?)) GROUP BY job_id",
    )
    .bind(ids(jobs)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let row = Reader(row);
        Ok((row.job_id("job_id")?, row.count("number")?))
    })
    .collect()
}

/// Everything that one call writes, a list a table.
#[derive(Default)]
struct Written {
    /// One row a job, whatever the number of its reports.
    jobs: BTreeMap<JobId, JobRow>,
    events: Vec<EventRow>,
    checkpoints: Vec<CheckpointRow>,
    logs: Vec<LogRow>,
    artifacts: Vec<ArtifactRow>,
    ledger: Ledger,
}

impl Written {
    fn add(
        &mut self,
        report: &Report,
        held: &mut Held,
        checkpoint: &mut u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = Hex(held.queue.tenant.as_uuid());
        let job = Hex(report.job.as_uuid());
        if let Some(progress) = &report.progress {
            let Value::Object(data) = serde_json::to_value(progress).map_err(corrupt)? else {
                return Err(corrupt("progress is not an object"));
            };
            self.happened(report, held, EventKind::Progress, &data, now)?;
        }
        for data in &report.checkpoints {
            *checkpoint += 1;
            let mut said = Map::new();
            said.insert("number".to_owned(), Value::from(*checkpoint));
            self.happened(report, held, EventKind::Checkpoint, &said, now)?;
            self.checkpoints.push(CheckpointRow {
                job,
                tenant,
                number: *checkpoint,
                attempt: held.attempt,
                data: json(data)?,
            });
        }
        self.logs.extend(
            report
                .logs
                .iter()
                .map(|chunk| LogRow::new(report.tenant, report.job, chunk)),
        );
        self.artifacts
            .extend(report.artifacts.iter().map(|kept| ArtifactRow {
                id: Hex(kept.id.as_uuid()),
                job,
                tenant,
                attempt: kept.attempt,
                name: text(&kept.name),
                media_type: text(&kept.media_type),
                bytes: kept.bytes,
                sha256: text(&kept.sha256),
                created_at: kept.created_at.timestamp_micros(),
            }));
        let spent = self.spend(report, held)?;
        let latest = report.progress.as_ref().map(json).transpose()?;
        let row = self.jobs.entry(report.job).or_insert(JobRow {
            job,
            event_seq: 0,
            progress: None,
            spent: None,
        });
        row.event_seq = held.event_seq;
        row.progress = latest.or(row.progress.take());
        row.spent = spent.or(row.spent.take());
        Ok(())
    }

    /// What all runs of the job have used, if that is more than was known.
    fn spend(&mut self, report: &Report, held: &mut Held) -> Result<Option<String>, StoreError> {
        let Some(spent) = report.spent else {
            return Ok(None);
        };
        let spent = held.spent.at_least(spent);
        let came = spent.since(held.spent);
        let tenant = held.queue.tenant;
        self.ledger.add(tenant, report.job, &held.ancestors, came);
        if spent == held.spent {
            return Ok(None);
        }
        held.spent = spent;
        json(&spent).map(Some)
    }

    fn happened(
        &mut self,
        report: &Report,
        held: &mut Held,
        kind: EventKind,
        data: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        held.event_seq += 1;
        let event = EventRow::new(
            held.queue.tenant,
            report.job,
            held.attempt,
            held.event_seq,
            kind,
            now,
        );
        self.events.push(event.with(data)?);
        Ok(())
    }

    async fn write(
        self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let jobs: Vec<JobRow> = self.jobs.into_values().collect();
        each(connection, &jobs, now, UPDATE_JOBS).await?;
        events::write(connection, &self.events).await?;
        each(connection, &self.checkpoints, now, INSERT_CHECKPOINTS).await?;
        each(connection, &self.logs, now, INSERT_LOGS).await?;
        each(connection, &self.artifacts, now, UPSERT_ARTIFACTS).await?;
        if self.checkpoints.is_empty() {
            return Ok(());
        }
        sqlx::query(DELETE_CHECKPOINTS)
            .bind(json(
                &self
                    .checkpoints
                    .iter()
                    .map(|row| row.job)
                    .collect::<Vec<_>>(),
            )?)
            .bind(CHECKPOINTS_KEPT)
            .execute(connection)
            .await
            .map_err(failed)?;
        Ok(())
    }
}
