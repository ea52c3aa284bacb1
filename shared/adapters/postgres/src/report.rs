//! WRITE: what runs say between their start and their end, of many jobs at once, each behind its fence.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use application::ports::{Report, Reported};
use deadpool_postgres::Transaction;
use domain::{
    Artifact, EventKind, JobId, Ledger, LogChunk, OverBudget, Spent, TenantId, Timestamp, WorkerRef,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::Failure;
use crate::events::{self, Events, data};
use crate::json::{Jsonb, jsonb, text};
use crate::pipeline::prepare;
use crate::{PostgresStore, budgets, months, rows};
use tables::{
    ADD_CHECKPOINTS, DROP_CHECKPOINTS, KEEP_ARTIFACTS, NewCheckpoint, UPDATE_JOBS, add_checkpoints,
    keep_artifacts, update_jobs,
};

pub(crate) use tables::{ADD_LOGS, add_logs};

const LOCK_JOBS: &str = "SELECT id, fence, attempt, event_seq, spent, ancestors FROM jobs
    WHERE id = ANY ($1::uuid[]) AND worker_id = $2 AND worker_epoch = $3
    ORDER BY id FOR UPDATE";

/// Sent behind the lock, so nobody else numbers a checkpoint of these jobs meanwhile.
const LAST_CHECKPOINTS: &str = "SELECT job_id, max(number) AS number FROM checkpoints
    WHERE job_id = ANY ($1::uuid[]) GROUP BY job_id";

/// Returns the jobs of which nothing was written, because they are no longer this worker's.
pub(crate) async fn report(
    store: &PostgresStore,
    worker: WorkerRef,
    reports: Vec<Report>,
    now: Timestamp,
) -> Result<Reported, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(
        &tx,
        &[
            LOCK_JOBS,
            LAST_CHECKPOINTS,
            UPDATE_JOBS,
            events::INSERT,
            ADD_CHECKPOINTS,
            DROP_CHECKPOINTS,
            ADD_LOGS,
            KEEP_ARTIFACTS,
        ],
    )
    .await?;
    let (mut runs, checkpoints) = futures::try_join!(
        lock_jobs(&tx, worker, &reports),
        last_checkpoints(&tx, &reports)
    )?;
    for (job, number) in checkpoints {
        if let Some(run) = runs.get_mut(&job) {
            run.checkpoint = number;
        }
    }
    let mut lost = BTreeSet::new();
    let mut said = Said::default();
    for report in reports {
        match runs.get_mut(&report.job) {
            Some(run) if run.fence == report.fence => said.take(run, report)?,
            _ => {
                lost.insert(report.job);
            }
        }
    }
    let ledger = std::mem::take(&mut said.ledger);
    said.write(&tx, &runs, now).await?;
    let over = settle(&tx, ledger, now).await?;
    tx.commit().await?;
    Ok(Reported {
        lost: lost.into_iter().collect(),
        over,
    })
}

/// Adds what was spent where it counts, and returns those that have to end.
async fn settle(
    tx: &Transaction<'_>,
    ledger: Ledger,
    now: Timestamp,
) -> Result<Vec<(JobId, OverBudget)>, Failure> {
    if ledger.is_empty() {
        return Ok(Vec::new());
    }
    let accounts = budgets::charge(tx, &ledger.accounts).await?;
    let months = months::spend(tx, &ledger.tenants, now).await?;
    Ok(ledger.over(&accounts, &months))
}

/// A running job under lock; counts on while its reports are taken.
struct Run {
    fence: i64,
    attempt: u32,
    event_seq: i64,
    /// The number of its latest checkpoint.
    checkpoint: u32,
    ancestors: Vec<JobId>,
    spent: Spent,
    /// More was spent than was known.
    spent_more: bool,
}

