//! Providers and models of OpenCode that not everybody uses, as the operator names them: `[providers.NAME]` in the file.

use std::path::{Path, PathBuf};

use adapter_agents::ProviderSet;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// A configuration of OpenCode, as `opencode_config` is.
    pub file: PathBuf,
    /// Slugs or ids of the tenants that use it without naming it, and that alone may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
}

impl ProviderSettings {
    /// The file with secrets that it names. No `..`: whoever adds a field decides here whether it names another.
    pub fn secret_file(&self) -> &Path {
        let Self { file, tenants: _ } = self;
        file
    }
}

impl From<&ProviderSettings> for ProviderSet {
    fn from(settings: &ProviderSettings) -> Self {
        Self {
            file: settings.file.clone(),
            tenants: settings.tenants.clone(),
        }
    }
}
