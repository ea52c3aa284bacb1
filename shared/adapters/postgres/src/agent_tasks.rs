//! Tasks that external agents ask for themselves. What either side may do is decided by the domain, on a row that is
//! locked.

use std::sync::LazyLock;

use application::ports::{
    AgentTaskStore, LeasedTask, Offered, StoreError, TASKS_KEPT, TASKS_SWEPT_AT_ONCE, TaskError,
    TaskHolder, TaskOffer, TaskView, TaskWatch,
};
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use domain::{
    AgentId, PulledTask, TaskKey, TaskLease, TaskLeaseId, TaskReport, TaskStage, TaskWords,
    TenantId, Timestamp, Withdrawal,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::{During, Failure};
use crate::json::jsonb;
use crate::rows::{self, int};
use crate::{PostgresStore, statement};

/// What [`task`] and [`view`] read, of `agent_tasks AS t`.
const TASK: &str = "t.job_id, t.round, t.agent_id, t.tenant_id, t.fence, t.attempt, t.state, t.lease_id, t.lease_until, \
    t.words, t.offered_at, t.result";

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {TASK} FROM agent_tasks t WHERE t.job_id = $1 AND t.round = $2 AND t.agent_id = $3 FOR UPDATE"
    )
});

static WATCHED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {TASK} FROM agent_tasks t WHERE t.job_id = $1 AND t.round = $2 AND t.agent_id = $3
            AND t.tenant_id = $4 AND t.fence = $5"
    )
});
static LOCK_WATCHED: LazyLock<String> = LazyLock::new(|| format!("{} FOR UPDATE", *WATCHED));

static WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {TASK}, t.body FROM agent_tasks t
        WHERE t.agent_id = $1 AND t.state = 'offered' AND EXISTS (
            SELECT FROM jobs j WHERE j.id = t.job_id AND j.fence = t.fence AND j.state = 'running'
                AND j.stop_requested_at IS NULL AND j.pause_requested_at IS NULL)
        ORDER BY t.offered_at, t.job_id LIMIT 1 FOR UPDATE OF t SKIP LOCKED"
    )
});

const IS_RUN: &str =
    "SELECT state = 'running' AND fence = $3 AS yes FROM jobs WHERE id = $1 AND tenant_id = $2";

const IS_WANTED: &str =
    "SELECT state IN ('running', 'degraded', 'queued') AND stop_requested_at IS NULL
        AND pause_requested_at IS NULL AS yes
    FROM jobs WHERE id = $1";

const IS_UNBROKEN: &str = "SELECT NOT EXISTS (
        SELECT FROM job_attempts WHERE job_id = $1 AND number >= $2 AND number < $3
            AND outcome NOT IN ('lease_lost', 'handed_back')) AS yes";

const PUT: &str = "INSERT INTO agent_tasks (job_id, round, agent_id, tenant_id, fence, attempt, state, words, body,
        offered_at, touched_at)
    VALUES ($1, $2, $3, $4, $5, $6, 'offered', $7, $8, $9, $9)
    ON CONFLICT (job_id, round, agent_id) DO UPDATE SET fence = excluded.fence, attempt = excluded.attempt,
        state = 'offered', lease_id = NULL, lease_until = NULL, words = excluded.words, body = excluded.body,
        result = NULL, offered_at = excluded.offered_at, touched_at = excluded.touched_at";

const SAVE: &str = "UPDATE agent_tasks SET fence = $4, attempt = $5, state = $6, lease_id = $7, lease_until = $8,
        words = $9, touched_at = $10, body = CASE WHEN $6 IN ('offered', 'leased') THEN body ELSE '' END,
        result = coalesce($11, result)
    WHERE job_id = $1 AND round = $2 AND agent_id = $3";

const TAKE_OTHERS: &str = "UPDATE agent_tasks SET state = 'lost', body = '', touched_at = $4
    WHERE job_id = $1 AND (round <> $2 OR agent_id <> $3) AND state IN ('offered', 'leased')";

const SWEEP: &str = "DELETE FROM agent_tasks WHERE (job_id, round, agent_id) IN (
        SELECT job_id, round, agent_id FROM agent_tasks WHERE touched_at < $1 ORDER BY touched_at LIMIT $2
        FOR UPDATE SKIP LOCKED)";

#[async_trait]
impl AgentTaskStore for PostgresStore {
    async fn offer_task(&self, offered: TaskOffer, now: Timestamp) -> Result<Offered, StoreError> {
        offer(self, offered, now).await.during("offering a task")
    }

    async fn watch_task(&self, watch: TaskWatch) -> Result<Option<TaskView>, StoreError> {
        statement::one(self, &WATCHED, &params(&watched(watch)), view)
            .await
            .during("watching a task")
    }

