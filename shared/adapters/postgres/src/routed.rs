//! Sessions that are routed: claimed together with the agent that does the work, in one transaction.
//!
//! Who could have which agent is worked out from what is read without locks or a transaction, since most looks find
//! nothing. What was found is checked again behind the locks: the worker's row, the queues, then the agents by id.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use application::ports::Claimed;
use deadpool_postgres::{Client, Transaction};
use domain::{
    AgentId, Assignment, Candidate, Job, JobId, QueueKey, RoutedOffer, Timestamp, WaitingTask,
    WorkerRef, assign, confirm, in_turns,
};
use uuid::Uuid;

use crate::PostgresStore;
use crate::agents::{AGENT, candidate, change_condition};
use crate::error::Failure;
use crate::events::data;
use crate::json::jsonb;
use crate::lease;
use crate::rows::{self, JOB};
use crate::slots::{self, Changes, Keys};

/// Tenants that one look goes through, those with the fewest runs for their weight first, or drawn by lot.
const TENANTS: i64 = 64;
/// Sessions of each; those behind them wait until some of them have gone.
const SESSIONS: i64 = 200;

const WAITING: &str = "WITH RECURSIVE owners AS (
        (SELECT tenant_id FROM jobs
        WHERE state = 'queued' AND due AND requires ? 'orchestrator/agent'
        ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT further.tenant_id FROM owners o CROSS JOIN LATERAL (
            SELECT j.tenant_id FROM jobs j
            WHERE j.state = 'queued' AND j.due AND j.requires ? 'orchestrator/agent' AND j.tenant_id > o.tenant_id
            ORDER BY j.tenant_id LIMIT 1
        ) AS further
    ), room AS (
        SELECT s.tenant_id, s.running::float8 / t.weight AS share, s.quota - s.running AS free
        FROM owners o
        JOIN tenant_slots s ON s.tenant_id = o.tenant_id AND s.kind = 'session'
        JOIN tenants t ON t.id = s.tenant_id
        WHERE s.running < s.quota AND NOT s.paused AND t.active AND t.budget_until IS NULL
        ORDER BY CASE WHEN $4 THEN random() ELSE s.running::float8 / t.weight END, s.tenant_id LIMIT $2
    )
    SELECT j.id, j.tenant_id, j.kind, j.requires, j.failures, j.attempt, j.spec -> 'agent' AS request, room.free
    FROM room CROSS JOIN LATERAL (
        SELECT * FROM jobs j
        WHERE j.state = 'queued' AND j.due AND j.requires ? 'orchestrator/agent' AND j.tenant_id = room.tenant_id
            AND j.kind = 'session' AND (j.deadline IS NULL OR j.deadline > $1)
        ORDER BY j.turn, j.id LIMIT $3
    ) AS j
    ORDER BY room.share, j.tenant_id, j.turn, j.id";

const FAILED: &str = "SELECT DISTINCT job_id, agent_id FROM job_attempts
    WHERE job_id = ANY ($1::uuid[]) AND agent_id IS NOT NULL AND outcome IN ('failed', 'timeout')";

/// Who has a session's task still, or has done it. What came of it the failures say.
const HOLDERS: &str = "SELECT job_id, agent_id FROM agent_tasks
    WHERE job_id = ANY ($1::uuid[]) AND (state = 'done' OR state = 'leased' AND lease_until > $2)
    ORDER BY touched_at";

static AGENTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE a.tenant_id IS NULL OR a.tenant_id = ANY ($1::uuid[])
        ORDER BY a.id"
    )
});

/// A statement of its own: one that locked and counted at once would count as it was before it waited.
const LOCK: &str = "SELECT FROM agents WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE";
static LOCKED: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {AGENT} FROM agents a WHERE a.id = ANY ($1::uuid[])"));

