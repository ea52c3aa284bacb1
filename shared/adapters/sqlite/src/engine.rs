//! The engine's port, a transaction a file.

use std::time::Duration;

use application::ports::{
    ClaimRequest, Claimed, EngineStore, Finish, Finished, Guard, LeaseError, Moved, NewWorker,
    Promoted, Reaped, Reconciled, Relayed, Renewal, Report, Reported, Standing, StoreError,
    Wakeups,
};
use async_trait::async_trait;
use domain::{
    JobId, JobKind, Labels, QueueKey, SlotSnapshot, TenantId, Timestamp, WorkerRef, WorkerView,
};

use crate::{
    SqliteStore, budgets, claim, expire, fences, finish, labelled, lease, months, promote, reap,
    reconcile, relay, release, report, workers,
};

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

    async fn unpublish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<SlotSnapshot>, StoreError> {
        relay::unpublish(self, &wakeups).await
    }

    async fn claim(
        &self,
        worker: WorkerRef,
        requests: Vec<ClaimRequest>,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        claim::claim(self, worker, requests, now).await
    }

    async fn labelled(
        &self,
        kinds: &[JobKind],
        labels: &Labels,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(QueueKey, u32)>, StoreError> {
        labelled::labelled(self, kinds, labels, limit, now).await
    }

    async fn promote(&self, limit: u32, now: Timestamp) -> Result<Promoted, StoreError> {
        promote::promote(self, limit, now).await
    }

    async fn release(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
        release::release(self, limit, now).await
    }

    async fn expire(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
        expire::expire(self, limit, now).await
    }

    async fn turn_months(&self, now: Timestamp) -> Result<Vec<SlotSnapshot>, StoreError> {
        months::turn(self, now).await
    }

    async fn standing(&self, tenant: TenantId, job: JobId) -> Result<Option<Standing>, StoreError> {
        budgets::standing(self, tenant, job).await
    }

    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Reported, StoreError> {
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

    async fn reconcile(&self, silence: Duration, now: Timestamp) -> Result<Reconciled, StoreError> {
        reconcile::reconcile(self, silence, now).await
    }

    async fn recount_published(
        &self,
        counted: Vec<(SlotSnapshot, u32)>,
    ) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::recount_published(self, &counted).await
    }

    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::forget_published(self).await
    }

    async fn next_fence(&self, resource: &str) -> Result<i64, StoreError> {
        fences::next_fence(self, resource).await
    }

    async fn is_latest_fence(&self, guard: &Guard) -> Result<bool, StoreError> {
        fences::is_latest(self, guard).await
    }

    async fn slots(&self, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::slots(self, limit).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, StoreError> {
        workers::workers(self).await
    }
}
