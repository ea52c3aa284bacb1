//! A new API key. What is stored is the hash of its secret; the key itself is returned once and never again.

use domain::{ApiKey, ApiKeyId, Role, TenantId, Timestamp};

use super::authenticate::{KEY_PREFIX, SECRET_BYTES, hash};
use crate::ports::{Ports, StoreError};

#[derive(Debug, Clone)]
pub struct NewKey {
    pub tenant: TenantId,
    pub role: Role,
    pub name: String,
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    #[error("tenant {0} does not exist")]
    TenantUnknown(TenantId),
    #[error("the system has no random numbers to give: {0}")]
    NoRandomness(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stores a key and returns it with its text, `orc_<id>_<secret>`.
pub async fn create_key(ports: &Ports, new: NewKey) -> Result<(ApiKey, String), CreateKeyError> {
    if ports.tenants.tenant(new.tenant).await?.is_none() {
        return Err(CreateKeyError::TenantUnknown(new.tenant));
    }
    let now = ports.clock.now();
    let mut secret = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| CreateKeyError::NoRandomness(error.to_string()))?;
    let secret = hex::encode(secret);
    let key = ApiKey {
        id: ApiKeyId::from_uuid(ports.ids.next(now)),
        tenant: new.tenant,
        role: new.role,
        name: new.name,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    ports.keys.create_key(key.clone(), hash(&secret)).await?;
    let text = format!("{KEY_PREFIX}{}_{secret}", key.id.as_uuid().simple());
    Ok((key, text))
}
