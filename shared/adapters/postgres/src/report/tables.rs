//! The rows that reports make, a statement a table.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use domain::{Artifact, CHECKPOINTS_KEPT, JobId, LogChunk, TenantId, Timestamp};
use uuid::Uuid;

use super::Run;
use crate::error::Failure;
use crate::json::{Jsonb, jsonb_or_null, text};
use crate::rows::int;

pub(super) const UPDATE_JOBS: &str =
    "UPDATE jobs j SET progress = coalesce(r.progress, j.progress), event_seq = r.event_seq,
        spent = coalesce(r.spent, j.spent), updated_at = $1
    FROM unnest($2::uuid[], $3::jsonb[], $4::int8[], $5::jsonb[]) AS r (id, progress, event_seq, spent)
    WHERE j.id = r.id";

pub(super) const ADD_CHECKPOINTS: &str =
    "INSERT INTO checkpoints (job_id, number, tenant_id, attempt, at, data)
    SELECT c.job_id, c.number, c.tenant_id, c.attempt, $1, c.data
    FROM unnest($2::uuid[], $3::int4[], $4::uuid[], $5::int4[], $6::jsonb[])
        AS c (job_id, number, tenant_id, attempt, data)";

pub(super) const DROP_CHECKPOINTS: &str = "DELETE FROM checkpoints c
    USING unnest($1::uuid[], $2::int4[]) AS k (job_id, newest)
    WHERE c.job_id = k.job_id AND c.number <= k.newest - $3";

/// A report that is sent again because its answer got lost changes nothing.
pub(crate) const ADD_LOGS: &str = "INSERT INTO job_logs (job_id, attempt, number, tenant_id, at, stream, text)
    SELECT l.job_id, l.attempt, l.number, l.tenant_id, l.at, l.stream, l.text
    FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
        AS l (job_id, attempt, number, tenant_id, at, stream, text)
    ON CONFLICT (job_id, attempt, number) DO NOTHING";

pub(super) const KEEP_ARTIFACTS: &str = "INSERT INTO artifacts
        (id, job_id, tenant_id, attempt, name, media_type, bytes, sha256, created_at)
    SELECT a.id, a.job_id, a.tenant_id, a.attempt, a.name, a.media_type, a.bytes, a.sha256, a.created_at
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[], $6::text[], $7::int8[], $8::text[],
            $9::timestamptz[])
        AS a (id, job_id, tenant_id, attempt, name, media_type, bytes, sha256, created_at)
    ON CONFLICT (job_id, attempt, name) DO UPDATE SET id = excluded.id, media_type = excluded.media_type,
        bytes = excluded.bytes, sha256 = excluded.sha256, created_at = excluded.created_at";

pub(super) struct NewCheckpoint {
    pub tenant: TenantId,
    pub job: JobId,
    pub number: u32,
    pub attempt: u32,
    pub data: Jsonb,
}

pub(super) async fn update_jobs(
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

pub(super) async fn add_checkpoints(
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

pub(super) async fn keep_artifacts(
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
