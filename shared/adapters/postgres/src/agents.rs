//! Registered agents: what people do with them, and what they say of themselves. What is decided of an agent is decided by
//! the domain, on a row that is locked.

use std::sync::LazyLock;

use application::ports::{
    AGENTS_MAX, AgentError, AgentStore, Claimed, KeyHash, LeaseError, StoreError, TokenHasher,
};
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use domain::{
    AgentChange, AgentId, Beat, Candidate, Condition, JobId, RegisteredAgent, RegisteredKind,
    RoutedOffer, TenantId, Timestamp, WorkerRef,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::{During, Failure};
use crate::json::{jsonb, text};
use crate::{PostgresStore, routed, rows, statement};

/// What [`candidate`] reads, of `agents AS a`.
pub(crate) const AGENT: &str = "a.id, a.tenant_id, a.definition, a.draining, a.condition, a.version, a.created_at, \
    a.updated_at, (SELECT count(*) FROM agent_slots s WHERE s.agent_id = a.id) AS in_use";

static BY_ID: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE a.id = $2 AND (a.tenant_id = $1 OR a.tenant_id IS NULL)"
    )
});
static BY_NAME: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE a.name = $2 AND (a.tenant_id = $1 OR a.tenant_id IS NULL)
        ORDER BY a.tenant_id IS NULL LIMIT 1"
    )
});
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE (a.tenant_id = $1 OR a.tenant_id IS NULL)
            AND ($2::text IS NULL OR (a.name, a.id) > ($2, $3))
        ORDER BY a.name, a.id LIMIT $4"
    )
});
static WITH_ENDPOINT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a
        WHERE a.definition #>> '{{work,external,endpoint_url}}' IS NOT NULL AND ($1::uuid IS NULL OR a.id > $1)
        ORDER BY a.id LIMIT $2"
    )
});
static LOCK_OWN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE a.id = $2 AND a.tenant_id IS NOT DISTINCT FROM $1 FOR UPDATE OF a"
    )
});
static LOCK_NAMED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {AGENT} FROM agents a WHERE a.name = $2 AND a.tenant_id IS NOT DISTINCT FROM $1 FOR UPDATE OF a"
    )
});

/// One registration of an owner at a time, so that the count and the name hold.
const LOCK_OWNER: &str = "SELECT pg_advisory_xact_lock(hashtext('agents'), hashtext($1::text))";
const COUNT: &str = "SELECT count(*) AS agents FROM agents WHERE tenant_id IS NOT DISTINCT FROM $1";

const INSERT: &str =
    "INSERT INTO agents (id, tenant_id, name, definition, draining, condition, token_hash, version,
        created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const UPDATE: &str =
    "UPDATE agents SET definition = $2, draining = $3, version = $4, updated_at = $5,
        token_hash = coalesce($6, token_hash)
    WHERE id = $1";

const DELETE: &str = "DELETE FROM agents WHERE id = $2 AND tenant_id IS NOT DISTINCT FROM $1";

const TOKEN: &str = "SELECT token_hash FROM agents WHERE id = $1 AND token_hash IS NOT NULL";

const TRIED: &str = "SELECT DISTINCT agent_id FROM job_attempts
    WHERE job_id = $1 AND tenant_id = $2 AND agent_id IS NOT NULL
        AND (outcome IS NULL OR outcome IN ('failed', 'timeout'))";

const CONDITION: &str = "SELECT condition FROM agents WHERE id = $1";
const LOCK_CONDITION: &str = "SELECT condition FROM agents WHERE id = $1 FOR UPDATE";
const SET_CONDITION: &str = "UPDATE agents SET condition = $2 WHERE id = $1";

#[async_trait]
impl AgentStore for PostgresStore {
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        token: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError> {
        register(self, agent, token)
            .await
            .during("registering an agent")?
    }

    async fn agent(&self, tenant: TenantId, id: AgentId) -> Result<Option<Candidate>, StoreError> {
        statement::one(self, &BY_ID, &[&tenant.as_uuid(), &id.as_uuid()], candidate)
            .await
            .during("reading an agent")
    }

    async fn agent_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Candidate>, StoreError> {
        statement::one(self, &BY_NAME, &[&tenant.as_uuid(), &text(name)], candidate)
            .await
            .during("reading an agent")
    }

