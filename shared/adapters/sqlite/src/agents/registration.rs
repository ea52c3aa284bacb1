//! What people say of agents. What is decided of one is decided by the domain, under the one write lock.

use application::ports::{AGENTS_MAX, AgentError, KeyHash, StoreError, TokenHasher};
use domain::{AgentChange, AgentId, RegisteredAgent, RegisteredKind, TenantId, Timestamp};

use super::{agents_where, candidate};
use crate::batch::json;
use crate::error::failed;
use crate::statement::one;
use crate::{SqliteStore, Write};

const OWN: &str = agents_where!("a.id = ?2 AND a.tenant_id IS ?1");
const OWN_NAMED: &str = agents_where!("a.name = ?2 AND a.tenant_id IS ?1");

pub(super) async fn register(
    store: &SqliteStore,
    agent: RegisteredAgent,
    token: Option<&TokenHasher>,
) -> Result<RegisteredAgent, AgentError> {
    let mut tx = store.write().await?;
    let owner = agent.tenant.map(TenantId::as_uuid);
    let named = sqlx::query(OWN_NAMED)
        .bind(owner)
        .bind(&agent.definition.name);
    if let Some(known) = one(&mut *tx, named, candidate).await? {
        if token.is_none() || known.agent.kind() != RegisteredKind::External {
            return Err(AgentError::NameTaken(agent.definition.name));
        }
        let again = known
            .agent
            .registered_again(agent.definition, agent.created_at)?;
        update(&mut tx, &again, hash_for(&again, token)).await?;
        tx.commit().await.map_err(failed)?;
        return Ok(again);
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM agents WHERE tenant_id IS ?1")
        .bind(owner)
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    if count >= i64::from(AGENTS_MAX) {
        return Err(AgentError::TooMany);
    }
    insert(&mut tx, &agent, hash_for(&agent, token)).await?;
    tx.commit().await.map_err(failed)?;
    Ok(agent)
}

fn hash_for(agent: &RegisteredAgent, token: Option<&TokenHasher>) -> Option<KeyHash> {
    token.map(|token| token(agent.id, agent.generation()))
}

async fn insert(
    tx: &mut Write,
    agent: &RegisteredAgent,
    token: Option<KeyHash>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agents (id, tenant_id, name, definition, draining, condition, token_hash, version, created_at,
                             updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(agent.id.as_uuid())
    .bind(agent.tenant.map(TenantId::as_uuid))
    .bind(&agent.definition.name)
    .bind(json(&agent.definition)?)
    .bind(agent.draining)
    .bind(json(&agent.condition)?)
    .bind(token.map(|token| token.0.to_vec()))
    .bind(agent.version)
    .bind(agent.created_at.timestamp_micros())
    .bind(agent.updated_at.timestamp_micros())
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}

/// All but its condition, which is not people's to change.
async fn update(
    tx: &mut Write,
    agent: &RegisteredAgent,
    token: Option<KeyHash>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agents SET definition = ?2, draining = ?3, version = ?4, updated_at = ?5,
             token_hash = coalesce(?6, token_hash)
         WHERE id = ?1",
    )
    .bind(agent.id.as_uuid())
    .bind(json(&agent.definition)?)
    .bind(agent.draining)
    .bind(agent.version)
    .bind(agent.updated_at.timestamp_micros())
    .bind(token.map(|token| token.0.to_vec()))
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn change(
    store: &SqliteStore,
    owner: Option<TenantId>,
    id: AgentId,
    wanted: AgentChange,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<Option<RegisteredAgent>, AgentError> {
    let mut tx = store.write().await?;
    let query = sqlx::query(OWN)
        .bind(owner.map(TenantId::as_uuid))
        .bind(id.as_uuid());
    let Some(before) = one(&mut *tx, query, candidate).await? else {
        return Ok(None);
    };
    let version = before.agent.version;
    if expected.is_some_and(|expected| expected != version) {
        return Err(AgentError::VersionMoved(version));
    }
    let after = before.agent.change(wanted, now)?;
    update(&mut tx, &after, None).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Some(after))
}
