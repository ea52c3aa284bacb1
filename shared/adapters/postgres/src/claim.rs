//! CLAIM: hundreds of messages of many tenants, turned into running jobs within their quotas, in one transaction.
//!
//! Everything is locked and read in one go, decided here, and written in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use application::ports::{ClaimRequest, Claimed};
use deadpool_postgres::Transaction;
use domain::{Claim, EventKind, Job, JobId, JobState, QueueKey, Status, Timestamp, WorkerRef};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::events::{self, Events, data};
use crate::lease;
use crate::pipeline::prepare;
use crate::rows::{self, JOB, StoredJob, int};
use crate::slots::{self, Changes, Keys, Slots};
use crate::submit::is_due;

/// A request that names another queue than the job's finds nothing.
static LOCK_JOBS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {JOB} FROM jobs j
        JOIN unnest($1::uuid[], $2::uuid[], $3::text[]) AS r (id, tenant_id, kind)
            ON j.id = r.id AND j.tenant_id = r.tenant_id AND j.kind = r.kind
        ORDER BY j.id FOR UPDATE OF j"
    )
});

const START: &str = "UPDATE jobs SET state = 'running', attempt = attempt + 1, fence = fence + 1,
        worker_id = $2, worker_epoch = $3, started_at = $4, updated_at = $4, stop_requested_at = NULL,
        published_at = NULL, event_seq = event_seq + 1
    WHERE id = ANY ($1::uuid[])";

const REFUSE: &str = "UPDATE jobs SET published_at = NULL WHERE id = ANY ($1::uuid[])";

const OPEN_ATTEMPTS: &str =
    "INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at)
    SELECT a.job_id, a.number, a.tenant_id, $1, $2
    FROM unnest($3::uuid[], $4::int4[], $5::uuid[]) AS a (job_id, number, tenant_id)";

/// `None`: the lease is lost.
pub(crate) async fn claim(
    store: &PostgresStore,
    worker: WorkerRef,
    requests: Vec<ClaimRequest>,
    now: Timestamp,
) -> Result<Option<Claimed>, Failure> {
    let requests = unique(requests);
    let keys = Keys::of(requests.iter().map(|request| request.queue));
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(
        &tx,
        &[
            lease::CHECK,
            slots::LOCK,
            &slots::READ,
            &LOCK_JOBS,
            START,
            REFUSE,
            OPEN_ATTEMPTS,
            events::INSERT,
            &slots::APPLY,
        ],
    )
    .await?;
    let (holds, (), slots, jobs) = futures::try_join!(
        lease::check(&tx, worker, now),
        slots::lock(&tx, &keys),
        slots::read(&tx, &keys),
        lock_jobs(&tx, &requests)
    )?;
    if !holds {
        return Ok(None);
    }
    let decided = decide(&requests, &slots, jobs, now);
    let claimed = write(&tx, worker, decided, now).await?;
    tx.commit().await?;
    Ok(Some(claimed))
}

/// A job that is asked for twice is one request.
fn unique(mut requests: Vec<ClaimRequest>) -> Vec<ClaimRequest> {
    let mut seen = BTreeSet::new();
    requests.retain(|request| seen.insert(request.job));
    requests
}

async fn lock_jobs(
    tx: &Transaction<'_>,
    requests: &[ClaimRequest],
) -> Result<BTreeMap<JobId, StoredJob>, Failure> {
    let column =
        |pick: fn(&ClaimRequest) -> Uuid| -> Vec<Uuid> { requests.iter().map(pick).collect() };
    let kinds: Vec<&str> = requests.iter().map(|r| r.queue.kind.as_str()).collect();
    let lock = tx.prepare_cached(&LOCK_JOBS).await?;
    let rows = tx
        .query(
            &lock,
            &[
                &column(|request| request.job.as_uuid()),
                &column(|request| request.queue.tenant.as_uuid()),
                &kinds,
            ],
        )
        .await?;
    rows.iter()
        .map(|row| rows::job(row).map(|stored| (stored.job.id, stored)))
        .collect()
}