static START: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH given AS (
            SELECT * FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::jsonb[]) AS g (job_id, agent_id, agent_name, data)
        ), started AS (
            UPDATE jobs j SET state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, worker_id = $1,
                worker_epoch = $2, started_at = greatest($3, j.updated_at), updated_at = greatest($3, j.updated_at),
                stop_requested_at = NULL, pause_requested_at = NULL, event_seq = j.event_seq + 1,
                progress = nullif(j.progress - 'fraction' - 'message', '{{}}')
            WHERE j.id = ANY ($4::uuid[]) AND j.state = 'queued' AND j.due
            RETURNING {JOB}
        ), attempts AS (
            INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at, agent_id, agent_name)
            SELECT s.id, s.attempt, s.tenant_id, $1, s.started_at, g.agent_id, g.agent_name
            FROM started s JOIN given g ON g.job_id = s.id
        ), events AS (
            INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
            SELECT s.id, s.event_seq, s.tenant_id, s.started_at, 'started', s.attempt, g.data
            FROM started s JOIN given g ON g.job_id = s.id
        ), slots AS (
            INSERT INTO agent_slots (job_id, attempt, tenant_id, agent_id, taken_at)
            SELECT s.id, s.attempt, s.tenant_id, g.agent_id, s.started_at FROM started s JOIN given g ON g.job_id = s.id
            ON CONFLICT (job_id) DO UPDATE
            SET attempt = excluded.attempt, agent_id = excluded.agent_id, taken_at = excluded.taken_at
        )
        SELECT * FROM started"
    )
});

/// `None`: the lease is lost.
pub(crate) async fn claim(
    store: &PostgresStore,
    worker: WorkerRef,
    offer: &RoutedOffer,
    now: Timestamp,
) -> Result<Option<Claimed>, Failure> {
    let mut client = store.client().await?;
    let wanted = look(&client, offer, now).await?;
    if wanted.is_empty() {
        return Ok(Some(Claimed::default()));
    }
    let tx = client.transaction().await?;
    if !lease::check(&tx, worker, now).await? {
        return Ok(None);
    }
    let keys = Keys::of(wanted.iter().map(|it| it.queue));
    slots::lock(&tx, &keys).await?;
    let free = slots::read(&tx, &keys).await?;
    let free = free.iter().filter(|(_, slot)| !slot.seen.paused);
    let free = free
        .map(|(queue, slot)| (*queue, slot.seen.free()))
        .collect();
    let mut agents = locked(&tx, &wanted).await?;
    let given = confirm(wanted, free, &mut agents, now);
    if given.is_empty() {
        return Ok(Some(Claimed::default()));
    }
    let jobs = start(&tx, worker, &given, &agents, now).await?;
    let mut changes = Changes::default();
    for job in &jobs {
        let delta = changes.of(job.queue());
        delta.queued -= 1;
        delta.running += 1;
    }
    for agent in given
        .iter()
        .map(|it| it.agent)
        .collect::<std::collections::BTreeSet<_>>()
    {
        change_condition(&tx, agent, domain::Condition::taken).await?;
    }
    let slots = changes.apply(&tx, now).await?;
    tx.commit().await?;
    Ok(Some(Claimed { jobs, slots }))
}

/// Who could have which agent, as it seems.
async fn look(
    client: &Client,
    offer: &RoutedOffer,
    now: Timestamp,
) -> Result<Vec<Assignment>, Failure> {
    let waiting = client.prepare_cached(WAITING).await?;
    let rows = client
        .query(&waiting, &[&now, &TENANTS, &SESSIONS, &offer.by_lot])
        .await?;
    let mut tasks = Vec::with_capacity(rows.len());
    let mut free: BTreeMap<QueueKey, u32> = BTreeMap::new();
    let mut again: Vec<Uuid> = Vec::new();
    for row in &rows {
        let job = rows::job_id(row, "id")?;
        let queue = rows::queue(row)?;
        free.insert(queue, rows::count(row, "free")?);
        if rows::count(row, "attempt")? > 0 {
            again.push(job.as_uuid());
        }
        tasks.push(WaitingTask {
            job,
            queue,
            request: rows::json(row, "request")?,
            requires: rows::json::<domain::Labels>(row, "requires")?.without_agent(),
            failed: Vec::new(),
            holder: None,
        });
    }
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    tell_before(client, &mut tasks, &again, now).await?;
    let tenants: Vec<Uuid> = free.keys().map(|queue| queue.tenant.as_uuid()).collect();
    let agents = client.prepare_cached(&AGENTS).await?;
    let candidates = client.query(&agents, &[&tenants]).await?;
    let candidates = candidates.iter().map(candidate).collect::<Result<_, _>>()?;
    Ok(assign(&in_turns(tasks), candidates, free, offer, now))
}

