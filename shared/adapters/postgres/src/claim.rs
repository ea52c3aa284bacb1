//! CLAIM: wake-ups of many tenants turned into running jobs within their quotas, in one transaction.
//!
//! Free slots are read behind the lock of the queues, and one statement takes the jobs whose turn it is: it updates
//! them, opens their attempts and writes their events. Nobody else moves jobs of a locked queue, so nothing is skipped
//! and nothing is taken twice.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use application::ports::{ClaimRequest, Claimed};
use deadpool_postgres::Transaction;
use domain::{Job, QueueKey, Timestamp, WorkerRef};
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::error::Failure;
use crate::events::data;
use crate::json::jsonb;
use crate::lease;
use crate::pipeline::prepare;
use crate::rows::{self, JOB, int};
use crate::slots::{self, Changes, Keys};

/// `next` gives the ids of a room's next jobs, by `$7`, which is now. They are made into an array first: whatever the
/// planner thinks of its length, it looks each of them up.
///
/// A claim may have waited seconds for its queue, so that its now is older than what it waited for: a job does not start
/// before what happened to it last.
fn take(next: &str) -> String {
    format!(
        "WITH room AS (
            SELECT k.tenant_id, k.kind, least(k.wanted, s.quota - s.running - k.taken) AS n
            FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::int4[]) AS k (tenant_id, kind, wanted, taken)
            CROSS JOIN LATERAL (
                SELECT s.quota, s.running FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
                WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind AND NOT s.paused AND t.active
        AND (s.kind <> 'session' OR t.budget_until IS NULL)
                LIMIT 1
            ) AS s
            WHERE s.quota > s.running + k.taken
        ), started AS (
            UPDATE jobs j SET state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, worker_id = $5,
                worker_epoch = $6, started_at = greatest($7, j.updated_at), updated_at = greatest($7, j.updated_at),
                stop_requested_at = NULL, pause_requested_at = NULL,
                progress = nullif(j.progress - 'fraction' - 'message', '{{}}'),
                event_seq = j.event_seq + 1
            WHERE j.id = ANY (ARRAY (SELECT next.id FROM room CROSS JOIN LATERAL ({next}) AS next))
            RETURNING {JOB}
        ), attempts AS (
            INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at)
            SELECT id, attempt, tenant_id, $5, started_at FROM started
        ), events AS (
            INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
            SELECT id, event_seq, tenant_id, started_at, 'started', attempt, $8::jsonb FROM started
        )
        SELECT * FROM started"
    )
}

/// Jobs whose deadline has passed are EXPIRE's, and are passed over: a filter, the order is that of the index of turns.
static TAKE_PLAIN: LazyLock<String> = LazyLock::new(|| {
    take(
        "SELECT q.id FROM jobs q
        WHERE q.tenant_id = room.tenant_id AND q.kind = room.kind AND q.state = 'queued' AND q.due
            AND q.requires IS NULL AND (q.deadline IS NULL OR q.deadline > $7)
        ORDER BY q.turn, q.id LIMIT room.n",
    )
});

/// From one asked-for set of labels to the next, so that a mass of jobs whose labels the worker has not costs a look.
static TAKE_LABELLED: LazyLock<String> = LazyLock::new(|| {
    take(
        "WITH RECURSIVE asked AS (
            (SELECT q.requires FROM jobs q
            WHERE q.tenant_id = room.tenant_id AND q.kind = room.kind AND q.state = 'queued' AND q.due
                AND q.requires IS NOT NULL
            ORDER BY q.requires LIMIT 1)
            UNION ALL
            SELECT further.requires FROM asked CROSS JOIN LATERAL (
                SELECT q.requires FROM jobs q
                WHERE q.tenant_id = room.tenant_id AND q.kind = room.kind AND q.state = 'queued' AND q.due
                    AND q.requires IS NOT NULL AND q.requires > asked.requires
                ORDER BY q.requires LIMIT 1
            ) AS further
        )
        SELECT first.id FROM asked CROSS JOIN LATERAL (
            SELECT q.id, q.turn FROM jobs q
            WHERE q.tenant_id = room.tenant_id AND q.kind = room.kind AND q.state = 'queued' AND q.due
                AND q.requires IS NOT NULL AND q.requires = asked.requires
                AND (q.deadline IS NULL OR q.deadline > $7)
            ORDER BY q.turn, q.id LIMIT room.n
        ) AS first
        WHERE asked.requires <@ (SELECT w.labels FROM workers w WHERE w.id = $5)
        ORDER BY first.turn, first.id LIMIT room.n",
    )
});

