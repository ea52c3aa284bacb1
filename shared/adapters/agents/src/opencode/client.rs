//! The calls of OpenCode's API that a run needs. Each has a time limit: a server that is not ready yet may never answer.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::events::Events;
use super::rules::Rule;

/// The first call in a directory reads its whole configuration, on a machine that may be busy.
const CALL_LIMIT: Duration = Duration::from_mins(1);
/// Of what a refusal says.
const REFUSAL_CHARS: usize = 500;
const USER: &str = "opencode";

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It did not answer, or not in its language: the server is gone or ill.
    #[error("OpenCode's server did not answer: {0}")]
    Unreachable(String),
    #[error("OpenCode's server refused to {what}: {status}: {said}")]
    Refused {
        what: &'static str,
        status: StatusCode,
        said: String,
    },
}

pub(super) type Called<T> = Result<T, CallError>;

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    password: String,
    /// What every call is about, fit for a URL.
    directory: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub id: String,
    pub directory: String,
}

#[derive(Debug, Deserialize)]
struct Health {
    version: String,
}

#[derive(Debug, Deserialize)]
struct Providers {
    providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
struct Provider {
    id: String,
    models: serde_json::Map<String, Value>,
}

/// A message with its parts.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    pub info: Value,
    #[serde(default)]
    pub parts: Vec<Value>,
}

impl Client {
    pub(super) fn new(port: u16, password: &str, directory: &Path) -> Called<Self> {
        // Nothing here speaks TLS, but the client wants to know who would; somebody may have said so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            http: http.map_err(|error| unreachable(&error))?,
            base: format!("http://127.0.0.1:{port}"),
            password: password.to_owned(),
            directory: for_url(directory),
        })
    }

    pub(super) async fn version(&self) -> Called<String> {
        let health: Health = self
            .ask("say its version", self.get("/global/health"))
            .await?;
        Ok(health.version)
    }

    /// All models that the server can use, as `provider/model`.
    pub(super) async fn models(&self) -> Called<Vec<String>> {
        let known: Providers = self
            .ask("list its models", self.get("/config/providers"))
            .await?;
        let names = known.providers.iter().flat_map(|provider| {
            let id = &provider.id;
            provider
                .models
                .keys()
                .map(move |model| format!("{id}/{model}"))
        });
        Ok(names.collect())
    }

    /// `None` when the server does not know it.
    pub(super) async fn session(&self, id: &str) -> Called<Option<Session>> {
        let found = self
            .ask("show a session", self.get(&format!("/session/{id}")))
            .await;
        match found {
            Ok(session) => Ok(Some(session)),
            Err(CallError::Refused { status, .. }) if status.is_client_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create_session(&self, title: &str, rules: &[Rule]) -> Called<Session> {
        let body = json!({"title": title, "permission": rules});
        self.ask("open a session", self.post("/session", &body))
            .await
    }

    /// Lets a session of an earlier run work in this client's directory.
    pub(super) async fn move_here(&self, id: &str, directory: &Path) -> Called<()> {
        let body = json!({"sessionID": id, "destination": {"directory": directory}});
        let call = self.post("/experimental/control-plane/move-session", &body);
        self.send("move a session", call).await.map(|_| ())
    }

    pub(super) async fn prompt(
        &self,
        id: &str,
        text: &str,
        model: Option<(&str, &str)>,
    ) -> Called<()> {
        let mut body = json!({"parts": [{"type": "text", "text": text}]});
        if let Some((provider, model)) = model {
            body["model"] = json!({"providerID": provider, "modelID": model});
        }
        let call = self.post(&format!("/session/{id}/prompt_async"), &body);
        self.send("take the prompt", call).await.map(|_| ())
    }

    pub(super) async fn messages(&self, id: &str) -> Called<Vec<Message>> {
        self.ask(
            "show the messages",
            self.get(&format!("/session/{id}/message")),
        )
        .await
    }

    /// True while the session works or waits for its provider.
    pub(super) async fn is_busy(&self, id: &str) -> Called<bool> {
        let all: Value = self
            .ask("say what it does", self.get("/session/status"))
            .await?;
        let status = all[id]["type"].as_str();
        Ok(status.is_some_and(|status| status != "idle"))
    }

    pub(super) async fn abort(&self, id: &str) -> Called<()> {
        let call = self.post(&format!("/session/{id}/abort"), &json!({}));
        self.send("end its work", call).await.map(|_| ())
    }

    pub(super) async fn answer(&self, request: &str, allow: bool, words: &str) -> Called<()> {
        let body = if allow {
            json!({"reply": "once"})
        } else {
            json!({"reply": "reject", "message": words})
        };
        let call = self.post(&format!("/permission/{request}/reply"), &body);
        self.send("take an answer", call).await.map(|_| ())
    }

    /// Without a limit on the whole of it: it lasts as long as the server.
    pub(super) async fn events(&self) -> Called<Events> {
        let opening = self.get("/event").send();
        let response = tokio::time::timeout(CALL_LIMIT, opening).await;
        let response = response
            .map_err(|_| CallError::Unreachable("it did not open its events".to_owned()))?
            .map_err(|error| unreachable(&error))?;
        let response = accepted("open its events", response).await?;
        Ok(Events::new(response))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}?directory={}", self.base, self.directory);
        self.http
            .request(method, url)
            .basic_auth(USER, Some(&self.password))
    }

    async fn send(&self, what: &'static str, call: RequestBuilder) -> Called<Response> {
        let response = call.timeout(CALL_LIMIT).send().await;
        accepted(what, response.map_err(|error| unreachable(&error))?).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        call: RequestBuilder,
    ) -> Called<T> {
        let response = self.send(what, call).await?;
        response.json().await.map_err(|error| unreachable(&error))
    }
}

async fn accepted(what: &'static str, response: Response) -> Called<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said = response.text().await.unwrap_or_default();
    Err(CallError::Refused {
        what,
        status,
        said: said.chars().take(REFUSAL_CHARS).collect(),
    })
}

fn unreachable(error: &reqwest::Error) -> CallError {
    use std::error::Error as _;
    // Its own words say only which URL; the cause is what matters.
    let cause = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    CallError::Unreachable(cause)
}

fn for_url(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_fits_into_a_url() {
        assert_eq!(for_url(Path::new("/srv/a-b_c.d")), "/srv/a-b_c.d");
        assert_eq!(
            for_url(Path::new("/größe & ?")),
            "/gr%C3%B6%C3%9Fe%20%26%20%3F"
        );
    }
}
