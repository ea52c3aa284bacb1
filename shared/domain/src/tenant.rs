//! A tenant: the unit of isolation, quota and fairness.

use serde::{Deserialize, Serialize};

use crate::{JobKind, LimitChange, MonthlyLimits, TenantId, Timestamp, Violations};

const QUOTA_MAX: u64 = 100_000;
const QUEUED_MAX: u64 = 100_000_000;
const WEIGHT_MAX: u64 = 1_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    pub id: TenantId,
    pub slug: String,
    pub name: String,
    /// An inactive tenant's jobs are neither accepted nor run.
    pub active: bool,
    /// Its share of the workers relative to others.
    pub weight: u32,
    /// How many of its jobs may wait at once, all kinds together.
    pub max_queued: u32,
    pub quotas: Quotas,
    /// What its sessions may use in a month.
    pub monthly: MonthlyLimits,
    /// Rises with every change; what `ETag` shows.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How many jobs of each kind may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    pub session: u32,
    pub training: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            session: 10,
            training: 1,
        }
    }
}

impl Quotas {
    pub const fn of(&self, kind: JobKind) -> u32 {
        match kind {
            JobKind::Session => self.session,
            JobKind::Training => self.training,
        }
    }

    fn check(self, violations: &mut Violations) {
        for kind in JobKind::ALL {
            let (pointer, quota) = (format!("/quotas/{kind}"), self.of(kind));
            if quota == 0 {
                let detail = format!(
                    "is 0; must be between 1 and {QUOTA_MAX}. To start no more of these jobs, pause the queue instead"
                );
                violations.add(pointer, detail);
            } else {
                violations.range(&pointer, quota.into(), 1, QUOTA_MAX);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewTenant {
    pub slug: String,
    pub name: String,
    pub quotas: Quotas,
    pub max_queued: u32,
    pub weight: u32,
    pub monthly: MonthlyLimits,
}

impl NewTenant {
    pub const DEFAULT_MAX_QUEUED: u32 = 10_000;
    pub const DEFAULT_WEIGHT: u32 = 1;

    pub fn into_tenant(self, id: TenantId, now: Timestamp) -> Result<Tenant, Violations> {
        let mut violations = Violations::default();
        if !is_slug(&self.slug) {
            violations.add(
                "/slug",
                "must be 1 to 63 characters of a-z, 0-9 and -, starting and ending with a letter or digit",
            );
        }
        violations.text("/name", &self.name, 1, 200);
        let tenant = Tenant {
            id,
            slug: self.slug,
            name: self.name,
            active: true,
            weight: self.weight,
            max_queued: self.max_queued,
            quotas: self.quotas,
            monthly: self.monthly,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        tenant.check(&mut violations);
        violations.or(tenant)
    }
}

/// What to change; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantChange {
    pub name: Option<String>,
    pub active: Option<bool>,
    pub weight: Option<u32>,
    pub max_queued: Option<u32>,
    pub session_quota: Option<u32>,
    pub training_quota: Option<u32>,
    pub monthly_tokens: LimitChange<u64>,
    pub monthly_cost_usd: LimitChange<f64>,
}

impl Tenant {
    /// The tenant after `change`. Running jobs above a lowered quota go on; no new ones start until there is room.
    pub fn change(mut self, change: TenantChange, now: Timestamp) -> Result<Self, Violations> {
        if let Some(name) = change.name {
            self.name = name;
        }
        self.active = change.active.unwrap_or(self.active);
        self.weight = change.weight.unwrap_or(self.weight);
        self.max_queued = change.max_queued.unwrap_or(self.max_queued);
        self.quotas.session = change.session_quota.unwrap_or(self.quotas.session);
        self.quotas.training = change.training_quota.unwrap_or(self.quotas.training);
        self.monthly = MonthlyLimits {
            tokens: change.monthly_tokens.apply(self.monthly.tokens),
            cost_usd: change.monthly_cost_usd.apply(self.monthly.cost_usd),
        };
        self.version += 1;
        self.updated_at = now;
        let mut violations = Violations::default();
        violations.text("/name", &self.name, 1, 200);
        self.check(&mut violations);
        violations.or(self)
    }

    fn check(&self, violations: &mut Violations) {
        violations.range("/weight", self.weight.into(), 1, WEIGHT_MAX);
        violations.range("/max_queued", self.max_queued.into(), 1, QUEUED_MAX);
        self.quotas.check(violations);
        self.monthly.check(violations);
    }
}

fn is_slug(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
