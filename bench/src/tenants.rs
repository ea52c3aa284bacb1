//! Tenants of an installation, made through the API as an operator would.

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;

use crate::http::Caller;
use crate::installation::Installation;

/// More than any scenario submits.
const BACKLOG_MAX: u32 = 100_000_000;

/// A tenant, and a caller with a key of its own.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: Uuid,
    pub caller: Caller,
}

impl Installation {
    /// A tenant with this quota of sessions and room for any backlog.
    pub async fn tenant(&self, slug: &str, quota: u32) -> anyhow::Result<Tenant> {
        let id = self.tenant_without_key(slug, quota).await?;
        let admin = Caller {
            tenant: Some(id.to_string()),
            ..self.admin.clone()
        };
        let body = json!({"name": "bench", "role": "member"}).to_string();
        let key = admin.expect(201, "POST", "/api/v1/keys", &body).await?;
        let key = key["key"].as_str().context("a new key has its text")?;
        let caller = Caller {
            port: self.port,
            key: key.to_owned(),
            tenant: None,
        };
        Ok(Tenant { id, caller })
    }

    async fn tenant_without_key(&self, slug: &str, quota: u32) -> anyhow::Result<Uuid> {
        let body = tenant_body(slug, quota);
        let tenant = self
            .admin
            .expect(201, "POST", "/api/v1/tenants", &body)
            .await?;
        Ok(tenant["id"]
            .as_str()
            .context("a tenant has an id")?
            .parse()?)
    }
}

pub fn tenant_body(slug: &str, quota: u32) -> String {
    json!({
        "slug": slug,
        "quotas": {"session": quota, "training": 1},
        "max_queued": BACKLOG_MAX,
    })
    .to_string()
}
