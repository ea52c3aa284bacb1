//! Which place wins, and what is said about mistakes.

use std::ffi::OsString;
use std::io::Write as _;

use serde::Serialize;

use super::layers::{Environment, File, keys, misspelt};
use super::*;

#[derive(Default, Serialize)]
struct Given {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flag: Option<u16>,
) -> Result<Config, ConfigError> {
    let mut toml = tempfile::NamedTempFile::new().unwrap();
    toml.write_all(file.as_bytes()).unwrap();
    let keys = keys().unwrap();
    let file = File::read(Some(toml.path().to_owned()), &keys)?;
    let variables = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let environment = Environment::read(variables, &keys);
    let flags = Flags::default().with(&Given { port: flag }).unwrap();
    Config::merge(file, environment, flags)
}

fn mistake(file: &str, environment: &[(&str, &str)]) -> String {
    match load(file, environment, None) {
        Ok(_) => panic!("this was taken: {file} {environment:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let environment = [("ORCHESTRATOR_PORT", "2")];
    let port = |config: Config| (config.settings.port, config.source("port"));
    assert_eq!(
        port(load("", &[], None).unwrap()),
        (8080, "default".to_owned())
    );
    let (value, source) = port(load("port = 1", &[], None).unwrap());
    assert_eq!(value, 1);
    assert!(source.starts_with('/'), "{source} is the file's path");
    assert_eq!(
        port(load("port = 1", &environment, None).unwrap()),
        (2, "ORCHESTRATOR_PORT".to_owned())
    );
    assert_eq!(
        port(load("port = 1", &environment, Some(3)).unwrap()),
        (3, "--port".to_owned())
    );
}

#[test]
fn services_are_named_by_their_usual_variables() {
    let config = load(
        "database_url = 'postgres://file/x'",
        &[
            ("DATABASE_URL", "postgres://u:secret@env/x"),
            ("ORCHESTRATOR_REDIS_URL", "redis://ignored"),
        ],
        None,
    )
    .unwrap();
    let url = config.settings.database_url.as_ref().unwrap();
    assert_eq!(url.reveal(), "postgres://u:secret@env/x");
    assert_eq!(config.source("database_url"), "DATABASE_URL");
    assert!(config.settings.redis_url.is_none());
    let shown = config.shown().unwrap();
    assert!(
        shown.iter().all(|(_, value)| !value.contains("secret")),
        "{shown:?}"
    );
}

#[test]
fn lists_are_arrays_in_the_file_and_text_in_the_environment() {
    let config = load(
        "roots = ['/srv/a,b', '/data']\nagents = []",
        &[("ORCHESTRATOR_KINDS", "training, session")],
        None,
    )
    .unwrap();
    assert_eq!(config.settings.kinds, [JobKind::Training, JobKind::Session]);
    assert_eq!(config.settings.agents, Some(Vec::new()));
    assert_eq!(
        config.settings.roots,
        Some(vec![PathBuf::from("/srv/a,b"), PathBuf::from("/data")])
    );
    let config = load("", &[("ORCHESTRATOR_ROOTS", "/srv/a:/data")], None).unwrap();
    assert_eq!(config.settings.roots.unwrap().len(), 2);
}

#[test]
fn empty_variables_and_those_of_scripts_are_not_settings() {
    let environment = [
        ("ORCHESTRATOR_PORT", ""),
        ("ORCHESTRATOR_TEST_MODE", "embedded"),
    ];
    let config = load("", &environment, None).unwrap();
    assert_eq!(config.settings.port, 8080);
    assert!(!config.is_set("port"));
}

#[test]
fn a_slip_in_a_variables_name_is_noticed_and_scripts_variables_are_not() {
    let slips = |name: &str| misspelt([OsString::from(name)].into_iter(), &keys().unwrap());
    for (name, meant) in [
        ("ORCHESTRATOR_CONCURENCY", "ORCHESTRATOR_CONCURRENCY"),
        ("ORCHESTRATOR_LEASE_SECOND", "ORCHESTRATOR_LEASE_SECONDS"),
        ("ORCHESTRATOR_AGNETS", "ORCHESTRATOR_AGENTS"),
        ("ORCHESTRATOR_REDIS_URL", "REDIS_URL"),
    ] {
        assert_eq!(slips(name), [(name.to_owned(), meant.to_owned())]);
    }
    for name in [
        "ORCHESTRATOR_PORT",
        "ORCHESTRATOR_TEST_MODE",
        "ORCHESTRATOR_BIN",
        "ORCHESTRATOR_STORY_SESSIONS",
        "ORCHESTRATOR_SERVICES_DIR",
        "ORCHESTRATOR_PROMPT",
        "LOG",
    ] {
        assert_eq!(slips(name), [], "{name}");
    }
}

#[test]
fn a_text_that_looks_like_a_number_stays_a_text() {
    let config = load("", &[("ORCHESTRATOR_TENANT", "2026")], None).unwrap();
    assert_eq!(config.settings.tenant.as_deref(), Some("2026"));
}

#[test]
fn mistakes_are_named_with_their_key_and_place() {
    let text = mistake("prot = 1\nport = 2\nhots = 'x'", &[]);
    assert!(
        text.contains("`hots`, `prot`, which are not known"),
        "{text}"
    );
    assert!(text.contains("metrics_port"), "names what is known: {text}");

    let text = mistake("", &[("ORCHESTRATOR_PORT", "eighty")]);
    assert!(text.contains("`port` (from ORCHESTRATOR_PORT)"), "{text}");

    let text = mistake("", &[("ORCHESTRATOR_AGENTS", "echo,magic")]);
    assert!(
        text.contains("`agents` (from ORCHESTRATOR_AGENTS)"),
        "{text}"
    );
    assert!(text.contains("`magic` is not a kind of agent"), "{text}");

    let text = mistake("kinds = ''", &[]);
    assert!(text.contains("empty"), "{text}");
    assert!(mistake("port = ", &[]).contains("not valid TOML"));
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let missing = PathBuf::from("/nowhere/orchestrator.toml");
    let error = File::read(Some(missing), &keys().unwrap()).err().unwrap();
    assert!(
        error.to_string().contains("/nowhere/orchestrator.toml"),
        "{error}"
    );
}

#[test]
fn an_external_agent_has_an_address_and_says_where_its_token_is() {
    let both = "[eap.a]\nurl = \"http://a\"\ntoken_env = \"A\"\n\n[eap.b]\nurl = \"http://b\"\n";
    let config = load(both, &[], None).unwrap();
    let agents = &config.settings.eap;
    assert_eq!(agents["a"].url, "http://a");
    assert!(agents["a"].token("a").is_ok());
    let why = agents["b"].token("b").unwrap_err().to_string();
    assert!(
        why.contains("eap.b needs either token_env or token_file"),
        "{why}"
    );
    let shown = config.shown().unwrap();
    let agents = shown.iter().find(|(key, _)| key == "eap").unwrap();
    assert_eq!(agents.1, "a,b");
    let secret = mistake("[eap.a]\nurl = \"http://a\"\ntoken = \"hunter2\"\n", &[]);
    assert!(
        secret.contains("token") && !secret.contains("hunter2"),
        "{secret}"
    );
}
