//! Locks that fail or say that they did.

use std::time::Duration;

use application::ports::{CoordinationError, LockState, Locks};
use async_trait::async_trait;

use super::Reach;

pub struct Line(pub Reach);

#[async_trait]
impl Locks for Line {
    async fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<LockState, CoordinationError> {
        let faults = self.0.process.world.plan.faults.locks;
        let locks = &self.0.services.locks;
        let call = async || locks.acquire(resource, owner, ttl).await;
        self.0.call("lock", faults, call, CoordinationError).await
    }

    async fn renew(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, CoordinationError> {
        let faults = self.0.process.world.plan.faults.locks;
        let locks = &self.0.services.locks;
        let call = async || locks.renew(resource, owner, ttl).await;
        self.0
            .call("lock_renew", faults, call, CoordinationError)
            .await
    }

    async fn release(&self, resource: &str, owner: &str) -> Result<bool, CoordinationError> {
        let faults = self.0.process.world.plan.faults.locks;
        let locks = &self.0.services.locks;
        let call = async || locks.release(resource, owner).await;
        self.0.call("unlock", faults, call, CoordinationError).await
    }
}
