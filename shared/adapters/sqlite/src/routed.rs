//! Sessions that are routed: claimed together with the agent that does the work, in one transaction.
//!
//! Who could have which agent is worked out from what readers see, since most looks find nothing. What was found is checked
//! again under the write lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use application::ports::{Claimed, LeaseError, StoreError};
use domain::{
    AgentId, Assignment, Candidate, Condition, EventKind, JobId, Labels, QueueKey, RoutedOffer,
    Timestamp, WaitingTask, WorkerRef, assign, confirm, in_turns,
};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::SqliteStore;
use crate::agents::{candidate, change_condition};
use crate::batch::ids;
use crate::error::failed;
use crate::lease::check_lease;
use crate::rows::{Reader, Stored, stored};
use crate::slots::{self, Deltas};

/// Tenants that one look goes through, those with the fewest runs for their weight first, or drawn by lot.
const TENANTS: u32 = 64;
/// Sessions of each; those behind them wait until some of them have gone.
const SESSIONS: u32 = 200;

const WAITING: &str = "
    WITH RECURSIVE owners (tenant_id) AS (
        SELECT * FROM (
            SELECT tenant_id FROM jobs INDEXED BY jobs_routed
            WHERE state = 'queued' AND due AND instr(requires, 'orchestrator/agent') > 0
            ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT n.tenant_id FROM owners AS o
        CROSS JOIN jobs AS n ON n.rowid = (
            SELECT rowid FROM jobs INDEXED BY jobs_routed
            WHERE state = 'queued' AND due AND instr(requires, 'orchestrator/agent') > 0 AND tenant_id > o.tenant_id
            ORDER BY tenant_id LIMIT 1)
    ), room AS (
        SELECT s.tenant_id, CAST(s.running AS real) / t.weight AS share, s.quota - s.running AS free
        FROM owners AS o
        JOIN tenant_slots AS s ON s.tenant_id = o.tenant_id AND s.kind = 'session'
        JOIN tenants AS t ON t.id = s.tenant_id
        WHERE s.running < s.quota AND NOT s.paused AND t.active AND t.budget_until IS NULL
        ORDER BY CASE WHEN ?4 THEN random() ELSE share END, s.tenant_id LIMIT +?2
    )
    SELECT j.id, j.tenant_id, j.kind, j.requires, j.failures, j.attempt, j.spec ->> '$.agent' AS request, room.free
    FROM room CROSS JOIN jobs AS j ON j.rowid IN (
        SELECT rowid FROM jobs INDEXED BY jobs_routed
        WHERE state = 'queued' AND due AND instr(requires, 'orchestrator/agent') > 0 AND tenant_id = room.tenant_id
          AND kind = 'session' AND (deadline IS NULL OR deadline > ?1)
        ORDER BY turn, id LIMIT +?3)
    ORDER BY room.share, j.tenant_id, j.turn, j.id";

const AGENTS: &str = "
    SELECT a.*, (SELECT count(*) FROM agent_slots AS s WHERE s.agent_id = a.id) AS in_use
    FROM agents AS a
    WHERE a.tenant_id IS NULL OR a.tenant_id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY a.id";

const THESE: &str = "
    SELECT a.*, (SELECT count(*) FROM agent_slots AS s WHERE s.agent_id = a.id) AS in_use
    FROM agents AS a WHERE a.id IN (SELECT unhex(value) FROM json_each(?))";

pub async fn claim(
    store: &SqliteStore,
    worker: WorkerRef,
    offer: &RoutedOffer,
    now: Timestamp,
) -> Result<Claimed, LeaseError> {
    let wanted = look(store, offer, now).await?;
    if wanted.is_empty() {
        return Ok(Claimed::default());
    }
    let mut tx = store.write().await?;
    check_lease(&mut tx, worker, now).await?;
    let queues: BTreeSet<QueueKey> = wanted.iter().map(|it| it.queue).collect();
    let slots = slots::read(&mut tx, queues).await?;
    let free = slots.iter().filter(|slot| !slot.paused);
    let free = free.map(|slot| (slot.queue, slot.free())).collect();
    let found = candidates(
        &mut *tx,
        THESE,
        &ids(wanted.iter().map(|it| it.agent.as_uuid()))?,
    )
    .await?;
    let mut agents: BTreeMap<AgentId, Candidate> =
        found.into_iter().map(|it| (it.agent.id, it)).collect();
    let given = confirm(wanted, free, &mut agents, now);
    let mut deltas = Deltas::default();
    let mut jobs = Vec::new();
    for it in &given {
        let Some(started) = start(&mut tx, worker, it, now).await? else {
            continue;
        };
        let delta = deltas.of(it.queue);
        delta.queued -= 1;
        delta.running += 1;
        let Some(agent) = agents.get(&it.agent) else {
            continue;
        };
        write_history(&mut tx, &started, worker, &agent.agent).await?;
        change_condition(&mut tx, it.agent, Condition::taken).await?;
        jobs.push(started.job.given(&agent.agent));
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Claimed { jobs, slots })
}

/// Who could have which agent, as it seems.
async fn look(
    store: &SqliteStore,
    offer: &RoutedOffer,
    now: Timestamp,
) -> Result<Vec<Assignment>, StoreError> {
    let rows = sqlx::query(WAITING)
        .bind(now.timestamp_micros())
        .bind(TENANTS)
        .bind(SESSIONS)
        .bind(offer.by_lot)
        .fetch_all(&store.readers)
        .await
        .map_err(failed)?;
    let mut tasks = Vec::with_capacity(rows.len());
    let mut free: BTreeMap<QueueKey, u32> = BTreeMap::new();
    let mut again = Vec::new();
    for row in &rows {
        let row = Reader(row);
        let (job, queue) = (row.job_id("id")?, row.queue()?);
        free.insert(queue, row.count("free")?);
        if row.count("attempt")? > 0 {
            again.push(job.as_uuid());
        }
        tasks.push(WaitingTask {
            job,
            queue,
            request: row.json("request")?,
            requires: row.json::<Labels>("requires")?.without_agent(),
            failed: Vec::new(),
            holder: None,
        });
    }
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    if !again.is_empty() {
        let again = ids(again)?;
        let mut by_job = failed_agents(store, &again).await?;
        let mut holders = holders(store, &again, now).await?;
        for task in &mut tasks {
            task.failed = by_job.remove(&task.job).unwrap_or_default();
            task.holder = holders.remove(&task.job);
        }
    }
    let tenants = ids(free.keys().map(|queue| queue.tenant.as_uuid()))?;
    let candidates = candidates(&store.readers, AGENTS, &tenants).await?;
    Ok(assign(&in_turns(tasks), candidates, free, offer, now))
}

async fn candidates(
    executor: impl SqliteExecutor<'_>,
    sql: &'static str,
    named: &str,
) -> Result<Vec<Candidate>, StoreError> {
    let rows = sqlx::query(sql).bind(named).fetch_all(executor).await;
    rows.map_err(failed)?.iter().map(candidate).collect()
}

async fn failed_agents(
    store: &SqliteStore,
    jobs: &str,
) -> Result<HashMap<JobId, Vec<AgentId>>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT job_id, agent_id FROM job_attempts
         WHERE job_id IN (SELECT unhex(value) FROM json_each(?)) AND agent_id IS NOT NULL
           AND outcome IN ('failed', 'timeout')",
    )
    .bind(jobs)
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let mut by_job: HashMap<JobId, Vec<AgentId>> = HashMap::new();
    for row in &rows {
        let row = Reader(row);
        let agent = AgentId::from_uuid(row.get("agent_id")?);
        by_job.entry(row.job_id("job_id")?).or_default().push(agent);
    }
    Ok(by_job)
}