#[derive(Default)]
struct Decided {
    /// As they were before.
    start: Vec<StoredJob>,
    refuse: Vec<JobId>,
    gone: Vec<JobId>,
    changes: Changes,
}

/// In the order of the requests, as far as each queue's free slots go.
fn decide(
    requests: &[ClaimRequest],
    slots: &Slots,
    mut jobs: BTreeMap<JobId, StoredJob>,
    now: Timestamp,
) -> Decided {
    let mut free: BTreeMap<QueueKey, u32> = slots
        .iter()
        .filter(|(_, slot)| !slot.seen.paused)
        .map(|(queue, slot)| (*queue, slot.seen.free()))
        .collect();
    let mut decided = Decided::default();
    for request in requests {
        let queued = jobs
            .remove(&request.job)
            .filter(|stored| stored.job.state() == JobState::Queued);
        let Some(stored) = queued else {
            decided.gone.push(request.job);
            continue;
        };
        let delta = decided.changes.of(request.queue);
        delta.published -= i32::from(stored.published);
        match free.get_mut(&request.queue) {
            Some(free) if *free > 0 && is_due(&stored.job, now) => {
                *free -= 1;
                delta.queued -= 1;
                delta.running += 1;
                decided.start.push(stored);
            }
            _ => decided.refuse.push(request.job),
        }
    }
    decided
}

async fn write(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    decided: Decided,
    now: Timestamp,
) -> Result<Claimed, Failure> {
    let mut events = Events::default();
    let started = data([("worker", worker.id.to_string().into())]);
    let mut jobs = Vec::with_capacity(decided.start.len());
    for stored in decided.start {
        let seq = stored.event_seq + 1;
        let job = running(stored.job, worker, now);
        events.add(
            (job.tenant, job.id),
            seq,
            EventKind::Started,
            job.attempt,
            &started,
        )?;
        jobs.push(job);
    }
    let ((), (), (), (), slots) = futures::try_join!(
        start(tx, worker, &jobs, now),
        refuse(tx, &decided.refuse),
        open_attempts(tx, worker, &jobs, now),
        events.insert(tx, now),
        decided.changes.apply(tx)
    )?;
    Ok(Claimed {
        jobs,
        refused: decided.refuse,
        gone: decided.gone,
        slots,
    })
}

/// The job as [`START`] leaves it.
fn running(job: Job, worker: WorkerRef, now: Timestamp) -> Job {
    Job {
        status: Status::Running(Claim {
            worker: worker.id,
            epoch: worker.epoch,
        }),
        attempt: job.attempt + 1,
        fence: job.fence + 1,
        stop_requested_at: None,
        started_at: Some(now),
        updated_at: now,
        ..job
    }
}

async fn start(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    jobs: &[Job],
    now: Timestamp,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.as_uuid()).collect();
    let start = tx.prepare_cached(START).await?;
    tx.execute(&start, &[&ids, &worker.id.as_uuid(), &worker.epoch, &now])
        .await?;
    Ok(())
}

async fn refuse(tx: &Transaction<'_>, jobs: &[JobId]) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
    let refuse = tx.prepare_cached(REFUSE).await?;
    tx.execute(&refuse, &[&ids]).await?;
    Ok(())
}

async fn open_attempts(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    jobs: &[Job],
    now: Timestamp,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.as_uuid()).collect();
    let numbers: Vec<i32> = jobs.iter().map(|job| int(job.attempt)).collect();
    let tenants: Vec<Uuid> = jobs.iter().map(|job| job.tenant.as_uuid()).collect();
    let open = tx.prepare_cached(OPEN_ATTEMPTS).await?;
    tx.execute(
        &open,
        &[&worker.id.as_uuid(), &now, &ids, &numbers, &tenants],
    )
    .await?;
    Ok(())
}
