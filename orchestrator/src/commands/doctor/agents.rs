//! What agents need of the settings, looked at before a session finds it missing: keys of providers, and of registered
//! agents the names, tokens and secrets that workers would use for them.
//!
//! Reads what a worker would read and makes no request of agents or models, so it costs nothing. Names what is missing and
//! never shows a secret.

mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use adapter_agents::{check_config, check_servers};
use anyhow::anyhow;
use application::agent_tokens::AgentTokens;
use application::ports::KeyHash;
use domain::{AgentSpec, AgentWork, OpenCode, RegisteredAgent, TenantId};
use serde::Serialize;

use self::registry::Registry;
use crate::compose::{agent_tokens, data_dir};
use crate::config::{Config, ProviderSettings, Settings};

/// Agents that lack nothing are named up to here; the others are all named.
const WELL_SHOWN: usize = 50;

pub type Variables = Vec<(OsString, OsString)>;

/// What a line is about, and how it is.
pub type Finding = (String, anyhow::Result<String>);

/// A registered agent, and whether the settings have what it needs.
#[derive(Debug, Serialize)]
pub struct Registered {
    pub name: String,
    pub ok: bool,
    /// What it has, or what is missing and what to do.
    pub finding: String,
}

impl Registered {
    fn new(name: impl Into<String>, finding: Result<String, String>) -> Self {
        Self {
            name: name.into(),
            ok: finding.is_ok(),
            finding: finding.unwrap_or_else(|why| why),
        }
    }
}

/// What the settings name for agents that workers run: files with providers and keys, and the secret of tokens.
pub fn configured(settings: &Settings, variables: &Variables) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(path) = &settings.opencode_config {
        findings.push(("opencode_config".to_owned(), providers(path, variables)));
    }
    for (name, set) in &settings.providers {
        findings.push((format!("providers {name}"), named(name, set, variables)));
    }
    if let Some(path) = &settings.opencode_servers {
        let checked = check_servers(path, variables.iter().cloned());
        let checked = checked.map(|count| format!("{}: {count} running", path.display()));
        let finding = checked.map_err(|why| anyhow!("{} cannot be used: {why}", path.display()));
        findings.push(("opencode_servers".to_owned(), finding));
    }
    match agent_tokens(settings) {
        Ok(None) => {}
        Ok(Some(_)) => {
            let finding = Ok("can be read, and is long enough".to_owned());
            findings.push(("agent secret".to_owned(), finding));
        }
        Err(error) => findings.push(("agent secret".to_owned(), Err(error.into()))),
    }
    findings
}

fn named(name: &str, set: &ProviderSettings, variables: &Variables) -> anyhow::Result<String> {
    if !domain::is_providers_name(name) {
        return Err(anyhow!(
            "no worker starts with this name: it may have a-z, 0-9, `_`, `-` and `.`, 64 at most"
        ));
    }
    providers(&set.file, variables)
}

fn providers(path: &Path, variables: &Variables) -> anyhow::Result<String> {
    let shown = path.display();
    match check_config(path, variables.iter().cloned()) {
        Ok(names) if names.is_empty() => Ok(format!("{shown}: names no provider of its own")),
        Ok(names) => Ok(format!("{shown}: {}", names.join(", "))),
        Err(why) => Err(anyhow!(
            "{shown} cannot be used: {why}. See to it where workers start"
        )),
    }
}

/// Agents that are registered in the store that `config` names, as far as they need something of the settings. Nothing
/// where there is no store yet, or where it does not answer: others say so.
pub async fn registered(config: &Config, variables: &Variables) -> Vec<Registered> {
    match registry::read(config).await {
        Ok(None) => Vec::new(),
        Ok(Some(registry)) => found(&registry, &config.settings, variables),
        Err(error) => vec![Registered::new(
            "agents",
            Err(format!("they cannot be read: {error:#}")),
        )],
    }
}

fn found(registry: &Registry, settings: &Settings, variables: &Variables) -> Vec<Registered> {
    let needs = Needs {
        settings,
        variables,
        tokens: tokens(settings),
        slugs: &registry.slugs,
    };
    let mut findings = Vec::new();
    let (mut well, mut plain) = (0_usize, 0_usize);
    for (agent, hash) in &registry.agents {
        let Some(finding) = needs.of(agent, *hash) else {
            plain += 1;
            continue;
        };
        well += usize::from(finding.is_ok());
        if finding.is_err() || well <= WELL_SHOWN {
            findings.push(Registered::new(needs.name(agent), finding));
        }
    }
    if plain > 0 {
        let finding = format!("{plain} that need nothing of the settings");
        findings.push(Registered::new("other agents", Ok(finding)));
    }
    if let Some(more) = well.checked_sub(WELL_SHOWN).filter(|more| *more > 0) {
        let finding = format!("{more} more, for which everything is there");
        findings.push(Registered::new("other agents", Ok(finding)));
    }
    findings
}

