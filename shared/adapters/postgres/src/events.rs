//! Events, written in the transaction of what they tell.

use deadpool_postgres::Transaction;
use domain::{EventKind, JobId, TenantId, Timestamp};
use serde_json::{Map, Value};

use crate::error::Failure;
use crate::json::{Jsonb, jsonb_of};
use crate::rows::int;

pub(crate) const INSERT: &str =
    "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
    SELECT e.job_id, e.seq, e.tenant_id, $1, e.kind, e.attempt, e.data
    FROM unnest($2::uuid[], $3::int8[], $4::uuid[], $5::text[], $6::int4[], $7::jsonb[])
        AS e (job_id, seq, tenant_id, kind, attempt, data)";

/// Columns for `unnest`.
#[derive(Default)]
pub(crate) struct Events {
    jobs: Vec<uuid::Uuid>,
    seqs: Vec<i64>,
    tenants: Vec<uuid::Uuid>,
    kinds: Vec<&'static str>,
    attempts: Vec<i32>,
    data: Vec<Option<Jsonb>>,
}

impl Events {
    /// `seq` is the number of this event: one more than the job's latest.
    pub(crate) fn add(
        &mut self,
        (tenant, job): (TenantId, JobId),
        seq: i64,
        kind: EventKind,
        attempt: u32,
        data: &Map<String, Value>,
    ) -> Result<(), Failure> {
        self.jobs.push(job.as_uuid());
        self.seqs.push(seq);
        self.tenants.push(tenant.as_uuid());
        self.kinds.push(kind.as_str());
        self.attempts.push(int(attempt));
        self.data.push(jsonb_of(data)?);
        Ok(())
    }

    pub(crate) async fn insert(self, tx: &Transaction<'_>, at: Timestamp) -> Result<(), Failure> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let insert = tx.prepare_cached(INSERT).await?;
        tx.execute(
            &insert,
            &[
                &at,
                &self.jobs,
                &self.seqs,
                &self.tenants,
                &self.kinds,
                &self.attempts,
                &self.data,
            ],
        )
        .await?;
        Ok(())
    }
}

/// An event's data.
pub(crate) fn data<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
