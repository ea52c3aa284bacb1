use std::collections::BTreeMap;
use std::path::PathBuf;

use application::use_cases::create_tenant;
use domain::{AgentDefinition, AgentId, Eap, ExternalAgent, Labels};
use serde_json::json;

use super::*;
use crate::compose::data_dir::DataDir;
use crate::compose::{direct, embedded};
use crate::config::{EapSettings, Flags, Loader, Secret};

const SECRET: &str = "the-value-that-nobody-shows-0123456789abcdef";

fn variables(names: &[&str]) -> Variables {
    let both = |name: &&str| ((*name).into(), SECRET.into());
    names.iter().map(both).collect()
}

fn agent_of_settings(variable: &str) -> EapSettings {
    EapSettings {
        url: "http://127.0.0.1:9".to_owned(),
        token_env: Some(variable.to_owned()),
        token_file: None,
    }
}

fn providers(folder: &Path, name: &str, tenants: &[&str]) -> ProviderSettings {
    let file = folder.join(format!("{name}.json"));
    let text =
        json!({"provider": {name: {"options": {"apiKey": format!("{{env:KEY_OF_{name}}}")}}}});
    std::fs::write(&file, text.to_string()).unwrap();
    ProviderSettings {
        file,
        tenants: tenants.iter().map(|&it| it.to_owned()).collect(),
    }
}

#[test]
fn what_a_worker_would_not_find_is_told_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        providers: BTreeMap::from([
            ("a".to_owned(), providers(folder.path(), "a", &[])),
            ("b".to_owned(), providers(folder.path(), "b", &[])),
        ]),
        opencode_config: Some(folder.path().join("none.json")),
        agent_secret: Some(Secret::new("short")),
        ..Settings::default()
    };
    let findings = configured(&settings, &variables(&["KEY_OF_a"]));
    let told: BTreeMap<String, String> = findings
        .into_iter()
        .map(|(name, finding)| match finding {
            Ok(words) => (name, format!("ok {words}")),
            Err(why) => (name, format!("{why:#}")),
        })
        .collect();
    assert!(told["providers a"].starts_with("ok "), "{told:?}");
    assert!(
        told["providers b"].contains("the variable KEY_OF_b"),
        "{told:?}"
    );
    assert!(
        told["opencode_config"].contains("none.json cannot be read"),
        "{told:?}"
    );
    assert!(told["agent secret"].contains("openssl rand"), "{told:?}");
    assert!(!format!("{told:?}").contains(SECRET), "{told:?}");
    assert!(configured(&Settings::default(), &Vec::new()).is_empty());
}

/// Of the default tenant.
async fn register(ports: &application::ports::Ports, name: &str, work: AgentWork) {
    let tenant = ports.tenants.tenant_by_slug("default").await.unwrap();
    let now = ports.clock.now();
    let definition = AgentDefinition {
        name: name.to_owned(),
        capabilities: ["testing".to_owned()].into(),
        tier: 3,
        capacity: 1,
        labels: Labels::default(),
        cost_usd: None,
        work,
    };
    let id = AgentId::from_uuid(ports.ids.next(now));
    let agent = RegisteredAgent::new(id, tenant.map(|it| it.id), definition, now).unwrap();
    let is_called = agent.external().is_some();
    let hasher = |_, _| KeyHash([7; 32]);
    let token: Option<&application::ports::TokenHasher> = is_called.then_some(&hasher);
    ports.agents.register_agent(agent, token).await.unwrap();
}

fn opencode(providers: Option<&str>) -> AgentWork {
    AgentWork::Worker(AgentSpec::OpenCode(OpenCode {
        providers: providers.map(str::to_owned),
        ..OpenCode::default()
    }))
}

fn eap(name: &str) -> AgentWork {
    AgentWork::Worker(AgentSpec::Eap(Eap {
        name: name.to_owned(),
        ..Eap::default()
    }))
}

