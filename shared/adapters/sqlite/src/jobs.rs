//! The clients' port, a transaction a file.

use application::ports::{
    CheckpointView, JobFilter, JobStore, QueueAction, QueueView, Restored, SteerError, Steered,
    StoreError, Submission, Submitted, Waiting,
};
use async_trait::async_trait;
use domain::{
    Action, Artifact, ArtifactId, Attempt, Checkpoint, Job, JobEvent, JobId, JobKind, LogChunk,
    LogCursor, SlotSnapshot, TenantId, Timestamp,
};

use crate::{
    SqliteStore, checkpoints, history, list, queue_steering, read, steer, submit, waiting,
};

#[async_trait]
impl JobStore for SqliteStore {
    async fn submit(
        &self,
        submissions: Vec<Submission>,
        now: Timestamp,
    ) -> Result<Submitted, StoreError> {
        submit::submit(self, submissions, now).await
    }

    async fn get(&self, tenant: TenantId, job: JobId) -> Result<Option<Job>, StoreError> {
        read::get(self, tenant, job).await
    }

    async fn list(&self, tenant: TenantId, filter: JobFilter) -> Result<Vec<Job>, StoreError> {
        list::list(self, tenant, filter).await
    }

    async fn steer(
        &self,
        tenant: TenantId,
        job: JobId,
        action: Action,
        now: Timestamp,
    ) -> Result<Option<Steered>, SteerError> {
        steer::steer(self, tenant, job, action, now).await
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<JobEvent>>, StoreError> {
        history::events(self, tenant, job, after, limit).await
    }

    async fn logs(
        &self,
        tenant: TenantId,
        job: JobId,
        after: LogCursor,
        limit: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError> {
        history::logs(self, tenant, job, after, limit).await
    }

    async fn log_tail(
        &self,
        tenant: TenantId,
        job: JobId,
        count: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError> {
        history::log_tail(self, tenant, job, count).await
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Attempt>>, StoreError> {
        history::attempts(self, tenant, job).await
    }

    async fn artifacts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Artifact>>, StoreError> {
        history::artifacts(self, tenant, job).await
    }

    async fn artifact(
        &self,
        tenant: TenantId,
        job: JobId,
        artifact: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError> {
        history::artifact(self, tenant, job, artifact).await
    }

    async fn latest_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        history::latest_checkpoint(self, tenant, job).await
    }

    async fn checkpoints(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<CheckpointView>>, StoreError> {
        checkpoints::list(self, tenant, job).await
    }

    async fn restore_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
        number: u32,
        now: Timestamp,
    ) -> Result<Restored, StoreError> {
        checkpoints::restore(self, tenant, job, number, now).await
    }

    async fn queues(&self, tenant: TenantId) -> Result<Vec<QueueView>, StoreError> {
        read::queues(self, tenant).await
    }

    async fn steer_queues(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        action: QueueAction,
    ) -> Result<Option<Vec<SlotSnapshot>>, StoreError> {
        queue_steering::steer_queues(self, tenant, kind, action).await
    }

    async fn waiting(
        &self,
        tenant: TenantId,
        job: JobId,
        now: Timestamp,
    ) -> Result<Option<Waiting>, StoreError> {
        waiting::waiting(self, tenant, job, now).await
    }
}
