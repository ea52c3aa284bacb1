//! Locks for what jobs or workers share. They are for efficiency: a guarded write still checks its fence.

use std::time::Duration;

use async_trait::async_trait;

use super::CoordinationError;

#[async_trait]
pub trait Locks: Send + Sync {
    /// Joins the line for `resource`, or asks again. First come, first served. A holder must call this or `renew`
    /// before `ttl` is over, and a waiter must ask again before `ttl` is over, or its place is gone.
    async fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<LockState, CoordinationError>;

    /// False: the lock is not (or no longer) this owner's.
    async fn renew(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, CoordinationError>;

    /// Gives the lock, or the place in the line, up. False: there was neither.
    async fn release(&self, resource: &str, owner: &str) -> Result<bool, CoordinationError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    Held,
    Waiting {
        /// So many are before this one, the holder included.
        ahead: u32,
        /// Who holds it now.
        holder: String,
    },
}