fn external(endpoint: Option<&str>) -> AgentWork {
    AgentWork::External(ExternalAgent {
        endpoint_url: endpoint.map(str::to_owned),
        version: "1".to_owned(),
        agent_type: "tester".to_owned(),
        metadata: serde_json::Map::new(),
        generation: 0,
    })
}

async fn register_all(ports: &application::ports::Ports) {
    for (name, work) in [
        ("plain", AgentWork::Worker(AgentSpec::ECHO)),
        ("critic", eap("critic")),
        ("tokenless", eap("tokenless")),
        ("unnamed", eap("nowhere")),
        ("paid", opencode(Some("paid"))),
        ("theirs", opencode(Some("theirs"))),
        ("gone", opencode(Some("gone"))),
        ("own", opencode(None)),
        ("PUSHED", external(Some("https://agent.example/eap"))),
        ("PULLING", external(None)),
    ] {
        register(ports, name, work).await;
    }
}

#[tokio::test]
async fn registered_agents_are_told_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let flags = BTreeMap::from([("data_dir", data.display().to_string())]);
    let mut config = Loader::new(None)
        .load(Flags::default().with(&flags).unwrap())
        .unwrap();
    assert!(registered(&config, &Vec::new()).await.is_empty());
    assert!(!data.exists(), "looking makes nothing");
    DataDir::open(&data).unwrap();
    let ports = direct::open(&config).await.unwrap().unwrap();
    create_tenant(&ports, embedded::default_tenant())
        .await
        .unwrap();
    register_all(&ports).await;
    config.settings.eap = BTreeMap::from([
        ("critic".to_owned(), agent_of_settings("CRITIC_TOKEN")),
        ("tokenless".to_owned(), agent_of_settings("OTHER_TOKEN")),
    ]);
    config.settings.providers = BTreeMap::from([
        (
            "paid".to_owned(),
            providers(folder.path(), "paid", &["default"]),
        ),
        (
            "theirs".to_owned(),
            providers(folder.path(), "theirs", &["acme"]),
        ),
    ]);
    let had = variables(&["CRITIC_TOKEN", "KEY_OF_paid"]);
    let told = |found: &[Registered], name: &str| {
        let name = format!("agent {name} of default");
        let found = found.iter().find(|it| it.name == name);
        found.map(|it| format!("{} {}", if it.ok { "ok" } else { "lacks" }, it.finding))
    };
    let found = registered(&config, &had).await;
    for (name, words) in [
        ("critic", "ok [eap.critic]"),
        (
            "tokenless",
            "lacks the token of [eap.tokenless] cannot be used: the worker's environment has no variable OTHER_TOKEN",
        ),
        ("unnamed", "lacks the settings have no [eap.nowhere]"),
        ("paid", "ok its providers are in"),
        ("theirs", "lacks [providers.theirs] is for other tenants"),
        ("gone", "lacks the settings have no [providers.gone]"),
        ("own", "ok its providers are in"),
        ("PUSHED", "lacks there is no secret"),
    ] {
        let told = told(&found, name).unwrap_or_else(|| panic!("{name} in {found:?}"));
        assert!(told.starts_with(words), "{told}");
    }
    let plain = found.iter().find(|it| it.name == "other agents").unwrap();
    assert!(
        plain.finding.starts_with("2 that need nothing"),
        "{plain:?}"
    );
    assert!(!format!("{found:?}").contains(SECRET), "{found:?}");
    config.settings.agent_secret = Some(Secret::new(SECRET));
    let pushed = told(&registered(&config, &had).await, "PUSHED").unwrap();
    assert!(
        pushed.starts_with("lacks its token was made of another secret"),
        "{pushed}"
    );
    config.settings.opencode_servers = Some(PathBuf::from("servers.json"));
    let own = told(&registered(&config, &had).await, "own").unwrap();
    assert!(own.starts_with("ok uses the running servers"), "{own}");
}
