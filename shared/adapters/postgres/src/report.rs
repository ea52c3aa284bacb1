//! WRITE: what runs say between their start and their end, of many jobs at once, each behind its fence.

use std::collections::{BTreeMap, BTreeSet};

use application::ports::{Report, Reported};
use deadpool_postgres::Transaction;
use domain::{
    Artifact, CHECKPOINTS_KEPT, EventKind, JobId, Ledger, LogChunk, OverBudget, Spent, TenantId,
    Timestamp, WorkerRef,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::Failure;
use crate::events::{self, Events, data};
use crate::json::{Jsonb, jsonb, jsonb_or_null, text};
use crate::pipeline::prepare;
use crate::rows::{self, int};
use crate::{PostgresStore, budgets, months};

const LOCK_JOBS: &str = "SELECT id, fence, attempt, event_seq, spent, ancestors FROM jobs
    WHERE id = ANY ($1::uuid[]) AND worker_id = $2 AND worker_epoch = $3
    ORDER BY id FOR UPDATE";

/// Sent behind the lock, so nobody else numbers a checkpoint of these jobs meanwhile.
const LAST_CHECKPOINTS: &str = "SELECT job_id, max(number) AS number FROM checkpoints
    WHERE job_id = ANY ($1::uuid[]) GROUP BY job_id";

const UPDATE_JOBS: &str =
    "UPDATE jobs j SET progress = coalesce(r.progress, j.progress), event_seq = r.event_seq,
        spent = coalesce(r.spent, j.spent), updated_at = $1
    FROM unnest($2::uuid[], $3::jsonb[], $4::int8[], $5::jsonb[]) AS r (id, progress, event_seq, spent)
    WHERE j.id = r.id";

const ADD_CHECKPOINTS: &str =
    "INSERT INTO checkpoints (job_id, number, tenant_id, attempt, at, data)
    SELECT c.job_id, c.number, c.tenant_id, c.attempt, $1, c.data
    FROM unnest($2::uuid[], $3::int4[], $4::uuid[], $5::int4[], $6::jsonb[])
        AS c (job_id, number, tenant_id, attempt, data)";

const DROP_CHECKPOINTS: &str = "DELETE FROM checkpoints c
    USING unnest($1::uuid[], $2::int4[]) AS k (job_id, newest)
    WHERE c.job_id = k.job_id AND c.number <= k.newest - $3";

/// A report that is sent again because its answer got lost changes nothing.
pub(crate) const ADD_LOGS: &str = "INSERT INTO job_logs (job_id, attempt, number, tenant_id, at, stream, text)
    SELECT l.job_id, l.attempt, l.number, l.tenant_id, l.at, l.stream, l.text
    FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
        AS l (job_id, attempt, number, tenant_id, at, stream, text)
    ON CONFLICT (job_id, attempt, number) DO NOTHING";

const KEEP_ARTIFACTS: &str = "INSERT INTO artifacts
        (id, job_id, tenant_id, attempt, name, media_type, bytes, sha256, created_at)
    SELECT a.id, a.job_id, a.tenant_id, a.attempt, a.name, a.media_type, a.bytes, a.sha256, a.created_at
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[], $6::text[], $7::int8[], $8::text[],
            $9::timestamptz[])
        AS a (id, job_id, tenant_id, attempt, name, media_type, bytes, sha256, created_at)
    ON CONFLICT (job_id, attempt, name) DO UPDATE SET id = excluded.id, media_type = excluded.media_type,
        bytes = excluded.bytes, sha256 = excluded.sha256, created_at = excluded.created_at";

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