    async fn agents(
        &self,
        tenant: TenantId,
        after: Option<(String, AgentId)>,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let (name, id) = after.unzip();
        let (name, id) = (name.map(|name| text(&name)), id.map(AgentId::as_uuid));
        let limit = i64::from(limit);
        statement::all(
            self,
            &PAGE,
            &[&tenant.as_uuid(), &name, &id, &limit],
            candidate,
        )
        .await
        .during("listing agents")
    }

    async fn change_agent(
        &self,
        owner: Option<TenantId>,
        id: AgentId,
        wanted: AgentChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<RegisteredAgent>, AgentError> {
        change(self, owner, id, wanted, expected, now)
            .await
            .during("changing an agent")?
    }

    async fn remove_agent(&self, owner: Option<TenantId>, id: AgentId) -> Result<bool, StoreError> {
        let owner = owner.map(TenantId::as_uuid);
        let removed = statement::run(self, DELETE, &[&owner, &id.as_uuid()])
            .await
            .during("removing an agent")?;
        Ok(removed > 0)
    }

    async fn agent_token(&self, id: AgentId) -> Result<Option<KeyHash>, StoreError> {
        statement::one(self, TOKEN, &[&id.as_uuid()], |row| {
            let bytes: &[u8] = rows::get(row, "token_hash")?;
            Ok(KeyHash(bytes.try_into().map_err(Failure::unexpected)?))
        })
        .await
        .during("reading an agent's token")
    }

    async fn agents_with_endpoint(
        &self,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<RegisteredAgent>, StoreError> {
        let after = after.map(AgentId::as_uuid);
        let limit = i64::from(limit);
        let read = |row: &Row| candidate(row).map(|it| it.agent);
        statement::all(self, &WITH_ENDPOINT, &[&after, &limit], read)
            .await
            .during("reading agents with an address")
    }

    async fn agents_tried(
        &self,
        tenant: TenantId,
        session: JobId,
    ) -> Result<Vec<AgentId>, StoreError> {
        let read = |row: &Row| Ok(AgentId::from_uuid(rows::get(row, "agent_id")?));
        statement::all(self, TRIED, &[&session.as_uuid(), &tenant.as_uuid()], read)
            .await
            .during("reading a session's agents")
    }

    async fn claim_routed(
        &self,
        worker: WorkerRef,
        offer: RoutedOffer,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        routed::claim(self, worker, &offer, now)
            .await
            .during("claiming routed sessions")?
            .ok_or(LeaseError::Lost(worker))
    }

    async fn beat(&self, id: AgentId, beat: Beat) -> Result<bool, StoreError> {
        beaten(self, id, beat).await.during("keeping a heartbeat")
    }

    async fn heard(&self, id: AgentId, now: Timestamp) -> Result<(), StoreError> {
        heard(self, id, now)
            .await
            .during("noting that an agent lives")
    }
}

pub(crate) fn candidate(row: &Row) -> Result<Candidate, Failure> {
    let in_use: i64 = rows::get(row, "in_use")?;
    Ok(Candidate {
        agent: RegisteredAgent {
            id: AgentId::from_uuid(rows::get(row, "id")?),
            tenant: rows::get::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid),
            definition: rows::json(row, "definition")?,
            draining: rows::get(row, "draining")?,
            condition: rows::json(row, "condition")?,
            version: rows::get(row, "version")?,
            created_at: rows::get(row, "created_at")?,
            updated_at: rows::get(row, "updated_at")?,
        },
        in_use: u32::try_from(in_use).map_err(Failure::unexpected)?,
    })
}

async fn register(
    store: &PostgresStore,
    agent: RegisteredAgent,
    token: Option<&TokenHasher>,
) -> Result<Result<RegisteredAgent, AgentError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let owner = agent.tenant.map(TenantId::as_uuid);
    let lock = tx.prepare_cached(LOCK_OWNER).await?;
    let whose = owner.map_or_else(String::new, |owner| owner.to_string());
    tx.query(&lock, &[&whose]).await?;
    let named = tx.prepare_cached(&LOCK_NAMED).await?;
    let name = text(&agent.definition.name);
    if let Some(row) = tx.query_opt(&named, &[&owner, &name]).await? {
        let known = candidate(&row)?.agent;
        if token.is_none() || known.kind() != RegisteredKind::External {
            return Ok(Err(AgentError::NameTaken(agent.definition.name)));
        }
        let again = match known.registered_again(agent.definition, agent.created_at) {
            Ok(again) => again,
            Err(violations) => return Ok(Err(violations.into())),
        };
        update(&tx, &again, hash_for(&again, token)).await?;
        tx.commit().await?;
        return Ok(Ok(again));
    }
    let count = tx.prepare_cached(COUNT).await?;
    let count: i64 = rows::get(&tx.query_one(&count, &[&owner]).await?, "agents")?;
    if count >= i64::from(AGENTS_MAX) {
        return Ok(Err(AgentError::TooMany));
    }
    insert(&tx, &agent, hash_for(&agent, token)).await?;
    tx.commit().await?;
    Ok(Ok(agent))
}

