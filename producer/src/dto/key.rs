use chrono::{DateTime, Utc};
use domain::{ApiKey, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyBody {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub role: RoleBody,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A new API key, with its text for the only time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    pub about: KeyBody,
    /// The key itself: keep it safe, it is never shown again.
    pub key: String,
}

/// The keys of a tenant, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    pub items: Vec<KeyBody>,
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(crate) struct NewKeyBody {
    /// What it is for; 1 to 100 characters.
    #[schema(example = "ci")]
    pub name: String,
    pub role: RoleBody,
    /// Absent: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a key may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(crate) enum RoleBody {
    Viewer,
    Member,
    Lead,
    Admin,
}

impl From<RoleBody> for Role {
    fn from(role: RoleBody) -> Self {
        match role {
            RoleBody::Viewer => Self::Viewer,
            RoleBody::Member => Self::Member,
            RoleBody::Lead => Self::Lead,
            RoleBody::Admin => Self::Admin,
        }
    }
}

impl From<Role> for RoleBody {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Member => Self::Member,
            Role::Lead => Self::Lead,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<ApiKey> for KeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.as_uuid(),
            tenant_id: key.tenant.as_uuid(),
            role: key.role.into(),
            name: key.name,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}