/// Who has a session's task still, or has done it. What came of it the failures say.
async fn holders(
    store: &SqliteStore,
    jobs: &str,
    now: Timestamp,
) -> Result<HashMap<JobId, AgentId>, StoreError> {
    let rows = sqlx::query(
        "SELECT job_id, agent_id FROM agent_tasks
         WHERE job_id IN (SELECT unhex(value) FROM json_each(?))
           AND (state = 'done' OR state = 'leased' AND lease_until > ?)
         ORDER BY touched_at",
    )
    .bind(jobs)
    .bind(now.timestamp_micros())
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let holder = |row: &SqliteRow| -> Result<_, StoreError> {
        let row = Reader(row);
        Ok((
            row.job_id("job_id")?,
            AgentId::from_uuid(row.get("agent_id")?),
        ))
    };
    rows.iter().map(holder).collect()
}

/// `None`: it does not wait any more.
async fn start(
    connection: &mut SqliteConnection,
    worker: WorkerRef,
    it: &Assignment,
    now: Timestamp,
) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query(
        "UPDATE jobs
         SET state = 'running', attempt = attempt + 1, fence = fence + 1, event_seq = event_seq + 1, worker_id = ?1,
             worker_epoch = ?2, started_at = max(?3, updated_at), updated_at = max(?3, updated_at),
             stop_requested_at = NULL, pause_requested_at = NULL,
             progress = nullif(json_remove(progress, '$.fraction', '$.message'), '{}')
         WHERE id = ?4 AND state = 'queued' AND due
         RETURNING *",
    )
    .bind(worker.id.as_uuid())
    .bind(worker.epoch)
    .bind(now.timestamp_micros())
    .bind(it.job.as_uuid())
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.as_ref().map(stored).transpose()
}

/// Its open attempt, its event and its agent's slot.
async fn write_history(
    connection: &mut SqliteConnection,
    started: &Stored,
    worker: WorkerRef,
    agent: &domain::RegisteredAgent,
) -> Result<(), StoreError> {
    let job = &started.job;
    // When it started: not before what happened to it last.
    let at = job.updated_at.timestamp_micros();
    sqlx::query(
        "INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at, agent_id, agent_name)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(job.id.as_uuid())
    .bind(job.attempt)
    .bind(job.tenant.as_uuid())
    .bind(worker.id.as_uuid())
    .bind(at)
    .bind(agent.id.as_uuid())
    .bind(&agent.definition.name)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let data = json!({
        "worker": worker.id.to_string(), "agent": agent.definition.name, "agent_id": agent.id.to_string(),
    });
    sqlx::query(
        "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(job.id.as_uuid())
    .bind(started.event_seq)
    .bind(job.tenant.as_uuid())
    .bind(at)
    .bind(EventKind::Started.as_str())
    .bind(job.attempt)
    .bind(data.to_string())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(
        "INSERT OR REPLACE INTO agent_slots (job_id, attempt, tenant_id, agent_id, taken_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(job.id.as_uuid())
    .bind(job.attempt)
    .bind(job.tenant.as_uuid())
    .bind(agent.id.as_uuid())
    .bind(at)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
