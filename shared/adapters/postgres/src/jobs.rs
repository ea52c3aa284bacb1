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

use crate::error::During;
use crate::{
    PostgresStore, checkpoints, history, list, queue_steering, read, steer, submit, waiting,
};

#[async_trait]
impl JobStore for PostgresStore {
    async fn submit(
        &self,
        submissions: Vec<Submission>,
        now: Timestamp,
    ) -> Result<Submitted, StoreError> {
        submit::submit(self, submissions, now)
            .await
            .during("submitting jobs")
    }

    async fn get(&self, tenant: TenantId, job: JobId) -> Result<Option<Job>, StoreError> {
        read::get(self, tenant, job).await.during("reading a job")
    }

    async fn list(&self, tenant: TenantId, filter: JobFilter) -> Result<Vec<Job>, StoreError> {
        list::list(self, tenant, filter)
            .await
            .during("listing jobs")
    }

    async fn steer(
        &self,
        tenant: TenantId,
        job: JobId,
        action: Action,
        now: Timestamp,
    ) -> Result<Option<Steered>, SteerError> {
        steer::steer(self, tenant, job, action, now)
            .await
            .during("steering a job")?
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<JobEvent>>, StoreError> {
        history::events(self, (tenant, job), after, limit)
            .await
            .during("reading a job's events")
    }

    async fn logs(
        &self,
        tenant: TenantId,
        job: JobId,
        after: LogCursor,
        limit: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError> {
        history::logs(self, (tenant, job), after, limit)
            .await
            .during("reading a job's log")
    }

    async fn log_tail(
        &self,
        tenant: TenantId,
        job: JobId,
        count: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError> {
        history::log_tail(self, (tenant, job), count)
            .await
            .during("reading the end of a job's log")
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Attempt>>, StoreError> {
        history::attempts(self, (tenant, job))
            .await
            .during("reading a job's attempts")
    }

    async fn artifacts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Artifact>>, StoreError> {
        history::artifacts(self, (tenant, job))
            .await
            .during("reading a job's artifacts")
    }

    async fn artifact(
        &self,
        tenant: TenantId,
        job: JobId,
        artifact: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError> {
        history::artifact(self, (tenant, job), artifact)
            .await
            .during("reading an artifact")
    }

    async fn latest_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        history::latest_checkpoint(self, (tenant, job))
            .await
            .during("reading a job's latest checkpoint")
    }

    async fn checkpoints(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<CheckpointView>>, StoreError> {
        checkpoints::list(self, (tenant, job))
            .await
            .during("reading a job's checkpoints")
    }

    async fn restore_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
        number: u32,
        now: Timestamp,
    ) -> Result<Restored, StoreError> {
        checkpoints::restore(self, (tenant, job), number, now)
            .await
            .during("restoring a checkpoint")
    }

    async fn queues(&self, tenant: TenantId) -> Result<Vec<QueueView>, StoreError> {
        read::queues(self, tenant).await.during("reading queues")
    }

    async fn steer_queues(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        action: QueueAction,
    ) -> Result<Option<Vec<SlotSnapshot>>, StoreError> {
        queue_steering::steer(self, tenant, kind, action)
            .await
            .during("steering queues")
    }

    async fn waiting(
        &self,
        tenant: TenantId,
        job: JobId,
        now: Timestamp,
    ) -> Result<Option<Waiting>, StoreError> {
        waiting::waiting(self, tenant, job, now)
            .await
            .during("reading why a job waits")
    }
}
