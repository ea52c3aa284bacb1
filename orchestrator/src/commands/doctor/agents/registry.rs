//! The registered agents of the store that the configuration names, as they stand there. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use adapter_sqlite::SqliteStore;
use application::ports::{AgentStore, KeyHash, TenantStore};
use domain::{RegisteredAgent, TenantId};

use crate::compose::{data_dir, services};
use crate::config::Config;

/// Tenants and agents at a time.
const PAGE: u32 = 200;
/// Tenants whose agents are looked at; an installation with more has its own monitoring.
const TENANTS_MAX: usize = 1_000;
/// `None`: there is no store yet, or it does not answer.
pub(super) async fn read(config: &Config) -> anyhow::Result<Option<Registry>> {
    let Some(store) = open(config).await? else {
        return Ok(None);
    };
    all(store.tenants.as_ref(), store.agents.as_ref())
        .await
        .map(Some)
}

struct Store {
    tenants: Box<dyn TenantStore>,
    agents: Box<dyn AgentStore>,
}

/// Changes nothing: a store that was not made yet, or has older tables, is left as it is.
async fn open(config: &Config) -> anyhow::Result<Option<Store>> {
    fn both<S: TenantStore + AgentStore + Clone + 'static>(store: S) -> Store {
        Store {
            tenants: Box::new(store.clone()),
            agents: Box::new(store),
        }
    }
    let settings = &config.settings;
    let folder_was_said = config.source("data_dir").starts_with("--");
    if let Some(url) = settings.database_url.as_ref().filter(|_| !folder_was_said) {
        // What is the matter with it, its own line says.
        let Ok(store) = services::connect(url).await else {
            return Ok(None);
        };
        return Ok(Some(both(store)));
    }
    let file = data_dir::database(&settings.data_dir);
    if !file.is_file() {
        return Ok(None);
    }
    Ok(Some(both(SqliteStore::open(&file).await?)))
}

/// Agents, and the tenants that they may be of.
pub(super) struct Registry {
    pub slugs: BTreeMap<TenantId, String>,
    /// With the hash of its token, where it has one.
    pub agents: Vec<(RegisteredAgent, Option<KeyHash>)>,
}

async fn all(tenants: &dyn TenantStore, agents: &dyn AgentStore) -> anyhow::Result<Registry> {
    let mut registry = Registry {
        slugs: BTreeMap::new(),
        agents: Vec::new(),
    };
    let mut last: Option<String> = None;
    while registry.slugs.len() < TENANTS_MAX {
        let page = tenants.tenants(last.as_deref(), PAGE).await?;
        let Some(tenant) = page.last() else { break };
        last = Some(tenant.slug.clone());
        registry
            .slugs
            .extend(page.into_iter().map(|tenant| (tenant.id, tenant.slug)));
    }
    let mut seen = BTreeSet::new();
    for tenant in registry.slugs.keys() {
        let mut after = None;
        loop {
            let page = agents.agents(*tenant, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.agent.definition.name.clone(), last.agent.id));
            for found in page {
                if seen.insert(found.agent.id) {
                    let hash = agents.agent_token(found.agent.id).await?;
                    registry.agents.push((found.agent, hash));
                }
            }
        }
    }
    Ok(registry)
}
