//! A stand whose worker runs the real OpenCode, with a model that a story plays.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::checkout;
use super::model_server::{ModelServer, Question, Reply};
use super::process::Process;
use super::{Mode, PATIENCE, Plan, Stand, eventually};

/// What the provider wants for an answer; the worker's configuration refers to it.
pub const KEY: &str = "story-key-0123456789abcdef";

/// What a running server wants of who calls it.
pub const SERVER_PASSWORD: &str = "story-password-fedcba9876543210";

// Dropped in this order: the worker before what it uses.
pub struct OpenCodeStand {
    pub stand: Stand,
    server: Option<RunningServer>,
    pub model: ModelServer,
    _folder: TempDir,
}

/// One that is not the worker's.
struct RunningServer {
    url: String,
    _process: Process,
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
        let config = write_config(folder.path(), &model, &permission);
        let program = tokio::task::spawn_blocking(program).await.expect("a path");
        let variables = [
            ("ORCHESTRATOR_OPENCODE", program.display().to_string()),
            ("ORCHESTRATOR_OPENCODE_CONFIG", config.display().to_string()),
            ("STORY_MODEL_KEY", KEY.to_owned()),
        ];
        Self {
            stand: Stand::own(mode, telling(plan, &variables)).await,
            server: None,
            model,
            _folder: folder,
        }
    }

    /// The worker has no program of its own, and is told of two servers, one of which is down.
    pub async fn with_a_server(
        mode: Mode,
        plan: Plan,
        script: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let model = ModelServer::start(script).await;
        let folder = TempDir::with_prefix("opencode-story-").expect("a temporary folder");
        let config = write_config(folder.path(), &model, &json!({}));
        let program = tokio::task::spawn_blocking(program).await.expect("a path");
        let server = start_server(&program, folder.path(), &config).await;
        let list = json!([
            {"url": "http://127.0.0.1:1"},
            {"url": server.url, "password": "{env:STORY_SERVER_PASSWORD}"},
        ]);
        let servers = folder.path().join("servers.json");
        std::fs::write(&servers, list.to_string()).expect("a list of servers");
        let variables = [
            ("ORCHESTRATOR_OPENCODE", "/nowhere/opencode".to_owned()),
            (
                "ORCHESTRATOR_OPENCODE_SERVERS",
                servers.display().to_string(),
            ),
            ("STORY_SERVER_PASSWORD", SERVER_PASSWORD.to_owned()),
        ];
        Self {
            stand: Stand::own(mode, telling(plan, &variables)).await,
            server: Some(server),
            model,
            _folder: folder,
        }
    }

    /// A file of providers: the same model, by another key.
    pub fn write_providers(&self, path: &Path, key: &str) {
        let mut config = config_of(&self.model.url, &json!({}));
        config["provider"]["local"]["options"]["apiKey"] = key.into();
        std::fs::write(path, config.to_string()).expect("a configuration");
    }

    /// The server that is not the worker's is well.
    pub async fn server_answers(&self) {
        let server = self.server.as_ref().expect("a server");
        let call = reqwest::Client::new().get(format!("{}/global/health", server.url));
        let call = call.basic_auth("opencode", Some(SERVER_PASSWORD));
        let answer = call.timeout(PATIENCE).send().await;
        assert_eq!(answer.expect("it answers").status(), 200);
    }
}

fn telling(mut plan: Plan, variables: &[(&str, String)]) -> Plan {
    let told = variables.iter();
    plan.agents = "echo,command,opencode";
    plan.variables
        .extend(told.map(|(name, value)| ((*name).to_owned(), value.clone())));
    plan
}

/// As somebody runs one who knows nothing of workers.
async fn start_server(program: &Path, folder: &Path, config: &Path) -> RunningServer {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let mut command = Command::new(program);
    command
        .args(["serve", "--hostname", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .current_dir(folder)
        .env("HOME", folder)
        .env("OPENCODE_CONFIG", config)
        .env("OPENCODE_SERVER_PASSWORD", SERVER_PASSWORD)
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("STORY_MODEL_KEY", KEY);
    for part in ["DATA", "CONFIG", "STATE", "CACHE"] {
        command.env(format!("XDG_{part}_HOME"), folder.join(part));
    }
    let process = Process::start("opencode", command, &folder.join("server.log"));
    eventually("the server listens", PATIENCE, async || {
        process.log().contains("listening on").then_some(())
    })
    .await;
    RunningServer {
        url: format!("http://127.0.0.1:{port}"),
        _process: process,
    }
}

fn write_config(folder: &Path, model: &ModelServer, permission: &Value) -> PathBuf {
    let path = folder.join("opencode.json");
    let text = config_of(&model.url, permission).to_string();
    std::fs::write(&path, text).expect("a configuration");
    path
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