    async fn withdraw_task(
        &self,
        watch: TaskWatch,
        why: Withdrawal,
        now: Timestamp,
    ) -> Result<Option<TaskView>, StoreError> {
        withdraw(self, watch, why, now)
            .await
            .during("taking a task back")
    }

    async fn lease_task(
        &self,
        agent: AgentId,
        id: TaskLeaseId,
        now: Timestamp,
    ) -> Result<Option<LeasedTask>, StoreError> {
        lease(self, agent, id, now).await.during("leasing a task")
    }

    async fn report_task(
        &self,
        by: TaskHolder,
        said: TaskReport,
        now: Timestamp,
    ) -> Result<TaskLease, TaskError> {
        report(self, by, said, now)
            .await
            .during("keeping a task's report")?
    }

    async fn end_task(
        &self,
        by: TaskHolder,
        result: String,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        end(self, by, result, now)
            .await
            .during("keeping a task's result")?
    }
}

async fn offer(
    store: &PostgresStore,
    offer: TaskOffer,
    now: Timestamp,
) -> Result<Offered, Failure> {
    let watch = offer.watch;
    let (job, tenant) = (watch.key.job.as_uuid(), watch.tenant.as_uuid());
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    if !yes(&tx, IS_RUN, &[&job, &tenant, &watch.fence]).await? {
        return Ok(Offered::Fenced);
    }
    let mut joined = None;
    if let Some(known) = find(&tx, watch.key, watch.agent).await? {
        let range: [&(dyn ToSql + Sync); 3] = [&job, &int(known.attempt), &int(offer.attempt)];
        let unbroken = yes(&tx, IS_UNBROKEN, &range).await?;
        let (again, joins) = known.wanted_again(watch.fence, offer.attempt, unbroken, now);
        joined = joins.then_some(again);
    }
    if let Some(joined) = &joined {
        save(&tx, joined, None, now).await?;
    } else {
        put(&tx, &offer, now).await?;
    }
    let (round, agent) = (int(watch.key.round), watch.agent.as_uuid());
    let others = tx.prepare_cached(TAKE_OTHERS).await?;
    tx.execute(&others, &[&job, &round, &agent, &now]).await?;
    let sweep = tx.prepare_cached(SWEEP).await?;
    let at_once = i64::from(TASKS_SWEPT_AT_ONCE);
    tx.execute(&sweep, &[&(now - TASKS_KEPT), &at_once]).await?;
    tx.commit().await?;
    Ok(if joined.is_some() {
        Offered::Joined
    } else {
        Offered::Anew
    })
}

async fn withdraw(
    store: &PostgresStore,
    watch: TaskWatch,
    why: Withdrawal,
    now: Timestamp,
) -> Result<Option<TaskView>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let lock = tx.prepare_cached(&LOCK_WATCHED).await?;
    let Some(row) = tx.query_opt(&lock, &params(&watched(watch))).await? else {
        return Ok(None);
    };
    let mut after = view(&row)?;
    if let Some(withdrawn) = task(&row)?.withdrawn(why) {
        save(&tx, &withdrawn, None, now).await?;
        after.stage = withdrawn.stage;
    }
    tx.commit().await?;
    Ok(Some(after))
}

async fn lease(
    store: &PostgresStore,
    agent: AgentId,
    id: TaskLeaseId,
    now: Timestamp,
) -> Result<Option<LeasedTask>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let waiting = tx.prepare_cached(&WAITING).await?;
    let Some(row) = tx.query_opt(&waiting, &[&agent.as_uuid()]).await? else {
        return Ok(None);
    };
    let Some((leased, lease)) = task(&row)?.leased(id, now) else {
        return Ok(None);
    };
    save(&tx, &leased, None, now).await?;
    tx.commit().await?;
    let body = rows::get(&row, "body")?;
    Ok(Some(LeasedTask { body, lease }))
}

async fn report(
    store: &PostgresStore,
    by: TaskHolder,
    report: TaskReport,
    now: Timestamp,
) -> Result<Result<TaskLease, TaskError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let Some((found, wanted)) = held(&tx, by).await? else {
        return Ok(Err(TaskError::Unknown));
    };
    let (task, lease) = match found.reported(by.lease, report, wanted, now) {
        Ok(reported) => reported,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    save(&tx, &task, None, now).await?;
    tx.commit().await?;
    Ok(Ok(lease))
}

