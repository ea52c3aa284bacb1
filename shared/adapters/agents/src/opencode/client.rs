//! The calls of OpenCode's API that a run needs. Each has a time limit: a server that is not ready yet may never answer.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{CallError, Called, accepted, for_url, read, unreachable};
use super::events::Events;
use super::permissions::Rules;
use super::rules::Rule;

/// The first call in a directory reads its whole configuration, on a machine that may be busy.
const CALL_LIMIT: Duration = Duration::from_mins(2);
const USER: &str = "opencode";

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
    #[serde(default)]
    pub permission: Vec<Rule>,
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub info: Value,
    #[serde(default)]
    pub parts: Vec<Value>,
}

impl Client {
    /// `base`: scheme, host and port.
    pub(super) fn new(base: String, password: &str, directory: &Path) -> Called<Self> {
        // Nothing here speaks TLS, but the client wants to know who would; somebody may have said so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            http: http.map_err(|error| unreachable(&error))?,
            base,
            password: password.to_owned(),
            directory: for_url(directory),
        })
    }

    /// The same server, about another directory.
    pub(super) fn at(&self, directory: &Path) -> Self {
        Self {
            directory: for_url(directory),
            ..self.clone()
        }
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

    /// What the rules of the server itself allow and deny.
    pub(super) async fn rules(&self) -> Called<Vec<Rule>> {
        let config: Rules = self.ask("show its rules", self.get("/config")).await?;
        Ok(config.permission.0)
    }

    /// The names of what lies in the client's directory.
    pub(super) async fn files(&self) -> Called<Vec<Value>> {
        // An empty path is the directory itself.
        self.ask("list files", self.get("/file?path=")).await
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

    /// All that the server knows of a session itself, as its `import` takes it back.
    pub(super) async fn session_info(&self, id: &str) -> Called<Value> {
        self.ask("show a session", self.get(&format!("/session/{id}")))
            .await
    }

    /// Adds rules to those of a session; the last ones count.
    pub(super) async fn add_rules(&self, id: &str, rules: &[Rule]) -> Called<()> {
        let path = format!("/session/{id}");
        let call = self.request(Method::PATCH, &path);
        let call = call.json(&json!({"permission": rules}));
        self.send("take rules", call).await.map(|_| ())
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
        let call = self.get(&format!("/session/{id}/message"));
        self.ask("show the messages", call).await
    }

    /// Sessions that it opened for parts of its work.
    pub(super) async fn children(&self, id: &str) -> Called<Vec<Session>> {
        let call = self.get(&format!("/session/{id}/children"));
        self.ask("show a session's children", call).await
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

    /// What the session's tools wait to be allowed.
    pub(super) async fn questions(&self) -> Called<Vec<Value>> {
        self.ask("list its questions", self.get("/permission"))
            .await
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
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{mark}directory={}", self.base, self.directory);
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
        read(response).await
    }
}
