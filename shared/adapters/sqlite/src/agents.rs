//! Registered agents: what people do with them, and what they say of themselves. What is decided of an agent is decided by
//! the domain, under the one write lock.

use application::ports::{
    AGENTS_MAX, AgentError, AgentStore, Claimed, KeyHash, LeaseError, StoreError, TokenHasher,
};
use async_trait::async_trait;
use domain::{
    AgentChange, AgentId, Beat, Candidate, Condition, JobId, RegisteredAgent, RegisteredKind,
    RoutedOffer, TenantId, Timestamp, WorkerRef,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::batch::json;
use crate::error::{corrupt, failed};
use crate::rows::Reader;
use crate::statement::{Bound, all, one, run};
use crate::{SqliteStore, Write, routed};

/// An agent's row with how much it works on.
macro_rules! agents_where {
    ($rest:literal) => {
        concat!(
            "SELECT a.*, (SELECT count(*) FROM agent_slots AS s WHERE s.agent_id = a.id) AS in_use
             FROM agents AS a WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = agents_where!("a.id = ?2 AND (a.tenant_id = ?1 OR a.tenant_id IS NULL)");
const BY_NAME: &str = agents_where!(
    "a.name = ?2 AND (a.tenant_id = ?1 OR a.tenant_id IS NULL) ORDER BY a.tenant_id IS NULL LIMIT 1"
);
const PAGE: &str = agents_where!(
    "(a.tenant_id = ?1 OR a.tenant_id IS NULL) AND (?2 IS NULL OR (a.name, a.id) > (?2, ?3))
     ORDER BY a.name, a.id LIMIT +?4"
);
const WITH_ENDPOINT: &str = agents_where!(
    "a.definition ->> '$.work.external.endpoint_url' IS NOT NULL AND (?1 IS NULL OR a.id > ?1)
     ORDER BY a.id LIMIT +?2"
);
const TRIED: &str = "SELECT DISTINCT agent_id FROM job_attempts
    WHERE job_id = ? AND tenant_id = ? AND agent_id IS NOT NULL
      AND (outcome IS NULL OR outcome IN ('failed', 'timeout'))";
const OWN: &str = agents_where!("a.id = ?2 AND a.tenant_id IS ?1");
const OWN_NAMED: &str = agents_where!("a.name = ?2 AND a.tenant_id IS ?1");

#[async_trait]
impl AgentStore for SqliteStore {
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        token: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError> {
        let mut tx = self.write().await?;
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

    async fn agent(&self, tenant: TenantId, id: AgentId) -> Result<Option<Candidate>, StoreError> {
        let query = sqlx::query(BY_ID).bind(tenant.as_uuid()).bind(id.as_uuid());
        one(&self.readers, query, candidate).await
    }

    async fn agent_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Candidate>, StoreError> {
        let query = sqlx::query(BY_NAME).bind(tenant.as_uuid()).bind(name);
        one(&self.readers, query, candidate).await
    }

    async fn agents(
        &self,
        tenant: TenantId,
        after: Option<(String, AgentId)>,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let (name, id) = after.unzip();
        let query = sqlx::query(PAGE)
            .bind(tenant.as_uuid())
            .bind(name)
            .bind(id.map(AgentId::as_uuid))
            .bind(limit);
        all(&self.readers, query, candidate).await
    }

    async fn change_agent(
        &self,
        owner: Option<TenantId>,
        id: AgentId,
        change: AgentChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<RegisteredAgent>, AgentError> {
        let mut tx = self.write().await?;
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
        let after = before.agent.change(change, now)?;
        update(&mut tx, &after, None).await?;
        tx.commit().await.map_err(failed)?;
        Ok(Some(after))
    }

    async fn remove_agent(&self, owner: Option<TenantId>, id: AgentId) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM agents WHERE id = ?2 AND tenant_id IS ?1")
            .bind(owner.map(TenantId::as_uuid))
            .bind(id.as_uuid());
        Ok(run(self, query).await? > 0)
    }

    async fn agent_token(&self, id: AgentId) -> Result<Option<KeyHash>, StoreError> {
        let query =
            sqlx::query("SELECT token_hash FROM agents WHERE id = ? AND token_hash IS NOT NULL")
                .bind(id.as_uuid());
        one(&self.readers, query, |row| {
            let bytes: Vec<u8> = Reader(row).get("token_hash")?;
            let hash = bytes
                .try_into()
                .map_err(|_| corrupt("the hash of a token does not have 32 bytes"))?;
            Ok(KeyHash(hash))
        })
        .await
    }

    async fn agents_with_endpoint(
        &self,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<RegisteredAgent>, StoreError> {
        let query = sqlx::query(WITH_ENDPOINT)
            .bind(after.map(AgentId::as_uuid))
            .bind(limit);
        all(&self.readers, query, |row| {
            candidate(row).map(|it| it.agent)
        })
        .await
    }

    async fn agents_tried(
        &self,
        tenant: TenantId,
        session: JobId,
    ) -> Result<Vec<AgentId>, StoreError> {
        let query = sqlx::query(TRIED)
            .bind(session.as_uuid())
            .bind(tenant.as_uuid());
        all(&self.readers, query, |row| {
            Ok(AgentId::from_uuid(Reader(row).get("agent_id")?))
        })
        .await
    }

    async fn claim_routed(
        &self,
        worker: WorkerRef,
        offer: RoutedOffer,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        routed::claim(self, worker, &offer, now).await
    }

    async fn beat(&self, id: AgentId, beat: Beat) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let found = change_condition(&mut tx, id, |condition| {
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
        tx.commit().await.map_err(failed)?;
        Ok(found)
    }

    async fn heard(&self, id: AgentId, now: Timestamp) -> Result<(), StoreError> {
        let known = one(&self.readers, condition_of(id), condition).await?;
        if known.and_then(|known| known.heard(now)).is_none() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        change_condition(&mut tx, id, |known| {
            known.clone().heard(now).unwrap_or(known)
        })
        .await?;
        tx.commit().await.map_err(failed)
    }
}

pub fn candidate(row: &SqliteRow) -> Result<Candidate, StoreError> {
    let row = Reader(row);
    Ok(Candidate {
        agent: RegisteredAgent {
            id: AgentId::from_uuid(row.get("id")?),
            tenant: row
                .get::<Option<Uuid>>("tenant_id")?
                .map(TenantId::from_uuid),
            definition: row.json("definition")?,
            draining: row.get("draining")?,
            condition: row.json("condition")?,
            version: row.get("version")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        },
        in_use: row.count("in_use")?,
    })
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

fn condition_of(id: AgentId) -> Bound<'static> {
    sqlx::query("SELECT condition FROM agents WHERE id = ?").bind(id.as_uuid())
}

fn condition(row: &SqliteRow) -> Result<Condition, StoreError> {
    Reader(row).json("condition")
}

/// False: the agent is gone.
pub async fn change_condition(
    connection: &mut SqliteConnection,
    id: AgentId,
    change: impl FnOnce(Condition) -> Condition,
) -> Result<bool, StoreError> {
    let Some(before) = one(&mut *connection, condition_of(id), condition).await? else {
        return Ok(false);
    };
    sqlx::query("UPDATE agents SET condition = ?2 WHERE id = ?1")
        .bind(id.as_uuid())
        .bind(json(&change(before))?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(true)
}
