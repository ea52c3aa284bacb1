//! Which of the operator's configurations a run is started with: whose account pays.
//!
//! The one that the session or its agent names, else the one of its tenant, else the one for all. A configuration that names
//! tenants is theirs alone: nobody else may spend what its keys give, or learn that it is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use application::ports::{HandlerError, TenantStore};
use domain::{OpenCode, TenantId, is_providers_name};

use crate::failure::{fail, retry};

/// A configuration that has a name.
#[derive(Debug, Clone)]
pub struct ProviderSet {
    /// In the form of OpenCode's own configuration.
    pub file: PathBuf,
    /// Slugs or ids of those whose own it is; none: all tenants may name it.
    pub tenants: Vec<String>,
}

/// The configurations contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error("providers.{0}: a name of providers has at most 64 of a-z, 0-9, `_`, `-` and `.`")]
    Name(String),
    #[error(
        "providers.{0} and providers.{1} both are the own ones of the tenant {2}; a tenant has one"
    )]
    Twice(String, String, String),
}

pub(super) struct Providers {
    common: Option<PathBuf>,
    named: BTreeMap<String, ProviderSet>,
    tenants: Arc<dyn TenantStore>,
}

impl Providers {
    pub(super) fn new(
        common: Option<PathBuf>,
        named: BTreeMap<String, ProviderSet>,
        tenants: Arc<dyn TenantStore>,
    ) -> Result<Self, ProvidersError> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, set) in &named {
            if !is_providers_name(name) {
                return Err(ProvidersError::Name(name.clone()));
            }
            for tenant in &set.tenants {
                if let Some(other) = owners.insert(tenant, name) {
                    return Err(ProvidersError::Twice(
                        other.to_owned(),
                        name.clone(),
                        tenant.clone(),
                    ));
                }
            }
        }
        Ok(Self {
            common,
            named,
            tenants,
        })
    }

    /// The file for a session of this tenant.
    pub(super) async fn choose(
        &self,
        tenant: TenantId,
        spec: &OpenCode,
    ) -> Result<PathBuf, HandlerError> {
        if let Some(name) = &spec.providers {
            return match self.named.get(name) {
                Some(set) if set.tenants.is_empty() || self.owns(tenant, set).await? => {
                    Ok(set.file.clone())
                }
                _ => Err(not_configured(format!(
                    "the worker has no providers `{name}` for this tenant; leave `providers` out, or ask the operator \
                     for [providers.{name}] in the workers' configuration"
                ))),
            };
        }
        for set in self.named.values() {
            if self.owns(tenant, set).await? {
                return Ok(set.file.clone());
            }
        }
        self.common.clone().ok_or_else(|| {
            not_configured(
                "the worker knows no models for the agent `opencode`; name a file with providers and models by \
                 ORCHESTRATOR_OPENCODE_CONFIG (opencode_config), or in [providers.NAME] of its configuration"
                    .to_owned(),
            )
        })
    }

    async fn owns(&self, tenant: TenantId, set: &ProviderSet) -> Result<bool, HandlerError> {
        if set.tenants.is_empty() {
            return Ok(false);
        }
        if set.tenants.contains(&tenant.to_string()) {
            return Ok(true);
        }
        let found = self.tenants.tenant(tenant).await.map_err(|error| {
            retry(
                "TENANT_NOT_READ",
                format!("the session's tenant could not be looked up: {error}"),
            )
        })?;
        Ok(found.is_some_and(|found| set.tenants.contains(&found.slug)))
    }
}

/// For a worker whose servers somebody else configures.
pub(super) fn refuse_named(spec: &OpenCode) -> Result<(), HandlerError> {
    match &spec.providers {
        None => Ok(()),
        Some(name) => Err(not_configured(format!(
            "the worker uses running servers of OpenCode, whose providers are their own; it cannot give the session `{name}`"
        ))),
    }
}

fn not_configured(words: String) -> HandlerError {
    fail("OPENCODE_NOT_CONFIGURED", words)
}
