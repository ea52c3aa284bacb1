//! Registered agents: how they are found, and who does what with them. `registration` is what people say of them,
//! `condition` what they say of themselves.

mod condition;
mod registration;

use std::sync::LazyLock;

use application::ports::{
    AgentError, AgentStore, Claimed, KeyHash, LeaseError, StoreError, TokenHasher,
};
use async_trait::async_trait;
use domain::{
    AgentChange, AgentId, Beat, Candidate, JobId, RegisteredAgent, RoutedOffer, TenantId,
    Timestamp, WorkerRef,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::{During, Failure};
use crate::json::text;
use crate::{PostgresStore, routed, rows, statement};

pub(crate) use condition::change_condition;

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
const DELETE: &str = "DELETE FROM agents WHERE id = $2 AND tenant_id IS NOT DISTINCT FROM $1";

const TOKEN: &str = "SELECT token_hash FROM agents WHERE id = $1 AND token_hash IS NOT NULL";

const TRIED: &str = "SELECT DISTINCT agent_id FROM job_attempts
    WHERE job_id = $1 AND tenant_id = $2 AND agent_id IS NOT NULL
        AND (outcome IS NULL OR outcome IN ('failed', 'timeout'))";

#[async_trait]
impl AgentStore for PostgresStore {
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        token: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError> {
        registration::register(self, agent, token)
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
        registration::change(self, owner, id, wanted, expected, now)
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
        condition::beaten(self, id, beat)
            .await
            .during("keeping a heartbeat")
    }

    async fn heard(&self, id: AgentId, now: Timestamp) -> Result<(), StoreError> {
        condition::heard(self, id, now)
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