/// `None`: the lease is lost.
pub(crate) async fn claim(
    store: &PostgresStore,
    worker: WorkerRef,
    requests: Vec<ClaimRequest>,
    now: Timestamp,
) -> Result<Option<Claimed>, Failure> {
    let requests = added_up(requests);
    let keys = Keys::of(requests.iter().map(|request| request.queue));
    let mut claim = Claim {
        worker,
        now,
        taken: BTreeMap::new(),
        jobs: Vec::new(),
    };
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let statements = [lease::CHECK, slots::LOCK, &TAKE_PLAIN, &slots::APPLY];
    prepare(&tx, &statements).await?;
    let plain: Vec<(QueueKey, u32)> = asked(&requests, |request| request.wakeups);
    let labelled: Vec<(QueueKey, u32)> = asked(&requests, |request| request.labelled);
    let (holds, (), ()) = futures::try_join!(
        lease::check(&tx, worker, now),
        slots::lock(&tx, &keys),
        claim.take(&tx, &TAKE_PLAIN, &plain)
    )?;
    if !holds {
        return Ok(None);
    }
    claim.take(&tx, &TAKE_LABELLED, &labelled).await?;
    let mut changes = claim.changes();
    for (queue, wakeups) in plain {
        changes.of(queue).published -= int(wakeups);
    }
    let slots = changes.apply(&tx, now).await?;
    tx.commit().await?;
    claim
        .jobs
        .sort_unstable_by_key(|job| (job.queue(), job.turn, job.id));
    Ok(Some(Claimed {
        jobs: claim.jobs,
        slots,
    }))
}

/// One request a queue.
fn added_up(requests: Vec<ClaimRequest>) -> Vec<ClaimRequest> {
    let mut queues: BTreeMap<QueueKey, ClaimRequest> = BTreeMap::new();
    for request in requests {
        queues
            .entry(request.queue)
            .and_modify(|sum| {
                sum.wakeups = sum.wakeups.saturating_add(request.wakeups);
                sum.labelled = sum.labelled.saturating_add(request.labelled);
            })
            .or_insert(request);
    }
    queues.into_values().collect()
}

fn asked(requests: &[ClaimRequest], pick: fn(&ClaimRequest) -> u32) -> Vec<(QueueKey, u32)> {
    requests
        .iter()
        .map(|request| (request.queue, pick(request)))
        .filter(|(_, wanted)| *wanted > 0)
        .collect()
}

struct Claim {
    worker: WorkerRef,
    now: Timestamp,
    /// Slots that this claim has filled so far.
    taken: BTreeMap<QueueKey, i32>,
    /// As they are now.
    jobs: Vec<Job>,
}

impl Claim {
    async fn take(
        &mut self,
        tx: &Transaction<'_>,
        sql: &str,
        wanted: &[(QueueKey, u32)],
    ) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = Keys::of(wanted.iter().map(|(queue, _)| *queue));
        let taken: Vec<i32> = wanted
            .iter()
            .map(|(queue, _)| self.taken.get(queue).copied().unwrap_or(0))
            .collect();
        let wanted: Vec<i32> = wanted.iter().map(|(_, wanted)| int(*wanted)).collect();
        let (worker, epoch) = (self.worker.id.as_uuid(), self.worker.epoch);
        let event = jsonb(&data([("worker", self.worker.id.to_string().into())]))?;
        let params: [&(dyn ToSql + Sync); 8] = [
            &keys.tenants,
            &keys.kinds,
            &wanted,
            &taken,
            &worker,
            &epoch,
            &self.now,
            &event,
        ];
        let take = tx.prepare_cached(sql).await?;
        for row in &tx.query(&take, &params).await? {
            let job = rows::job(row)?.job;
            *self.taken.entry(job.queue()).or_default() += 1;
            self.jobs.push(job);
        }
        Ok(())
    }

    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        for job in &self.jobs {
            let delta = changes.of(job.queue());
            delta.queued -= 1;
            delta.running += 1;
            delta.due -= i32::from(job.requires.is_empty());
        }
        changes
    }
}
