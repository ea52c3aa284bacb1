//! Registered agents: how they are found, and who does what with them. `registration` is what people say of them,
//! `condition` what they say of themselves.

mod condition;
mod registration;

use application::ports::{
    AgentError, AgentStore, Claimed, KeyHash, LeaseError, StoreError, TokenHasher,
};
use async_trait::async_trait;
use domain::{
    AgentChange, AgentId, Beat, Candidate, JobId, RegisteredAgent, RoutedOffer, TenantId,
    Timestamp, WorkerRef,
};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::corrupt;
use crate::rows::Reader;
use crate::statement::{all, one, run};
use crate::{SqliteStore, routed};

pub use condition::change_condition;

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
use agents_where;

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

#[async_trait]
impl AgentStore for SqliteStore {
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        token: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError> {
        registration::register(self, agent, token).await
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
        wanted: AgentChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<RegisteredAgent>, AgentError> {
        registration::change(self, owner, id, wanted, expected, now).await
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
        condition::beaten(self, id, beat).await
    }

    async fn heard(&self, id: AgentId, now: Timestamp) -> Result<(), StoreError> {
        condition::heard(self, id, now).await
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
