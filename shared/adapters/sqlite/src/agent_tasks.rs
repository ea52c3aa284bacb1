//! Tasks that external agents ask for themselves. What either side may do is decided by the domain, under the one write
//! lock.

use application::ports::{
    AgentTaskStore, LeasedTask, Offered, StoreError, TASKS_KEPT, TASKS_SWEPT_AT_ONCE, TaskError,
    TaskHolder, TaskOffer, TaskView, TaskWatch,
};
use async_trait::async_trait;
use domain::{
    AgentId, PulledTask, TaskKey, TaskLease, TaskLeaseId, TaskReport, TaskStage, TaskWords,
    Timestamp, Withdrawal,
};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::batch::json;
use crate::error::{corrupt, failed};
use crate::rows::{Reader, micros};
use crate::statement::{Bound, one};
use crate::{SqliteStore, Write};

const FIND: &str = "SELECT * FROM agent_tasks WHERE job_id = ? AND round = ? AND agent_id = ?";

const WATCHED: &str = "SELECT * FROM agent_tasks WHERE job_id = ? AND round = ? AND agent_id = ?
    AND tenant_id = ? AND fence = ?";

const WAITING: &str = "SELECT t.* FROM agent_tasks AS t JOIN jobs AS j ON j.id = t.job_id
    WHERE t.agent_id = ? AND t.state = 'offered' AND j.fence = t.fence AND j.state = 'running'
      AND j.stop_requested_at IS NULL AND j.pause_requested_at IS NULL
    ORDER BY t.offered_at, t.job_id LIMIT 1";

const IS_RUN: &str =
    "SELECT state = 'running' AND fence = ?3 AS yes FROM jobs WHERE id = ?1 AND tenant_id = ?2";

const IS_WANTED: &str =
    "SELECT state IN ('running', 'degraded', 'queued') AND stop_requested_at IS NULL
        AND pause_requested_at IS NULL AS yes
    FROM jobs WHERE id = ?";

const IS_UNBROKEN: &str = "SELECT NOT EXISTS (
        SELECT 1 FROM job_attempts WHERE job_id = ?1 AND number >= ?2 AND number < ?3
            AND outcome NOT IN ('lease_lost', 'handed_back')) AS yes";

const PUT: &str = "INSERT OR REPLACE INTO agent_tasks (job_id, round, agent_id, tenant_id, fence, attempt, state, words,
        body, offered_at, touched_at)
    VALUES (?, ?, ?, ?, ?, ?, 'offered', ?, ?, ?, ?)";

const SAVE: &str = "UPDATE agent_tasks SET fence = ?4, attempt = ?5, state = ?6, lease_id = ?7, lease_until = ?8,
        words = ?9, touched_at = ?10, body = CASE WHEN ?6 IN ('offered', 'leased') THEN body ELSE '' END,
        result = coalesce(?11, result)
    WHERE job_id = ?1 AND round = ?2 AND agent_id = ?3";

const TAKE_OTHERS: &str = "UPDATE agent_tasks SET state = 'lost', body = '', touched_at = ?4
    WHERE job_id = ?1 AND (round <> ?2 OR agent_id <> ?3) AND state IN ('offered', 'leased')";

const SWEEP: &str = "DELETE FROM agent_tasks WHERE (job_id, round, agent_id) IN (
        SELECT job_id, round, agent_id FROM agent_tasks WHERE touched_at < ? ORDER BY touched_at LIMIT +?)";