async fn end(
    store: &PostgresStore,
    by: TaskHolder,
    result: String,
    now: Timestamp,
) -> Result<Result<(), TaskError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let Some((found, wanted)) = held(&tx, by).await? else {
        return Ok(Err(TaskError::Unknown));
    };
    match found.done(by.lease, wanted, now) {
        Ok(Some(done)) => {
            save(&tx, &done, Some(result), now).await?;
            tx.commit().await?;
            Ok(Ok(()))
        }
        Ok(None) => Ok(Ok(())),
        Err(refusal) => Ok(Err(refusal.into())),
    }
}

/// What the agent holds, or held, and whether its session still wants it.
async fn held(tx: &Transaction<'_>, by: TaskHolder) -> Result<Option<(PulledTask, bool)>, Failure> {
    let Some(found) = find(tx, by.key, by.agent).await? else {
        return Ok(None);
    };
    let wanted = yes(tx, IS_WANTED, &[&by.key.job.as_uuid()]).await?;
    Ok(Some((found, wanted)))
}

async fn find(
    tx: &Transaction<'_>,
    key: TaskKey,
    agent: AgentId,
) -> Result<Option<PulledTask>, Failure> {
    let find = tx.prepare_cached(&FIND).await?;
    let (job, round, agent) = (key.job.as_uuid(), int(key.round), agent.as_uuid());
    let row = tx.query_opt(&find, &[&job, &round, &agent]).await?;
    row.as_ref().map(task).transpose()
}

type Watched = (Uuid, i32, Uuid, Uuid, i64);

fn watched(watch: TaskWatch) -> Watched {
    let (key, agent, tenant) = (watch.key, watch.agent, watch.tenant);
    let (job, round) = (key.job.as_uuid(), int(key.round));
    (job, round, agent.as_uuid(), tenant.as_uuid(), watch.fence)
}

fn params((job, round, agent, tenant, fence): &Watched) -> [&(dyn ToSql + Sync); 5] {
    [job, round, agent, tenant, fence]
}

async fn yes(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<bool, Failure> {
    let asked = tx.prepare_cached(sql).await?;
    match tx.query_opt(&asked, params).await? {
        Some(row) => Ok(rows::get::<Option<bool>>(&row, "yes")?.unwrap_or(false)),
        None => Ok(false),
    }
}

async fn put(tx: &Transaction<'_>, offer: &TaskOffer, now: Timestamp) -> Result<(), Failure> {
    let watch = offer.watch;
    let put = tx.prepare_cached(PUT).await?;
    tx.execute(
        &put,
        &[
            &watch.key.job.as_uuid(),
            &int(watch.key.round),
            &watch.agent.as_uuid(),
            &watch.tenant.as_uuid(),
            &watch.fence,
            &int(offer.attempt),
            &jsonb(&TaskWords::default())?,
            &offer.body,
            &now,
        ],
    )
    .await?;
    Ok(())
}

/// A body that nobody will ask for any more is forgotten.
async fn save(
    tx: &Transaction<'_>,
    task: &PulledTask,
    result: Option<String>,
    now: Timestamp,
) -> Result<(), Failure> {
    let save = tx.prepare_cached(SAVE).await?;
    tx.execute(
        &save,
        &[
            &task.key.job.as_uuid(),
            &int(task.key.round),
            &task.agent.as_uuid(),
            &task.fence,
            &int(task.attempt),
            &task.stage.as_str(),
            &task.stage.lease().map(TaskLeaseId::as_uuid),
            &task.stage.leased_until(),
            &jsonb(&task.words)?,
            &now,
            &result,
        ],
    )
    .await?;
    Ok(())
}

fn task(row: &Row) -> Result<PulledTask, Failure> {
    Ok(PulledTask {
        key: TaskKey {
            job: rows::job_id(row, "job_id")?,
            round: rows::count(row, "round")?,
        },
        tenant: TenantId::from_uuid(rows::get(row, "tenant_id")?),
        agent: AgentId::from_uuid(rows::get(row, "agent_id")?),
        fence: rows::get(row, "fence")?,
        attempt: rows::count(row, "attempt")?,
        stage: stage(row)?,
        words: rows::json(row, "words")?,
        offered_at: rows::get(row, "offered_at")?,
    })
}

fn view(row: &Row) -> Result<TaskView, Failure> {
    Ok(TaskView {
        stage: stage(row)?,
        words: rows::json(row, "words")?,
        offered_at: rows::get(row, "offered_at")?,
        result: rows::get(row, "result")?,
    })
}

fn stage(row: &Row) -> Result<TaskStage, Failure> {
    let name: &str = rows::get(row, "state")?;
    let lease = rows::get::<Option<Uuid>>(row, "lease_id")?.map(TaskLeaseId::from_uuid);
    TaskStage::from_row(name, lease, rows::get(row, "lease_until")?)
        .ok_or_else(|| Failure::Unexpected(format!("a task that is {name} without its lease")))
}
