//! A stand whose worker runs the real OpenCode, with a model that a story plays.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::checkout;
use super::model_server::{ModelServer, Question, Reply};
use super::{Mode, Plan, Stand};

/// What the provider wants for an answer; the worker's configuration refers to it.
pub const KEY: &str = "story-key-0123456789abcdef";

// Dropped in this order: the worker before what it uses.
pub struct OpenCodeStand {
    pub stand: Stand,
    pub model: ModelServer,
    _folder: TempDir,
}

impl OpenCodeStand {
    /// `permission` is the operator's.
    pub async fn own(
        mode: Mode,
        plan: Plan,
        permission: Value,
        script: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let model = ModelServer::start(script).await;
        let folder = TempDir::with_prefix("opencode-story-").expect("a temporary folder");
        let config = folder.path().join("opencode.json");
        let text = config_of(&model.url, &permission).to_string();
        std::fs::write(&config, text).expect("a configuration");
        let program = tokio::task::spawn_blocking(program).await.expect("a path");
        let variables = [
            ("ORCHESTRATOR_OPENCODE", program.display().to_string()),
            ("ORCHESTRATOR_OPENCODE_CONFIG", config.display().to_string()),
            ("STORY_MODEL_KEY", KEY.to_owned()),
        ];
        let plan = Plan {
            agents: "echo,command,opencode",
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .chain(plan.variables)
                .collect(),
            ..plan
        };
        Self {
            stand: Stand::own(mode, plan).await,
            model,
            _folder: folder,
        }
    }
}

/// Prices are per million tokens.
fn config_of(url: &str, permission: &Value) -> Value {
    json!({
        "model": "local/m",
        "small_model": "local/m",
        "permission": permission,
        "provider": {"local": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": url, "apiKey": "{env:STORY_MODEL_KEY}"},
            "models": {"m": {
                "tool_call": true,
                "limit": {"context": 128_000, "output": 4096},
                "cost": {"input": 3, "output": 15},
            }},
        }},
    })
}

/// Fetched by the script where it is missing. Without it there is no story to tell, which is a failure.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let fetch = || {
        let mut command = Command::new(checkout().join("scripts/opencode"));
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.expect("scripts/opencode can be started");
        assert!(output.status.success(), "scripts/opencode failed");
        let path = String::from_utf8(output.stdout).expect("a path");
        PathBuf::from(path.trim())
    };
    PROGRAM.get_or_init(fetch).clone()
}
