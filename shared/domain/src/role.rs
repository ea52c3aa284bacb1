//! Who may do what: one table from permission to the least role that has it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Roles in rising order; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Submits and steers jobs.
    Member,
    /// Manages the tenant; the highest role that stays within one.
    Lead,
    /// Runs the system; may act for any tenant.
    Admin,
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; use viewer, member, lead or admin")]
pub struct UnknownRole(pub String);

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Lead, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Lead => "lead",
            Self::Admin => "admin",
        }
    }

    /// What who has it may do, as the end of a sentence; for people who hand it out.
    pub const fn powers(self) -> &'static str {
        match self {
            Self::Viewer => "reads the tenant's jobs and agents",
            Self::Member => "reads the tenant's jobs and agents, submits jobs and steers them",
            Self::Lead => {
                "manages the tenant: its jobs, queues, agents and keys, and of other tenants nothing"
            }
            Self::Admin => {
                "runs the WHOLE SYSTEM: it acts for EVERY tenant, makes tenants and sets their quotas, sees the workers \
                 and manages the agents that all share"
            }
        }
    }

    pub fn may(self, permit: Permit) -> bool {
        self >= permit.least_role()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(64).collect()))
    }
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permit {
    ReadJobs,
    SubmitJobs,
    SteerJobs,
    /// Pause, resume and drain the tenant's queues.
    SteerQueues,
    ReadTenant,
    ManageKeys,
    /// Create tenants and change their quotas.
    ManageTenants,
    ReadWorkers,
    ReadAgents,
    /// Register, change and remove agents of the tenant.
    ManageAgents,
    /// The same for agents that all tenants share.
    ManageSharedAgents,
}

impl Permit {
    pub const fn least_role(self) -> Role {
        match self {
            Self::ReadJobs | Self::ReadTenant | Self::ReadAgents => Role::Viewer,
            Self::SubmitJobs | Self::SteerJobs => Role::Member,
            Self::ManageKeys | Self::SteerQueues | Self::ManageAgents => Role::Lead,
            Self::ManageTenants | Self::ReadWorkers | Self::ManageSharedAgents => Role::Admin,
        }
    }
}