/// What came of earlier runs.
async fn tell_before(
    client: &Client,
    tasks: &mut [WaitingTask],
    again: &[Uuid],
    now: Timestamp,
) -> Result<(), Failure> {
    if again.is_empty() {
        return Ok(());
    }
    let failed = client.prepare_cached(FAILED).await?;
    let mut by_job: HashMap<JobId, Vec<AgentId>> = HashMap::new();
    for row in &client.query(&failed, &[&again]).await? {
        let agent = AgentId::from_uuid(rows::get(row, "agent_id")?);
        by_job
            .entry(rows::job_id(row, "job_id")?)
            .or_default()
            .push(agent);
    }
    let holding = client.prepare_cached(HOLDERS).await?;
    let mut holders: HashMap<JobId, AgentId> = HashMap::new();
    for row in &client.query(&holding, &[&again, &now]).await? {
        let agent = AgentId::from_uuid(rows::get(row, "agent_id")?);
        holders.insert(rows::job_id(row, "job_id")?, agent);
    }
    for task in tasks {
        task.failed = by_job.remove(&task.job).unwrap_or_default();
        task.holder = holders.remove(&task.job);
    }
    Ok(())
}

async fn locked(
    tx: &Transaction<'_>,
    wanted: &[Assignment],
) -> Result<BTreeMap<AgentId, Candidate>, Failure> {
    let ids: Vec<Uuid> = wanted.iter().map(|it| it.agent.as_uuid()).collect();
    let lock = tx.prepare_cached(LOCK).await?;
    tx.execute(&lock, &[&ids]).await?;
    let read = tx.prepare_cached(&LOCKED).await?;
    let rows = tx.query(&read, &[&ids]).await?;
    rows.iter()
        .map(|row| candidate(row).map(|it| (it.agent.id, it)))
        .collect()
}

async fn start(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    given: &[Assignment],
    agents: &BTreeMap<AgentId, Candidate>,
    now: Timestamp,
) -> Result<Vec<Job>, Failure> {
    let name = |id: AgentId| agents.get(&id).map(|it| it.agent.definition.name.clone());
    let jobs: Vec<Uuid> = given.iter().map(|it| it.job.as_uuid()).collect();
    let ids: Vec<Uuid> = given.iter().map(|it| it.agent.as_uuid()).collect();
    let names: Vec<Option<String>> = given.iter().map(|it| name(it.agent)).collect();
    let events = given
        .iter()
        .map(|it| {
            jsonb(&data([
                ("worker", worker.id.to_string().into()),
                ("agent", name(it.agent).into()),
                ("agent_id", it.agent.to_string().into()),
            ]))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let start = tx.prepare_cached(&START).await?;
    let rows = tx
        .query(
            &start,
            &[
                &worker.id.as_uuid(),
                &worker.epoch,
                &now,
                &jobs,
                &ids,
                &names,
                &events,
            ],
        )
        .await?;
    let agent_of: HashMap<JobId, AgentId> = given.iter().map(|it| (it.job, it.agent)).collect();
    rows.iter()
        .map(|row| {
            let job = rows::job(row)?.job;
            let agent = agent_of.get(&job.id).and_then(|id| agents.get(id));
            Ok(match agent {
                Some(candidate) => job.given(&candidate.agent),
                None => job,
            })
        })
        .collect()
}
