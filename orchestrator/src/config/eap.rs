//! External agents, as the operator names them: `[eap.NAME]` in the file.

use std::path::{Path, PathBuf};

use adapter_agents::eap::TokenSource;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Where one is, and where its token is kept. The token itself never stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EapSettings {
    /// What `/task` and `/health` are appended to.
    pub url: String,
    /// The variable of the worker that holds the token. Either this or `token_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// The file that holds the token. Either this or `token_env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl EapSettings {
    /// The file with a secret that it names. No `..`: whoever adds a field decides here whether it names another.
    pub fn secret_file(&self) -> Option<&Path> {
        let Self {
            url: _,
            token_env: _,
            token_file,
        } = self;
        token_file.as_deref()
    }

    /// `name` is the agent's.
    pub fn token(&self, name: &str) -> Result<TokenSource, ConfigError> {
        match (&self.token_env, &self.token_file) {
            (Some(variable), None) => Ok(TokenSource::Variable(variable.clone())),
            (None, Some(path)) => Ok(TokenSource::File(path.clone())),
            _ => Err(ConfigError(format!(
                "eap.{name} needs either token_env or token_file: where the agent's token is kept"
            ))),
        }
    }
}
