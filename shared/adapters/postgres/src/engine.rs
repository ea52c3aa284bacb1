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

use crate::error::During;
use crate::{
    PostgresStore, budgets, claim, expire, fences, finish, labelled, lease, months, promote, reap,
    reconcile, relay, release, report, workers,
};

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

    async fn unpublish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<SlotSnapshot>, StoreError> {
        relay::unpublish(self, wakeups)
            .await
            .during("taking back wake-ups")
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

    async fn labelled(
        &self,
        kinds: &[JobKind],
        labels: &Labels,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(QueueKey, u32)>, StoreError> {
        labelled::labelled(self, kinds, labels, limit, now)
            .await
            .during("looking for labelled jobs")
    }

    async fn promote(&self, limit: u32, now: Timestamp) -> Result<Promoted, StoreError> {
        promote::promote(self, limit, now)
            .await
            .during("promoting jobs")
    }

    async fn release(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
        release::release(self, limit, now)
            .await
            .during("releasing jobs")
    }

    async fn expire(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
        expire::expire(self, limit, now)
            .await
            .during("expiring jobs")
    }

    async fn turn_months(&self, now: Timestamp) -> Result<Vec<SlotSnapshot>, StoreError> {
        months::turn(self, now)
            .await
            .during("turning the months of tenants")
    }

    async fn standing(&self, tenant: TenantId, job: JobId) -> Result<Option<Standing>, StoreError> {
        budgets::standing(self, tenant, job)
            .await
            .during("reading what a session has used")
    }

    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Reported, StoreError> {
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

    async fn reconcile(&self, silence: Duration, now: Timestamp) -> Result<Reconciled, StoreError> {
        reconcile::reconcile(self, silence, now)
            .await
            .during("reconciling queues")
    }

    async fn recount_published(
        &self,
        counted: Vec<(SlotSnapshot, u32)>,
    ) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::recount_published(self, counted)
            .await
            .during("correcting counts of wake-ups")
    }

    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError> {
        reconcile::forget_published(self)
            .await
            .during("forgetting the broker's wake-ups")
    }

    async fn next_fence(&self, resource: &str) -> Result<i64, StoreError> {
        fences::next(self, resource).await.during("raising a fence")
    }

    async fn is_latest_fence(&self, guard: &Guard) -> Result<bool, StoreError> {
        fences::is_latest(self, guard)
            .await
            .during("reading a fence")
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