struct NewCheckpoint {
    tenant: TenantId,
    job: JobId,
    number: u32,
    attempt: u32,
    data: Jsonb,
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

async fn update_jobs(
    tx: &Transaction<'_>,
    progress: BTreeMap<JobId, Option<Jsonb>>,
    runs: &BTreeMap<JobId, Run>,
    now: Timestamp,
) -> Result<(), Failure> {
    if progress.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = progress.keys().map(|job| job.as_uuid()).collect();
    let seqs: Vec<i64> = progress
        .keys()
        .filter_map(|job| runs.get(job))
        .map(|run| run.event_seq)
        .collect();
    let spent = progress
        .keys()
        .filter_map(|job| runs.get(job))
        .map(|run| jsonb_or_null(run.spent_more.then_some(&run.spent)))
        .collect::<Result<Vec<Option<Jsonb>>, Failure>>()?;
    let progress: Vec<Option<Jsonb>> = progress.into_values().collect();
    let update = tx.prepare_cached(UPDATE_JOBS).await?;
    tx.execute(&update, &[&now, &ids, &progress, &seqs, &spent])
        .await?;
    Ok(())
}

async fn add_checkpoints(
    tx: &Transaction<'_>,
    checkpoints: Vec<NewCheckpoint>,
    now: Timestamp,
) -> Result<(), Failure> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    let jobs: Vec<Uuid> = checkpoints.iter().map(|c| c.job.as_uuid()).collect();
    let numbers: Vec<i32> = checkpoints.iter().map(|c| int(c.number)).collect();
    let tenants: Vec<Uuid> = checkpoints.iter().map(|c| c.tenant.as_uuid()).collect();
    let attempts: Vec<i32> = checkpoints.iter().map(|c| int(c.attempt)).collect();
    let data: Vec<Jsonb> = checkpoints.into_iter().map(|c| c.data).collect();
    let add = tx.prepare_cached(ADD_CHECKPOINTS).await?;
    let drop = tx.prepare_cached(DROP_CHECKPOINTS).await?;
    let kept = int(CHECKPOINTS_KEPT);
    tx.execute(&add, &[&now, &jobs, &numbers, &tenants, &attempts, &data])
        .await?;
    tx.execute(&drop, &[&jobs, &numbers, &kept]).await?;
    Ok(())
}

pub(crate) async fn add_logs(
    tx: &Transaction<'_>,
    logs: Vec<(TenantId, JobId, LogChunk)>,
) -> Result<(), Failure> {
    if logs.is_empty() {
        return Ok(());
    }
    let jobs: Vec<Uuid> = logs.iter().map(|(_, job, _)| job.as_uuid()).collect();
    let attempts: Vec<i32> = logs.iter().map(|(.., c)| int(c.cursor.attempt)).collect();
    let numbers: Vec<i32> = logs.iter().map(|(.., c)| int(c.cursor.number)).collect();
    let tenants: Vec<Uuid> = logs.iter().map(|(tenant, ..)| tenant.as_uuid()).collect();
    let at: Vec<Timestamp> = logs.iter().map(|(.., chunk)| chunk.at).collect();
    let streams: Vec<&str> = logs
        .iter()
        .map(|(.., chunk)| chunk.stream.as_str())
        .collect();
    let texts: Vec<String> = logs.iter().map(|(.., chunk)| text(&chunk.text)).collect();
    let add = tx.prepare_cached(ADD_LOGS).await?;
    tx.execute(
        &add,
        &[&jobs, &attempts, &numbers, &tenants, &at, &streams, &texts],
    )
    .await?;
    Ok(())
}

async fn keep_artifacts(
    tx: &Transaction<'_>,
    artifacts: Vec<(JobId, (TenantId, Artifact))>,
) -> Result<(), Failure> {
    if artifacts.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = artifacts.iter().map(|(_, (_, a))| a.id.as_uuid()).collect();
    let jobs: Vec<Uuid> = artifacts.iter().map(|(job, _)| job.as_uuid()).collect();
    let tenants: Vec<Uuid> = artifacts.iter().map(|(_, (t, _))| t.as_uuid()).collect();
    let attempts: Vec<i32> = artifacts.iter().map(|(_, (_, a))| int(a.attempt)).collect();
    let names: Vec<&str> = artifacts
        .iter()
        .map(|(_, (_, a))| a.name.as_str())
        .collect();
    let media_types: Vec<String> = artifacts
        .iter()
        .map(|(_, (_, a))| text(&a.media_type))
        .collect();
    let bytes: Vec<i64> = artifacts
        .iter()
        .map(|(_, (_, a))| i64::try_from(a.bytes).unwrap_or(i64::MAX))
        .collect();
    let hashes: Vec<String> = artifacts
        .iter()
        .map(|(_, (_, a))| text(&a.sha256))
        .collect();
    let created: Vec<Timestamp> = artifacts.iter().map(|(_, (_, a))| a.created_at).collect();
    let keep = tx.prepare_cached(KEEP_ARTIFACTS).await?;
    tx.execute(
        &keep,
        &[
            &ids,
            &jobs,
            &tenants,
            &attempts,
            &names,
            &media_types,
            &bytes,
            &hashes,
            &created,
        ],
    )
    .await?;
    Ok(())
}
