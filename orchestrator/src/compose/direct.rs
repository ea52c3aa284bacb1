//! The store alone, for commands that must work before any server does: the first key of an installation.
//!
//! The rest of the ports is in this process and reaches nobody. That loses nothing: the servers' own hints come from
//! the store.

use std::path::Path;
use std::sync::Arc;

use adapter_embedded::{
    EmbeddedBus, EmbeddedLocks, EmbeddedQueue, EmbeddedReady, SystemClock, SystemIds,
};
use application::ports::{
    AgentStore, AgentTaskStore, BlobError, Blobs, EngineStore, JobStore, KeyStore, Ports,
    ReplayStore, ScheduleStore, TenantStore,
};
use async_trait::async_trait;
use domain::{ArtifactId, TenantId};
use futures::stream::BoxStream;

use super::data_dir::DataDir;
use super::embedded::open_store;
use super::services;
use crate::config::Config;

/// The ports over the store that the configuration names: the `--data-dir` that was given, or PostgreSQL, or a data
/// folder that was set in another way. `None` when it names no store.
pub async fn open(config: &Config) -> anyhow::Result<Option<Ports>> {
    let settings = &config.settings;
    let folder_was_said = config.source("data_dir").starts_with("--");
    if let Some(url) = settings.database_url.as_ref().filter(|_| !folder_was_said) {
        let store = services::connect(url).await?;
        services::check_schema(&store).await?;
        return Ok(Some(over(Arc::new(store))));
    }
    if config.is_set("data_dir") {
        let dir = DataDir::open(&settings.data_dir)?;
        return Ok(Some(over(Arc::new(open_store(&dir).await?))));
    }
    Ok(None)
}

fn over<S>(store: Arc<S>) -> Ports
where
    S: AgentStore
        + AgentTaskStore
        + JobStore
        + EngineStore
        + TenantStore
        + KeyStore
        + ScheduleStore
        + ReplayStore
        + 'static,
{
    Ports {
        jobs: store.clone(),
        engine: store.clone(),
        tenants: store.clone(),
        agents: store.clone(),
        agent_tasks: store.clone(),
        schedules: store.clone(),
        keys: store.clone(),
        replays: store,
        queue: Arc::new(EmbeddedQueue::default()),
        ready: Arc::new(EmbeddedReady::default()),
        locks: Arc::new(EmbeddedLocks::default()),
        bus: Arc::new(EmbeddedBus::default()),
        blobs: Arc::new(NoArtifacts),
        clock: Arc::new(SystemClock::default()),
        ids: Arc::new(SystemIds::default()),
    }
}

/// Commands that work on the store alone have no business with artifacts.
struct NoArtifacts;

impl NoArtifacts {
    fn refuse<T>() -> Result<T, BlobError> {
        Err(BlobError("this command does not open artifacts".to_owned()))
    }
}

#[async_trait]
impl Blobs for NoArtifacts {
    async fn put_file(&self, _: TenantId, _: ArtifactId, _: &Path) -> Result<(), BlobError> {
        Self::refuse()
    }

    async fn put(&self, _: TenantId, _: ArtifactId, _: Vec<u8>) -> Result<(), BlobError> {
        Self::refuse()
    }

    async fn get(
        &self,
        _: TenantId,
        _: ArtifactId,
    ) -> Result<Option<BoxStream<'static, Result<Vec<u8>, BlobError>>>, BlobError> {
        Self::refuse()
    }
}