/// Those of the settings, or of the secret that a `dev` made in its folder.
fn tokens(settings: &Settings) -> Option<AgentTokens> {
    if let Ok(Some(tokens)) = agent_tokens(settings) {
        return Some(tokens);
    }
    let text = std::fs::read_to_string(data_dir::agent_secret(&settings.data_dir)).ok()?;
    AgentTokens::new(text.trim()).ok()
}

struct Needs<'a> {
    settings: &'a Settings,
    variables: &'a Variables,
    tokens: Option<AgentTokens>,
    slugs: &'a BTreeMap<TenantId, String>,
}

impl Needs<'_> {
    fn name(&self, agent: &RegisteredAgent) -> String {
        let name = &agent.definition.name;
        match agent.tenant {
            None => format!("shared agent {name}"),
            Some(tenant) => format!("agent {name} of {}", self.slug(tenant)),
        }
    }

    fn slug(&self, tenant: TenantId) -> String {
        let slug = self.slugs.get(&tenant).cloned();
        slug.unwrap_or_else(|| tenant.to_string())
    }

    /// `None`: it needs nothing of the settings.
    fn of(&self, agent: &RegisteredAgent, hash: Option<KeyHash>) -> Option<Result<String, String>> {
        match &agent.definition.work {
            AgentWork::Worker(AgentSpec::Eap(spec)) => Some(self.eap(&spec.name)),
            AgentWork::Worker(AgentSpec::OpenCode(spec)) => Some(self.opencode(agent, spec)),
            AgentWork::Worker(_) => None,
            AgentWork::External(external) => {
                external.endpoint_url.as_ref()?;
                Some(self.called(agent, hash))
            }
        }
    }

    fn eap(&self, name: &str) -> Result<String, String> {
        let Some(configured) = self.settings.eap.get(name) else {
            return Err(format!(
                "the settings have no [eap.{name}]: add it to the workers' orchestrator.toml, with url and token_env or \
                 token_file, or remove the agent"
            ));
        };
        let source = configured.token(name).map_err(|error| error.to_string())?;
        match source.check(self.variables.iter().cloned()) {
            Ok(()) => Ok(format!("[eap.{name}] is there, and its token")),
            Err(why) => Err(format!("the token of [eap.{name}] cannot be used: {why}")),
        }
    }

    fn opencode(&self, agent: &RegisteredAgent, spec: &OpenCode) -> Result<String, String> {
        let settings = self.settings;
        if settings.opencode_servers.is_some() {
            return Ok("uses the running servers of opencode_servers".to_owned());
        }
        let owns = |set: &ProviderSettings| {
            agent.tenant.is_some_and(|tenant| {
                set.tenants.contains(&tenant.to_string())
                    || set.tenants.contains(&self.slug(tenant))
            })
        };
        let file = match &spec.providers {
            Some(name) => match settings.providers.get(name) {
                Some(set) if set.tenants.is_empty() || agent.tenant.is_none() || owns(set) => {
                    Some(&set.file)
                }
                Some(_) => {
                    return Err(format!(
                        "[providers.{name}] is for other tenants: add this one to its `tenants`, or change the agent"
                    ));
                }
                None => {
                    return Err(format!(
                        "the settings have no [providers.{name}]: add it to the workers' orchestrator.toml, with its \
                         file, or change the agent"
                    ));
                }
            },
            None => settings
                .providers
                .values()
                .find(|set| owns(set))
                .map(|set| &set.file)
                .or(settings.opencode_config.as_ref()),
        };
        let file = file.ok_or(
            "the workers know no models for it: name a file with providers and models by ORCHESTRATOR_OPENCODE_CONFIG, \
             or in [providers.NAME]",
        )?;
        check_config(file, self.variables.iter().cloned())
            .map(|_| format!("its providers are in {}", file.display()))
            .map_err(|why| format!("{} cannot be used: {why}", file.display()))
    }

    fn called(&self, agent: &RegisteredAgent, hash: Option<KeyHash>) -> Result<String, String> {
        let Some(tokens) = &self.tokens else {
            return Err(
                "there is no secret to make its token of: set ORCHESTRATOR_AGENT_SECRET or ORCHESTRATOR_AGENT_SECRET_FILE \
                 as the producers have it"
                    .to_owned(),
            );
        };
        if hash != Some(tokens.hash(agent.id, agent.generation())) {
            return Err(
                "its token was made of another secret than this one: set ORCHESTRATOR_AGENT_SECRET as it was when it \
                 registered, or let it register again"
                    .to_owned(),
            );
        }
        Ok("its token can be made of the secret".to_owned())
    }
}
