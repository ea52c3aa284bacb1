//! One question to each thing that the configured mode needs.

use std::ffi::OsStr;
use std::future::{Future, ready};
use std::path::Path;
use std::time::Duration;

use adapter_agents::eap::Endpoint;
use anyhow::{Context as _, bail};
use application::ports::{JobQueue as _, ReadySet as _};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::agents::{self, Variables};
use crate::compose::{data_dir, services, tools};
use crate::config::{EapSettings, Secret, Settings};

/// Longer than any of the services may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Serialize)]
pub struct Probe {
    pub name: String,
    pub ok: bool,
    pub milliseconds: u128,
    pub finding: String,
}

/// Services are asked where one of them is configured: then all three are needed.
pub async fn all(settings: &Settings, variables: &Variables) -> Vec<Probe> {
    let mut probes = vec![
        probe("git", program("git", &["--version"])).await,
        probe("sh", program("/bin/sh", &["-c", "echo works"])).await,
        probe("data folder", ready(folder(&settings.data_dir))).await,
    ];
    let services = [
        &settings.database_url,
        &settings.amqp_url,
        &settings.redis_url,
    ];
    if services.iter().any(|url| url.is_some()) {
        probes.push(probe("PostgreSQL", postgres(settings)).await);
        probes.push(probe("RabbitMQ", rabbitmq(settings)).await);
        probes.push(probe("Redis", redis(settings)).await);
        probes.push(probe("artifacts", ready(folder(&settings.artifacts_dir()))).await);
    }
    for (name, agent) in &settings.eap {
        let asking = external(name, agent, variables);
        probes.push(probe(&format!("agent {name}"), asking).await);
    }
    if starts_opencode(settings) {
        let opencode = tools::opencode_program(settings);
        probes.push(probe("opencode", program(&opencode, &["--version"])).await);
    }
    for (name, finding) in agents::configured(settings, variables) {
        probes.push(probe(&name, ready(finding)).await);
    }
    probes
}

async fn probe(name: &str, asking: impl Future<Output = anyhow::Result<String>>) -> Probe {
    let asked = Instant::now();
    let answer = timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        bail!("no answer within {} s", PATIENCE.as_secs());
    });
    let milliseconds = asked.elapsed().as_millis();
    let (ok, finding) = match answer {
        Ok(finding) => (true, finding),
        Err(error) => (false, format!("{error:#}")),
    };
    Probe {
        name: name.to_owned(),
        ok,
        milliseconds,
        finding,
    }
}

/// Whether a worker would have its token; and its health, which needs none.
async fn external(
    name: &str,
    agent: &EapSettings,
    variables: &Variables,
) -> anyhow::Result<String> {
    let url = Endpoint::parse_url(&agent.url)?;
    let token = agent.token(name)?.check(variables.iter().cloned());
    if let Err(why) = token {
        bail!(
            "its token cannot be used: {why}. See to it where workers start, or change token_env or token_file in [eap.{name}]"
        );
    }
    let health = Endpoint::new(name, url, String::new()).at(&["health"]);
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = http.get(health).timeout(PATIENCE).send().await;
    let answer = answer.with_context(|| format!("{} does not answer", agent.url))?;
    if answer.status() != reqwest::StatusCode::OK {
        bail!("{} answers /health with {}", agent.url, answer.status());
    }
    Ok(format!("{} answers, and there is a token", agent.url))
}

/// Whether workers with these settings are meant to start servers of OpenCode, and not to use running ones.
fn starts_opencode(settings: &Settings) -> bool {
    settings.opencode_servers.is_none()
        && (settings.opencode.is_some()
            || settings.opencode_config.is_some()
            || !settings.providers.is_empty())
}

async fn program(name: impl AsRef<OsStr>, arguments: &[&str]) -> anyhow::Result<String> {
    let shown = name.as_ref().display();
    let output = Command::new(&name)
        .args(arguments)
        .output()
        .await
        .with_context(|| format!("{shown} cannot be started; sessions need it"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        bail!(
            "{shown} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(said)
}

/// Writable, or its parent is, so that it can be made.
fn folder(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find(|folder| folder.exists());
    let existing = existing.context("no part of its path exists")?;
    let writable = nix::unistd::access(existing, nix::unistd::AccessFlags::W_OK);
    writable.with_context(|| format!("{} cannot be written to", existing.display()))?;
    if existing != path {
        return Ok(format!("{} is made when it is needed", path.display()));
    }
    Ok(match data_dir::running_url(&path) {
        Some(url) => format!("{}; a `dev` says that it is at {url}", path.display()),
        None => path.display().to_string(),
    })
}

fn set<'a>(url: Option<&'a Secret>, name: &str) -> anyhow::Result<&'a Secret> {
    url.with_context(|| format!("{name} is not set; services mode needs all three services"))
}

async fn postgres(settings: &Settings) -> anyhow::Result<String> {
    let url = set(settings.database_url.as_ref(), "DATABASE_URL")?;
    let store = services::connect(url).await?;
    services::check_schema(&store).await?;
    Ok(format!("{}, with the tables of this version", url.shown()))
}

async fn rabbitmq(settings: &Settings) -> anyhow::Result<String> {
    let url = set(settings.amqp_url.as_ref(), "AMQP_URL")?;
    services::open_queue(url, settings)?.check().await?;
    Ok(url.shown())
}

async fn redis(settings: &Settings) -> anyhow::Result<String> {
    let url = set(settings.redis_url.as_ref(), "REDIS_URL")?;
    services::open_redis(url, settings)?.check().await?;
    Ok(url.shown())
}