#[async_trait]
impl AgentTaskStore for SqliteStore {
    async fn offer_task(&self, offer: TaskOffer, now: Timestamp) -> Result<Offered, StoreError> {
        let watch = offer.watch;
        let key = watch.key;
        let mut tx = self.write().await?;
        let is_run = sqlx::query(IS_RUN)
            .bind(key.job.as_uuid())
            .bind(watch.tenant.as_uuid())
            .bind(watch.fence);
        if !yes(&mut tx, is_run).await? {
            return Ok(Offered::Fenced);
        }
        let known = one(&mut *tx, find(key, watch.agent), task).await?;
        let unbroken = match &known {
            Some(known) => {
                let unbroken = sqlx::query(IS_UNBROKEN)
                    .bind(key.job.as_uuid())
                    .bind(known.attempt)
                    .bind(offer.attempt);
                yes(&mut tx, unbroken).await?
            }
            None => false,
        };
        let again =
            known.map(|known| known.wanted_again(watch.fence, offer.attempt, unbroken, now));
        let joins = again.as_ref().is_some_and(|(_, joins)| *joins);
        if let Some((joined, true)) = again {
            save(&mut tx, &joined, None, now).await?;
        } else {
            put(&mut tx, &offer, now).await?;
        }
        take_others(&mut tx, watch, now).await?;
        tx.commit().await.map_err(failed)?;
        Ok(if joins {
            Offered::Joined
        } else {
            Offered::Anew
        })
    }

    async fn watch_task(&self, watch: TaskWatch) -> Result<Option<TaskView>, StoreError> {
        one(&self.readers, watched(watch), view).await
    }

    async fn withdraw_task(
        &self,
        watch: TaskWatch,
        why: Withdrawal,
        now: Timestamp,
    ) -> Result<Option<TaskView>, StoreError> {
        let mut tx = self.write().await?;
        let Some(known) = one(&mut *tx, watched(watch), task).await? else {
            return Ok(None);
        };
        if let Some(withdrawn) = known.withdrawn(why) {
            save(&mut tx, &withdrawn, None, now).await?;
        }
        let after = one(&mut *tx, watched(watch), view).await?;
        tx.commit().await.map_err(failed)?;
        Ok(after)
    }

    async fn lease_task(
        &self,
        agent: AgentId,
        lease: TaskLeaseId,
        now: Timestamp,
    ) -> Result<Option<LeasedTask>, StoreError> {
        let waiting = || sqlx::query(WAITING).bind(agent.as_uuid());
        // Most looks find nothing, and need not wait for who writes.
        if one(&self.readers, waiting(), task).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let Some((found, body)) = one(&mut *tx, waiting(), task_and_body).await? else {
            return Ok(None);
        };
        let Some((leased, lease)) = found.leased(lease, now) else {
            return Ok(None);
        };
        save(&mut tx, &leased, None, now).await?;
        tx.commit().await.map_err(failed)?;
        Ok(Some(LeasedTask { body, lease }))
    }

    async fn report_task(
        &self,
        by: TaskHolder,
        report: TaskReport,
        now: Timestamp,
    ) -> Result<TaskLease, TaskError> {
        let mut tx = self.write().await?;
        let (found, wanted) = held(&mut tx, by).await?;
        let (task, lease) = found.reported(by.lease, report, wanted, now)?;
        save(&mut tx, &task, None, now).await?;
        tx.commit().await.map_err(failed)?;
        Ok(lease)
    }

    async fn end_task(
        &self,
        by: TaskHolder,
        result: String,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        let mut tx = self.write().await?;
        let (found, wanted) = held(&mut tx, by).await?;
        if let Some(done) = found.done(by.lease, wanted, now)? {
            save(&mut tx, &done, Some(result), now).await?;
            tx.commit().await.map_err(failed)?;
        }
        Ok(())
    }
}

/// What the agent holds, or held, and whether its session still wants it.
async fn held(tx: &mut Write, by: TaskHolder) -> Result<(PulledTask, bool), TaskError> {
    let found = one(&mut **tx, find(by.key, by.agent), task).await?;
    let found = found.ok_or(TaskError::Unknown)?;
    let wanted = sqlx::query(IS_WANTED).bind(by.key.job.as_uuid());
    Ok((found, yes(tx, wanted).await?))
}

