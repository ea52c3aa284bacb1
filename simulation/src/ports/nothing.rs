//! Ports that dispatch has no use for: no keys, no agents, no files, and a folder that nobody looks into.

use std::path::Path;

use application::ports::{
    AgentError, AgentStore, AgentTaskStore, BlobError, Blobs, Claimed, Diff, HandlerError, KeyHash,
    KeyStore, LeaseError, LeasedTask, Offered, PushOrder, StoreError, TaskError, TaskHolder,
    TaskOffer, TaskView, TaskWatch, TokenHasher, Workspace, Workspaces,
};
use async_trait::async_trait;
use domain::{
    AgentChange, AgentId, ApiKey, ApiKeyId, ArtifactId, Beat, Candidate, JobId, Pushed,
    RegisteredAgent, Repository, RoutedOffer, TaskLease, TaskLeaseId, TaskReport, TenantId,
    Timestamp, Withdrawal, WorkerRef,
};
use futures::stream::BoxStream;

pub struct Nothing;

#[async_trait]
impl KeyStore for Nothing {
    async fn create_key(&self, _: ApiKey, _: KeyHash) -> Result<(), StoreError> {
        Ok(())
    }

    async fn key(&self, _: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, StoreError> {
        Ok(None)
    }

    async fn keys(&self, _: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn revoke_key(&self, _: TenantId, _: ApiKeyId, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl Blobs for Nothing {
    async fn put_file(&self, _: TenantId, _: ArtifactId, _: &Path) -> Result<(), BlobError> {
        Ok(())
    }

    async fn put(&self, _: TenantId, _: ArtifactId, _: Vec<u8>) -> Result<(), BlobError> {
        Ok(())
    }

    async fn get(
        &self,
        _: TenantId,
        _: ArtifactId,
    ) -> Result<Option<BoxStream<'static, Result<Vec<u8>, BlobError>>>, BlobError> {
        Ok(None)
    }
}

pub struct Folders;

#[async_trait]
impl Workspaces for Folders {
    async fn open(
        &self,
        _: JobId,
        _: u32,
        _: Option<&Repository>,
    ) -> Result<Box<dyn Workspace>, HandlerError> {
        Ok(Box::new(Folder))
    }

    async fn branch(&self, repository: &Repository) -> Result<String, HandlerError> {
        Ok(repository.path.clone())
    }
}

struct Folder;

#[async_trait]
impl Workspace for Folder {
    fn directory(&self) -> &Path {
        Path::new("/")
    }

    async fn diff(&self) -> Result<Option<Diff>, HandlerError> {
        Ok(None)
    }

    async fn apply(&self, _: &[u8]) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn push(&self, _: &PushOrder) -> Result<Option<Pushed>, HandlerError> {
        Ok(None)
    }

    async fn close(self: Box<Self>) {}
}

#[async_trait]
impl AgentStore for Nothing {
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        _: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError> {
        Ok(agent)
    }

    async fn agent(&self, _: TenantId, _: AgentId) -> Result<Option<Candidate>, StoreError> {
        Ok(None)
    }

    async fn agent_by_name(&self, _: TenantId, _: &str) -> Result<Option<Candidate>, StoreError> {
        Ok(None)
    }

    async fn agents(
        &self,
        _: TenantId,
        _: Option<(String, AgentId)>,
        _: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        Ok(Vec::new())
    }

    async fn change_agent(
        &self,
        _: Option<TenantId>,
        _: AgentId,
        _: AgentChange,
        _: Option<i64>,
        _: Timestamp,
    ) -> Result<Option<RegisteredAgent>, AgentError> {
        Ok(None)
    }

    async fn remove_agent(&self, _: Option<TenantId>, _: AgentId) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn agent_token(&self, _: AgentId) -> Result<Option<KeyHash>, StoreError> {
        Ok(None)
    }

    async fn agents_with_endpoint(
        &self,
        _: Option<AgentId>,
        _: u32,
    ) -> Result<Vec<RegisteredAgent>, StoreError> {
        Ok(Vec::new())
    }

    async fn agents_tried(&self, _: TenantId, _: JobId) -> Result<Vec<AgentId>, StoreError> {
        Ok(Vec::new())
    }

    async fn heard(&self, _: AgentId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn claim_routed(
        &self,
        _: WorkerRef,
        _: RoutedOffer,
        _: Timestamp,
    ) -> Result<Claimed, LeaseError> {
        Ok(Claimed::default())
    }

    async fn beat(&self, _: AgentId, _: Beat) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl AgentTaskStore for Nothing {
    async fn offer_task(&self, _: TaskOffer, _: Timestamp) -> Result<Offered, StoreError> {
        Ok(Offered::Fenced)
    }

    async fn watch_task(&self, _: TaskWatch) -> Result<Option<TaskView>, StoreError> {
        Ok(None)
    }

    async fn withdraw_task(
        &self,
        _: TaskWatch,
        _: Withdrawal,
        _: Timestamp,
    ) -> Result<Option<TaskView>, StoreError> {
        Ok(None)
    }

    async fn lease_task(
        &self,
        _: AgentId,
        _: TaskLeaseId,
        _: Timestamp,
    ) -> Result<Option<LeasedTask>, StoreError> {
        Ok(None)
    }

    async fn report_task(
        &self,
        _: TaskHolder,
        _: TaskReport,
        _: Timestamp,
    ) -> Result<TaskLease, TaskError> {
        Err(TaskError::Unknown)
    }

    async fn end_task(&self, _: TaskHolder, _: String, _: Timestamp) -> Result<(), TaskError> {
        Err(TaskError::Unknown)
    }
}
