//! Which agents there are, where, and with which token. Today the operator's configuration says so; whoever else knows
//! agents, such as a registry, implements [`Endpoints`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use application::ports::HandlerError;
use async_trait::async_trait;
use domain::{TenantId, is_agent_name};
use reqwest::Url;

use crate::failure::fail;
use crate::opencode::texts;

/// A token is a line.
const TOKEN_BYTES: u64 = 8 * 1024;

/// Finds the agents that sessions name.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Asked for every run, so that what changes holds for the next one. An agent that the tenant may not use is as
    /// unknown as one that does not exist.
    async fn find(&self, tenant: TenantId, name: &str) -> Result<Endpoint, HandlerError>;
}

/// Where an agent is, and how to get in.
#[derive(Clone)]
pub struct Endpoint {
    name: String,
    url: Url,
    token: String,
    registered: bool,
}

/// The text is no address of an agent; it says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnEndpoint(pub String);

impl Endpoint {
    pub fn new(name: &str, url: Url, token: String) -> Self {
        Self {
            name: name.to_owned(),
            url,
            token,
            registered: false,
        }
    }

    /// Of an agent that registered itself.
    #[must_use]
    pub fn registered(self) -> Self {
        Self {
            registered: true,
            ..self
        }
    }

    /// What to do when the agent does not take its token.
    pub(super) fn token_advice(&self) -> String {
        if self.registered {
            return "it is to take the one of its latest registration, and gets a new one when it registers again"
                .to_owned();
        }
        format!("the operator sees to it in [eap.{}]", self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// `url/part/part`, each part made fit for a URL.
    pub fn at(&self, parts: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// An address that `/task` and `/health` can be appended to. Has no user and no password: those would be shown.
    pub fn parse_url(text: &str) -> Result<Url, NotAnEndpoint> {
        let wrong = |why: &str| NotAnEndpoint(format!("`{text}` is no address of an agent: {why}"));
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAnEndpoint(
                "an agent's address has no user and no password; its token comes by token_env or token_file"
                    .to_owned(),
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end with a path"));
        }
        Ok(url)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.url)
    }
}

/// Where the operator keeps a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A variable of the worker.
    Variable(String),
    /// Its first line. Read for each run, so that it can be changed.
    File(PathBuf),
}

impl TokenSource {
    /// That a worker with these variables could use it. `Err`: why not, without the token.
    pub fn check(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), String> {
        self.read(&texts(variables)).map(drop)
    }

    fn read(&self, variables: &BTreeMap<String, String>) -> Result<String, String> {
        let text = match self {
            Self::Variable(name) => variables
                .get(name)
                .cloned()
                .ok_or_else(|| format!("the worker's environment has no variable {name}"))?,
            Self::File(path) => {
                let shown = path.display();
                let unreadable = |error| format!("the file {shown} cannot be read: {error}");
                let size = std::fs::metadata(path).map_err(unreadable)?.len();
                if size > TOKEN_BYTES {
                    return Err(format!(
                        "the file {shown} has more than {TOKEN_BYTES} bytes"
                    ));
                }
                std::fs::read_to_string(path).map_err(unreadable)?
            }
        };
        let token = text.trim();
        let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || !is_sendable {
            return Err("it is empty, or not a line of visible ASCII characters".to_owned());
        }
        Ok(token.to_owned())
    }
}

/// The agents of the worker's configuration, which all its tenants may use.
pub struct ConfiguredEndpoints {
    agents: BTreeMap<String, (Url, TokenSource)>,
    variables: BTreeMap<String, String>,
}

impl ConfiguredEndpoints {
    /// `variables` are the worker's own.
    pub fn new(
        agents: impl IntoIterator<Item = (String, String, TokenSource)>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, NotAnEndpoint> {
        let mut known = BTreeMap::new();
        for (name, url, token) in agents {
            if !is_agent_name(&name) {
                return Err(NotAnEndpoint(format!(
                    "`{name}` is no name for an agent: letters, digits, `_` and `-`, at most 64"
                )));
            }
            let url = Endpoint::parse_url(&url);
            let url = url.map_err(|why| NotAnEndpoint(format!("eap.{name}.url: {why}")))?;
            known.insert(name, (url, token));
        }
        Ok(Self {
            agents: known,
            variables: texts(variables),
        })
    }
}

#[async_trait]
impl Endpoints for ConfiguredEndpoints {
    async fn find(&self, _tenant: TenantId, name: &str) -> Result<Endpoint, HandlerError> {
        let Some((url, source)) = self.agents.get(name) else {
            return Err(fail(
                "EAP_UNKNOWN_AGENT",
                format!(
                    "the worker's configuration has no agent `{name}`; its operator adds one as [eap.{name}]"
                ),
            ));
        };
        let token = source.read(&self.variables).map_err(|why| {
            fail(
                "EAP_TOKEN",
                format!(
                    "the token of the agent `{name}` cannot be used: {why}; see to it on the worker"
                ),
            )
        })?;
        Ok(Endpoint::new(name, url.clone(), token))
    }
}

#[cfg(test)]
mod tests {
    use domain::TenantId;
    use uuid::Uuid;

    use super::*;

    fn configured(url: &str, source: TokenSource) -> Result<ConfiguredEndpoints, NotAnEndpoint> {
        let variables = [(OsString::from("TOKEN"), OsString::from(" secret-1\n"))];
        ConfiguredEndpoints::new([("a".to_owned(), url.to_owned(), source)], variables)
    }

    async fn found(source: TokenSource, name: &str) -> Result<Endpoint, String> {
        let known = configured("http://127.0.0.1:9/base/", source).unwrap();
        let tenant = TenantId::from_uuid(Uuid::nil());
        known
            .find(tenant, name)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn an_agent_is_found_by_its_name_with_its_token() {
        let variable = || TokenSource::Variable("TOKEN".to_owned());
        let endpoint = found(variable(), "a").await.unwrap();
        assert_eq!(endpoint.token(), "secret-1");
        let url = endpoint.at(&["task", "x/../y"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:9/base/task/x%2F..%2Fy");
        assert!(!format!("{endpoint:?}").contains("secret"));
        let error = found(variable(), "b").await.unwrap_err();
        assert!(error.contains("[eap.b]"), "{error}");
    }

    #[tokio::test]
    async fn a_token_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let from_file = || TokenSource::File(file.clone());
        let missing = TokenSource::Variable("OTHER".to_owned());
        for source in [missing, from_file()] {
            let error = found(source, "a").await.unwrap_err();
            assert!(error.contains("EAP_TOKEN"), "{error}");
        }
        std::fs::write(&file, "from-a-file\n").unwrap();
        assert_eq!(
            found(from_file(), "a").await.unwrap().token(),
            "from-a-file"
        );
        std::fs::write(&file, "two\nlines\n").unwrap();
        assert!(found(from_file(), "a").await.is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let source = || TokenSource::Variable("TOKEN".to_owned());
        for url in [
            "",
            "ftp://x/",
            "http://user:secret@x/",
            "https://x/?a=b",
            "file:///x",
        ] {
            let why = configured(url, source()).err().unwrap().to_string();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(configured("https://agents.example.org/a", source()).is_ok());
    }
}