fn find(key: TaskKey, agent: AgentId) -> Bound<'static> {
    sqlx::query(FIND)
        .bind(key.job.as_uuid())
        .bind(key.round)
        .bind(agent.as_uuid())
}

fn watched(watch: TaskWatch) -> Bound<'static> {
    sqlx::query(WATCHED)
        .bind(watch.key.job.as_uuid())
        .bind(watch.key.round)
        .bind(watch.agent.as_uuid())
        .bind(watch.tenant.as_uuid())
        .bind(watch.fence)
}

async fn yes(tx: &mut Write, query: Bound<'_>) -> Result<bool, StoreError> {
    let answer = one(&mut **tx, query, |row| {
        Reader(row).get::<Option<bool>>("yes")
    });
    Ok(answer.await?.flatten().unwrap_or(false))
}

async fn put(tx: &mut Write, offer: &TaskOffer, now: Timestamp) -> Result<(), StoreError> {
    let watch = offer.watch;
    sqlx::query(PUT)
        .bind(watch.key.job.as_uuid())
        .bind(watch.key.round)
        .bind(watch.agent.as_uuid())
        .bind(watch.tenant.as_uuid())
        .bind(watch.fence)
        .bind(offer.attempt)
        .bind(json(&TaskWords::default())?)
        .bind(&offer.body)
        .bind(now.timestamp_micros())
        .bind(now.timestamp_micros())
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    Ok(())
}

/// A body that nobody will ask for any more is forgotten.
async fn save(
    tx: &mut Write,
    task: &PulledTask,
    result: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(SAVE)
        .bind(task.key.job.as_uuid())
        .bind(task.key.round)
        .bind(task.agent.as_uuid())
        .bind(task.fence)
        .bind(task.attempt)
        .bind(task.stage.as_str())
        .bind(task.stage.lease().map(TaskLeaseId::as_uuid))
        .bind(micros(task.stage.leased_until()))
        .bind(json(&task.words)?)
        .bind(now.timestamp_micros())
        .bind(result)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    Ok(())
}

/// From other agents, and of other rounds; and what is old is removed.
async fn take_others(tx: &mut Write, watch: TaskWatch, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(TAKE_OTHERS)
        .bind(watch.key.job.as_uuid())
        .bind(watch.key.round)
        .bind(watch.agent.as_uuid())
        .bind(now.timestamp_micros())
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    sqlx::query(SWEEP)
        .bind((now - TASKS_KEPT).timestamp_micros())
        .bind(TASKS_SWEPT_AT_ONCE)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    Ok(())
}

fn task(row: &SqliteRow) -> Result<PulledTask, StoreError> {
    let row = Reader(row);
    Ok(PulledTask {
        key: TaskKey {
            job: row.job_id("job_id")?,
            round: row.count("round")?,
        },
        tenant: row.tenant_id("tenant_id")?,
        agent: AgentId::from_uuid(row.get("agent_id")?),
        fence: row.get("fence")?,
        attempt: row.count("attempt")?,
        stage: stage(&row)?,
        words: row.json("words")?,
        offered_at: row.time("offered_at")?,
    })
}

fn task_and_body(row: &SqliteRow) -> Result<(PulledTask, String), StoreError> {
    Ok((task(row)?, Reader(row).get("body")?))
}

fn view(row: &SqliteRow) -> Result<TaskView, StoreError> {
    let row = Reader(row);
    Ok(TaskView {
        stage: stage(&row)?,
        words: row.json("words")?,
        offered_at: row.time("offered_at")?,
        result: row.get("result")?,
    })
}

fn stage(row: &Reader<'_>) -> Result<TaskStage, StoreError> {
    let name: &str = row.get("state")?;
    let lease = row
        .get::<Option<Uuid>>("lease_id")?
        .map(TaskLeaseId::from_uuid);
    TaskStage::from_row(name, lease, row.maybe_time("lease_until")?)
        .ok_or_else(|| corrupt(format!("a task that is {name} without its lease")))
}
