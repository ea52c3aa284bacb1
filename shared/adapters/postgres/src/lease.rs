//! Leases, one a worker: given at its start, prolonged by the worker, checked by its claims, ended when it leaves.

use application::ports::{HeldJob, NewWorker, Renewal};
use deadpool_postgres::Transaction;
use domain::{TenantId, Timestamp, WorkerRef};

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::{jsonb, text};
use crate::pipeline::prepare;
use crate::rows::{self, int};

const FIRST_EPOCH: i64 = 1;

const REGISTER: &str =
    "INSERT INTO workers (id, epoch, host, kinds, labels, capacity, started_at, lease_until)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

pub(crate) async fn register(
    store: &PostgresStore,
    worker: NewWorker,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<WorkerRef, Failure> {
    let kinds: Vec<&str> = worker.kinds.iter().map(|kind| kind.as_str()).collect();
    let client = store.client().await?;
    let register = client.prepare_cached(REGISTER).await?;
    client
        .execute(
            &register,
            &[
                &worker.id.as_uuid(),
                &FIRST_EPOCH,
                &text(&worker.host),
                &kinds,
                &jsonb(&worker.labels)?,
                &int(worker.capacity),
                &now,
                &lease_until,
            ],
        )
        .await?;
    Ok(WorkerRef {
        id: worker.id,
        epoch: FIRST_EPOCH,
    })
}

const DRAIN: &str = "UPDATE workers SET draining = true WHERE id = $1 AND epoch = $2";

pub(crate) async fn drain(store: &PostgresStore, worker: WorkerRef) -> Result<(), Failure> {
    let client = store.client().await?;
    let drain = client.prepare_cached(DRAIN).await?;
    client
        .execute(&drain, &[&worker.id.as_uuid(), &worker.epoch])
        .await?;
    Ok(())
}

/// The weakest lock that the reaper's FOR UPDATE waits for. A renewal does not wait for it, so a worker that claims
/// without a pause cannot starve its own lease.
pub(crate) const CHECK: &str =
    "SELECT epoch = $2 AND lease_until > $3 AS holds FROM workers WHERE id = $1 FOR KEY SHARE";

const RENEW: &str = "UPDATE workers SET lease_until = greatest(lease_until, $3)
    WHERE id = $1 AND epoch = $2 AND lease_until > $4";

const HELD: &str = "SELECT id, tenant_id, fence, stop_requested_at IS NOT NULL AS asked,
        pause_requested_at IS NOT NULL AS paused FROM jobs
    WHERE worker_id = $1 AND state IN ('running', 'degraded')
    ORDER BY id";

const LOCK: &str = "SELECT FROM workers WHERE id = $1 AND epoch = $2 FOR UPDATE";

const END: &str = "UPDATE workers SET lease_until = least(lease_until, $3), draining = true WHERE id = $1 AND epoch = $2";

const LEAVE: &str = "DELETE FROM workers w WHERE w.id = $1 AND w.epoch = $2
    AND NOT EXISTS (SELECT FROM jobs j WHERE j.worker_id = w.id AND j.state IN ('running', 'degraded'))";

/// True while the lease is the worker's own; it stays so until the transaction ends.
pub(crate) async fn check(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    now: Timestamp,
) -> Result<bool, Failure> {
    let check = tx.prepare_cached(CHECK).await?;
    match tx
        .query_opt(&check, &[&worker.id.as_uuid(), &worker.epoch, &now])
        .await?
    {
        Some(row) => rows::get(&row, "holds"),
        None => Ok(false),
    }
}

/// `None`: the lease is lost.
pub(crate) async fn renew(
    store: &PostgresStore,
    worker: WorkerRef,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<Option<Renewal>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[RENEW, HELD]).await?;
    let id = worker.id.as_uuid();
    let renew = tx.prepare_cached(RENEW).await?;
    let held = tx.prepare_cached(HELD).await?;
    let (renewed, rows) = futures::try_join!(
        async {
            tx.execute(&renew, &[&id, &worker.epoch, &lease_until, &now])
                .await
        },
        async { tx.query(&held, &[&id]).await }
    )?;
    if renewed == 0 {
        return Ok(None);
    }
    tx.commit().await?;
    let mut renewal = Renewal::default();
    for row in &rows {
        let job = rows::job_id(row, "id")?;
        let tenant = TenantId::from_uuid(rows::get(row, "tenant_id")?);
        let fence = rows::get(row, "fence")?;
        renewal.held.push(HeldJob { tenant, job, fence });
        if rows::get(row, "asked")? {
            renewal.stop_requested.push(job);
        } else if rows::get(row, "paused")? {
            renewal.pause_requested.push(job);
        }
    }
    Ok(Some(renewal))
}

/// The row goes unless jobs still name it; then it stays, ended, for the reaper.
pub(crate) async fn release(
    store: &PostgresStore,
    worker: WorkerRef,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[LOCK, END, LEAVE]).await?;
    let id = worker.id.as_uuid();
    let lock = tx.prepare_cached(LOCK).await?;
    let end = tx.prepare_cached(END).await?;
    let leave = tx.prepare_cached(LEAVE).await?;
    // A claim of this worker may be under way: it is waited for, and what it took is seen by the statement behind.
    futures::try_join!(
        async { tx.execute(&lock, &[&id, &worker.epoch]).await },
        async { tx.execute(&end, &[&id, &worker.epoch, &now]).await },
        async { tx.execute(&leave, &[&id, &worker.epoch]).await }
    )?;
    tx.commit().await?;
    Ok(())
}
