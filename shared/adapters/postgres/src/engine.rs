//! The engine's port, a transaction a file.

use std::time::Duration;

use application::ports::{
    ClaimRequest, Claimed, EngineStore, Finish, Finished, LeaseError, Message, NewWorker, Reaped,
    Reconciled, Relayed, Renewal, Report, StoreError,
};
use async_trait::async_trait;
use domain::{JobId, SlotSnapshot, Timestamp, WorkerRef, WorkerView};

use crate::error::During;
use crate::{PostgresStore, claim, finish, lease, reap, reconcile, relay, report, workers};

#[async_trait]
impl EngineStore for PostgresStore {
    async fn register_worker(
        &self,
        worker: NewWorker,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<WorkerRef, StoreError> {
        lease::register(self, worker, lease_until, now)
            .await
            .during("registering a worker")
    }

    async fn renew_lease(
        &self,
        worker: WorkerRef,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Renewal, LeaseError> {
        lease::renew(self, worker, lease_until, now)
            .await
            .during("renewing a lease")?
            .ok_or(LeaseError::Lost(worker))
    }

    async fn drain_worker(&self, worker: WorkerRef) -> Result<(), StoreError> {
        lease::drain(self, worker).await.during("draining a worker")
    }

    async fn release_worker(&self, worker: WorkerRef, now: Timestamp) -> Result<(), StoreError> {
        lease::release(self, worker, now)
            .await
            .during("releasing a worker")
    }

    async fn relay(&self, limit: u32, now: Timestamp) -> Result<Relayed, StoreError> {
        relay::relay(self, limit, now).await.during("relaying jobs")
    }

    async fn unpublish(&self, messages: Vec<Message>) -> Result<Vec<SlotSnapshot>, StoreError> {
        relay::unpublish(self, messages)
            .await
            .during("taking back messages")
    }

    async fn claim(
        &self,
        worker: WorkerRef,
        requests: Vec<ClaimRequest>,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        claim::claim(self, worker, requests, now)
            .await
            .during("claiming jobs")?
            .ok_or(LeaseError::Lost(worker))
    }

    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, StoreError> {
        report::report(self, worker, reports, now)
            .await
            .during("writing what runs reported")
    }

    async fn finish(
        &self,
        worker: WorkerRef,
        finishes: Vec<Finish>,
        now: Timestamp,
    ) -> Result<Finished, StoreError> {
        finish::finish(self, worker, finishes, now)
            .await
            .during("finishing jobs")
    }

    async fn reap(
        &self,
        grace: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Reaped, StoreError> {
        reap::reap(self, grace, limit, now)
            .await
            .during("reaping workers")
    }

    async fn reconcile(&self, stale: Duration, now: Timestamp) -> Result<Reconciled, StoreError> {
        reconcile::reconcile(self, stale, now)
            .await
            .during("reconciling queues")
    }

    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::forget_published(self)
            .await
            .during("forgetting the broker's messages")
    }

    async fn slots(&self, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::slots(self, limit)
            .await
            .during("reading the slots of all queues")
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, StoreError> {
        workers::all(self).await.during("reading workers")
    }
}