async fn lock_jobs(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    reports: &[Report],
) -> Result<BTreeMap<JobId, Run>, Failure> {
    let ids: Vec<Uuid> = reports.iter().map(|report| report.job.as_uuid()).collect();
    let lock = tx.prepare_cached(LOCK_JOBS).await?;
    let rows = tx
        .query(&lock, &[&ids, &worker.id.as_uuid(), &worker.epoch])
        .await?;
    rows.iter()
        .map(|row| {
            let run = Run {
                fence: rows::get(row, "fence")?,
                attempt: rows::count(row, "attempt")?,
                event_seq: rows::get(row, "event_seq")?,
                checkpoint: 0,
                ancestors: rows::job_ids(row, "ancestors")?,
                spent: rows::json_or_null(row, "spent")?.unwrap_or_default(),
                spent_more: false,
            };
            Ok((rows::job_id(row, "id")?, run))
        })
        .collect()
}

async fn last_checkpoints(
    tx: &Transaction<'_>,
    reports: &[Report],
) -> Result<Vec<(JobId, u32)>, Failure> {
    let ids: Vec<Uuid> = reports
        .iter()
        .filter(|report| !report.checkpoints.is_empty())
        .map(|report| report.job.as_uuid())
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let last = tx.prepare_cached(LAST_CHECKPOINTS).await?;
    let rows = tx.query(&last, &[&ids]).await?;
    rows.iter()
        .map(|row| Ok((rows::job_id(row, "job_id")?, rows::count(row, "number")?)))
        .collect()
}

/// Everything to be written, by table.
#[derive(Default)]
struct Said {
    progress: BTreeMap<JobId, Option<Jsonb>>,
    events: Events,
    checkpoints: Vec<NewCheckpoint>,
    logs: Vec<(TenantId, JobId, LogChunk)>,
    ledger: Ledger,
    /// One of each name, the latest: a statement may not touch a row twice.
    artifacts: BTreeMap<(JobId, u32, String), (TenantId, Artifact)>,
}

impl Said {
    fn take(&mut self, run: &mut Run, report: Report) -> Result<(), Failure> {
        let Report { tenant, job, .. } = report;
        if let Some(progress) = report.progress {
            if let Value::Object(entries) =
                serde_json::to_value(&progress).map_err(Failure::unexpected)?
            {
                self.event((tenant, job), run, EventKind::Progress, &entries)?;
            }
            self.progress.insert(job, Some(jsonb(&progress)?));
        }
        if let Some(spent) = report.spent {
            let spent = run.spent.at_least(spent);
            let came = spent.since(run.spent);
            self.ledger.add(tenant, job, &run.ancestors, came);
            run.spent_more |= spent != run.spent;
            run.spent = spent;
            self.progress.entry(job).or_default();
        }
        for checkpoint in report.checkpoints {
            run.checkpoint += 1;
            self.checkpoints.push(NewCheckpoint {
                tenant,
                job,
                number: run.checkpoint,
                attempt: run.attempt,
                data: jsonb(&checkpoint)?,
            });
            let number = data([("number", run.checkpoint.into())]);
            self.event((tenant, job), run, EventKind::Checkpoint, &number)?;
        }
        self.logs
            .extend(report.logs.into_iter().map(|chunk| (tenant, job, chunk)));
        for mut artifact in report.artifacts {
            artifact.name = text(&artifact.name);
            let key = (job, artifact.attempt, artifact.name.clone());
            self.artifacts.insert(key, (tenant, artifact));
        }
        Ok(())
    }

    fn event(
        &mut self,
        of: (TenantId, JobId),
        run: &mut Run,
        kind: EventKind,
        data: &Map<String, Value>,
    ) -> Result<(), Failure> {
        run.event_seq += 1;
        // A job whose number of events rose is written back, with new progress or without.
        self.progress.entry(of.1).or_default();
        self.events.add(of, run.event_seq, kind, run.attempt, data)
    }

    async fn write(
        self,
        tx: &Transaction<'_>,
        runs: &BTreeMap<JobId, Run>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        futures::try_join!(
            update_jobs(tx, self.progress, runs, now),
            self.events.insert(tx, now),
            add_checkpoints(tx, self.checkpoints, now),
            add_logs(tx, self.logs),
            keep_artifacts(
                tx,
                self.artifacts
                    .into_iter()
                    .map(|(key, kept)| (key.0, kept))
                    .collect()
            )
        )?;
        Ok(())
    }
}
