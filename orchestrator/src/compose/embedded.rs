//! Embedded mode: SQLite in the data folder, everything else in this process.

use std::sync::Arc;

use adapter_artifacts::FolderBlobs;
use adapter_embedded::{
    EmbeddedBus, EmbeddedLocks, EmbeddedQueue, EmbeddedReady, SystemClock, SystemIds,
};
use adapter_sqlite::SqliteStore;
use anyhow::Context as _;
use application::ports::Ports;
use application::use_cases::{NewKey, create_key, create_tenant};
use domain::{MonthlyLimits, NewTenant, Quotas, Role};

use super::DEFAULT_TENANT;
use super::data_dir::{Claimed, DataDir};
use crate::config::Settings;

pub struct Embedded {
    pub ports: Ports,
    store: SqliteStore,
}

impl Embedded {
    /// Opens the store of `dir`, or makes it, and brings its tables up to date.
    ///
    /// The folder is this process's alone: whoever worked here before is gone, and what it held is taken back at once
    /// instead of after a lease and a grace.
    pub async fn open(dir: &Claimed, settings: &Settings) -> anyhow::Result<Self> {
        let store = open_store(dir).await?;
        store.end_leases().await?;
        let artifacts = settings
            .artifacts_dir
            .clone()
            .unwrap_or_else(|| dir.path().join("artifacts"));
        let shared = Arc::new(store.clone());
        let ports = Ports {
            jobs: shared.clone(),
            engine: shared.clone(),
            tenants: shared.clone(),
            agents: shared.clone(),
            agent_tasks: shared.clone(),
            schedules: shared.clone(),
            replays: shared.clone(),
            keys: shared,
            queue: Arc::new(EmbeddedQueue::default()),
            ready: Arc::new(EmbeddedReady::default()),
            locks: Arc::new(EmbeddedLocks::default()),
            bus: Arc::new(EmbeddedBus::default()),
            blobs: Arc::new(FolderBlobs::open(&artifacts)?),
            clock: Arc::new(SystemClock::default()),
            ids: Arc::new(SystemIds::default()),
        };
        Ok(Self { ports, store })
    }

    /// Writes what is still to be written and closes the file.
    pub async fn close(self) {
        drop(self.ports);
        self.store.close().await;
    }
}

pub async fn open_store(dir: &DataDir) -> anyhow::Result<SqliteStore> {
    let path = dir.database();
    let cannot = || format!("the database {} cannot be used", path.display());
    let store = SqliteStore::open(&path).await.with_context(cannot)?;
    store.migrate().await.with_context(cannot)?;
    Ok(store)
}

/// What the first start makes: the tenant that everything begins with, and a key for the people on this machine.
pub async fn first_start(ports: &Ports, dir: &DataDir) -> anyhow::Result<()> {
    let tenant = match ports.tenants.tenant_by_slug(DEFAULT_TENANT).await? {
        Some(tenant) => tenant,
        None => create_tenant(ports, default_tenant()).await?,
    };
    if dir.has_admin_key() {
        return Ok(());
    }
    let new = NewKey {
        tenant: tenant.id,
        role: Role::Admin,
        name: "admin of this machine".to_owned(),
        expires_at: None,
    };
    let (_, text) = create_key(ports, new).await?;
    dir.write_admin_key(&text)
}

pub fn default_tenant() -> NewTenant {
    NewTenant {
        slug: DEFAULT_TENANT.to_owned(),
        name: "Default".to_owned(),
        quotas: Quotas::default(),
        max_queued: NewTenant::DEFAULT_MAX_QUEUED,
        weight: NewTenant::DEFAULT_WEIGHT,
        monthly: MonthlyLimits::default(),
    }
}