fn hash_for(agent: &RegisteredAgent, token: Option<&TokenHasher>) -> Option<KeyHash> {
    token.map(|token| token(agent.id, agent.generation()))
}

async fn insert(
    tx: &Transaction<'_>,
    agent: &RegisteredAgent,
    token: Option<KeyHash>,
) -> Result<(), Failure> {
    let insert = tx.prepare_cached(INSERT).await?;
    tx.execute(
        &insert,
        &[
            &agent.id.as_uuid(),
            &agent.tenant.map(TenantId::as_uuid),
            &text(&agent.definition.name),
            &jsonb(&agent.definition)?,
            &agent.draining,
            &jsonb(&agent.condition)?,
            &token.map(|token| token.0.to_vec()),
            &agent.version,
            &agent.created_at,
            &agent.updated_at,
        ],
    )
    .await?;
    Ok(())
}

/// All but its condition, which is not people's to change.
async fn update(
    tx: &Transaction<'_>,
    agent: &RegisteredAgent,
    token: Option<KeyHash>,
) -> Result<(), Failure> {
    let update = tx.prepare_cached(UPDATE).await?;
    tx.execute(
        &update,
        &[
            &agent.id.as_uuid(),
            &jsonb(&agent.definition)?,
            &agent.draining,
            &agent.version,
            &agent.updated_at,
            &token.map(|token| token.0.to_vec()),
        ],
    )
    .await?;
    Ok(())
}

async fn change(
    store: &PostgresStore,
    owner: Option<TenantId>,
    id: AgentId,
    wanted: AgentChange,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<Result<Option<RegisteredAgent>, AgentError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let lock = tx.prepare_cached(&LOCK_OWN).await?;
    let owner = owner.map(TenantId::as_uuid);
    let Some(row) = tx.query_opt(&lock, &[&owner, &id.as_uuid()]).await? else {
        return Ok(Ok(None));
    };
    let agent = candidate(&row)?.agent;
    if expected.is_some_and(|version| version != agent.version) {
        return Ok(Err(AgentError::VersionMoved(agent.version)));
    }
    let agent = match agent.change(wanted, now) {
        Ok(agent) => agent,
        Err(violations) => return Ok(Err(violations.into())),
    };
    update(&tx, &agent, None).await?;
    tx.commit().await?;
    Ok(Ok(Some(agent)))
}

async fn beaten(store: &PostgresStore, id: AgentId, beat: Beat) -> Result<bool, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let found = change_condition(&tx, id, |condition| {
        let newer = condition
            .beat
            .as_ref()
            .is_none_or(|known| known.at <= beat.at);
        if newer {
            condition.beaten(beat)
        } else {
            condition
        }
    })
    .await?;
    tx.commit().await?;
    Ok(found)
}

async fn heard(store: &PostgresStore, id: AgentId, now: Timestamp) -> Result<(), Failure> {
    let read = |row: &Row| rows::json::<Condition>(row, "condition");
    let known = statement::one(store, CONDITION, &[&id.as_uuid()], read).await?;
    if known.and_then(|known| known.heard(now)).is_none() {
        return Ok(());
    }
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    change_condition(&tx, id, |known| known.clone().heard(now).unwrap_or(known)).await?;
    tx.commit().await?;
    Ok(())
}

/// False: the agent is gone.
pub(crate) async fn change_condition(
    tx: &Transaction<'_>,
    id: AgentId,
    change: impl FnOnce(Condition) -> Condition,
) -> Result<bool, Failure> {
    let lock = tx.prepare_cached(LOCK_CONDITION).await?;
    let Some(row) = tx.query_opt(&lock, &[&id.as_uuid()]).await? else {
        return Ok(false);
    };
    let before: Condition = rows::json(&row, "condition")?;
    let after = change(before.clone());
    if after != before {
        let set = tx.prepare_cached(SET_CONDITION).await?;
        tx.execute(&set, &[&id.as_uuid(), &jsonb(&after)?]).await?;
    }
    Ok(true)
}
