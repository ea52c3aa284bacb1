//! What people say of agents. What is decided of one is decided by the domain, on a row that is locked.

use std::sync::LazyLock;

use application::ports::{AGENTS_MAX, AgentError, KeyHash, TokenHasher};
use deadpool_postgres::Transaction;
use domain::{AgentChange, AgentId, RegisteredAgent, RegisteredKind, TenantId, Timestamp};

use super::{AGENT, candidate};
use crate::error::Failure;
use crate::json::{jsonb, text};
use crate::{PostgresStore, rows};

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

pub(super) async fn register(
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

pub(super) async fn change(
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
