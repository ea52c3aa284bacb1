//! The engine's port, a transaction a file.

use std::time::Duration;

use application::ports::{
    ClaimRequest, Claimed, EngineStore, Finish, Finished, LeaseError, Message, NewWorker, Reaped,
    Reconciled, Relayed, Renewal, Report, StoreError,
};
use async_trait::async_trait;
use domain::{JobId, SlotSnapshot, Timestamp, WorkerRef, WorkerView};

use crate::{SqliteStore, claim, finish, lease, reap, reconcile, relay, report, workers};

#[async_trait]
impl EngineStore for SqliteStore {
    async fn register_worker(
        &self,
        worker: NewWorker,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<WorkerRef, StoreError> {
        lease::register_worker(self, worker, lease_until, now).await
    }

    async fn renew_lease(
        &self,
        worker: WorkerRef,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Renewal, LeaseError> {
        lease::renew_lease(self, worker, lease_until, now).await
    }

    async fn drain_worker(&self, worker: WorkerRef) -> Result<(), StoreError> {
        lease::drain_worker(self, worker).await
    }

    async fn release_worker(&self, worker: WorkerRef, now: Timestamp) -> Result<(), StoreError> {
        lease::release_worker(self, worker, now).await
    }

    async fn relay(&self, limit: u32, now: Timestamp) -> Result<Relayed, StoreError> {
        relay::relay(self, limit, now).await
    }

    async fn unpublish(&self, messages: Vec<Message>) -> Result<Vec<SlotSnapshot>, StoreError> {
        relay::unpublish(self, messages).await
    }

    async fn claim(
        &self,
        worker: WorkerRef,
        requests: Vec<ClaimRequest>,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        claim::claim(self, worker, requests, now).await
    }

    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, StoreError> {
        report::report(self, worker, reports, now).await
    }

    async fn finish(
        &self,
        worker: WorkerRef,
        finishes: Vec<Finish>,
        now: Timestamp,
    ) -> Result<Finished, StoreError> {
        finish::finish(self, worker, finishes, now).await
    }

    async fn reap(
        &self,
        grace: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Reaped, StoreError> {
        reap::reap(self, grace, limit, now).await
    }

    async fn reconcile(&self, stale: Duration, now: Timestamp) -> Result<Reconciled, StoreError> {
        reconcile::reconcile(self, stale, now).await
    }

    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::forget_published(self).await
    }

    async fn slots(&self, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::slots(self, limit).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, StoreError> {
        workers::workers(self).await
    }
}
