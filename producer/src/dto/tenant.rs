use chrono::{DateTime, Utc};
use domain::{
    LimitChange, Month, MonthUse, MonthlyLimits, NewTenant, Quotas, Tenant, TenantChange,
    Timestamp, money,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A tenant: the unit of isolation, quota and fairness.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantBody {
    pub id: Uuid,
    #[schema(example = "acme")]
    pub slug: String,
    pub name: String,
    /// An inactive tenant's jobs are neither accepted nor run.
    pub active: bool,
    /// Its share of the workers relative to others.
    pub weight: u32,
    /// How many of its jobs may wait at once.
    pub max_queued: u32,
    pub quotas: QuotasBody,
    /// Tokens that its sessions may use in a calendar month (UTC), together; null: no limit.
    pub monthly_tokens: Option<u64>,
    /// What they may cost in a calendar month, as their agents report it; null: no limit.
    pub monthly_cost_usd: Option<f64>,
    /// What they have used in this month. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub this_month: Option<MonthBody>,
    /// The same as in the `ETag`.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a tenant's sessions have used in a calendar month.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantMonth)]
pub(crate) struct MonthBody {
    #[schema(example = "2026-11")]
    pub month: String,
    pub tokens: u64,
    pub cost_usd: f64,
    /// True when it is as much as they may use: no session starts before the month has ended.
    pub used_up: bool,
    /// When the next one begins.
    pub ends_at: DateTime<Utc>,
}

/// How many jobs of each kind may run at once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quotas)]
pub(crate) struct QuotasBody {
    pub session: u32,
    pub training: u32,
}

/// A page of tenants, by slug.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantPage {
    pub items: Vec<TenantBody>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A tenant to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTenant)]
pub(crate) struct NewTenantBody {
    /// 1 to 63 of a-z, 0-9 and -; unique; never changes.
    #[schema(example = "acme")]
    pub slug: String,
    /// For people; absent: the slug.
    pub name: Option<String>,
    #[serde(default)]
    pub quotas: SomeQuotas,
    /// Absent: 10,000.
    pub max_queued: Option<u32>,
    /// Absent: 1.
    pub weight: Option<u32>,
    /// Absent: no limit.
    #[schema(example = 50_000_000)]
    pub monthly_tokens: Option<u64>,
    /// Absent: no limit.
    #[schema(example = 250.0)]
    pub monthly_cost_usd: Option<f64>,
}

/// Quotas by kind; those left out keep their value, or are 10 for sessions and 1 for training in a new tenant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SomeQuotas {
    /// At least 1.
    #[schema(example = 2)]
    pub session: Option<u32>,
    /// At least 1.
    #[schema(example = 1)]
    pub training: Option<u32>,
}

/// What to change about a tenant; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange)]
pub(crate) struct TenantChangeBody {
    pub name: Option<String>,
    pub active: Option<bool>,
    #[serde(default)]
    pub quotas: SomeQuotas,
    pub max_queued: Option<u32>,
    pub weight: Option<u32>,
    /// Null takes the limit away. What was used in this month counts at once.
    #[serde(default, deserialize_with = "limit")]
    #[schema(value_type = Option<u64>)]
    pub monthly_tokens: LimitChange<u64>,
    /// Null takes the limit away. What was used in this month counts at once.
    #[serde(default, deserialize_with = "limit")]
    #[schema(value_type = Option<f64>)]
    pub monthly_cost_usd: LimitChange<f64>,
}

/// A field that is there: null is no limit.
fn limit<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<LimitChange<T>, D::Error> {
    let limit = Option::deserialize(field)?;
    Ok(limit.map_or(LimitChange::Lift, LimitChange::Set))
}

impl TenantBody {
    /// With what was used in the month that `now` lies in.
    pub(crate) fn in_month(tenant: Tenant, used: MonthUse, now: Timestamp) -> Self {
        let month = Month::of(now);
        let this_month = MonthBody {
            month: month.to_string(),
            tokens: used.tokens,
            // Added up by the store, run by run.
            cost_usd: money(used.cost_usd),
            used_up: tenant.monthly.used_up(used).is_some(),
            ends_at: month.ends(),
        };
        Self {
            this_month: Some(this_month),
            ..Self::from(tenant)
        }
    }
}

impl From<Tenant> for TenantBody {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id.as_uuid(),
            slug: tenant.slug,
            name: tenant.name,
            active: tenant.active,
            weight: tenant.weight,
            max_queued: tenant.max_queued,
            quotas: QuotasBody {
                session: tenant.quotas.session,
                training: tenant.quotas.training,
            },
            monthly_tokens: tenant.monthly.tokens,
            monthly_cost_usd: tenant.monthly.cost_usd,
            this_month: None,
            version: tenant.version,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

impl From<NewTenantBody> for NewTenant {
    fn from(body: NewTenantBody) -> Self {
        let defaults = Quotas::default();
        Self {
            name: body.name.unwrap_or_else(|| body.slug.clone()),
            slug: body.slug,
            quotas: Quotas {
                session: body.quotas.session.unwrap_or(defaults.session),
                training: body.quotas.training.unwrap_or(defaults.training),
            },
            max_queued: body.max_queued.unwrap_or(Self::DEFAULT_MAX_QUEUED),
            weight: body.weight.unwrap_or(Self::DEFAULT_WEIGHT),
            monthly: MonthlyLimits {
                tokens: body.monthly_tokens,
                cost_usd: body.monthly_cost_usd,
            },
        }
    }
}

impl From<TenantChangeBody> for TenantChange {
    fn from(body: TenantChangeBody) -> Self {
        Self {
            name: body.name,
            active: body.active,
            weight: body.weight,
            max_queued: body.max_queued,
            session_quota: body.quotas.session,
            training_quota: body.quotas.training,
            monthly_tokens: body.monthly_tokens,
            monthly_cost_usd: body.monthly_cost_usd,
        }
    }
}
