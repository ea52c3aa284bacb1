//! The API's client: what the client commands and the demo speak through. Knows addresses, keys and documents; knows
//! nothing of stores, so it can do nothing that any other client could not.

mod error;
mod lines;
mod log;
mod sse;
pub mod types;

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::ClientError;
pub use lines::Lines;
pub use log::Log;
pub use sse::{Event, Events};

use crate::config::Secret;
use types::Page;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take; streams are not bound by it.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Items asked for at once; the API gives no more.
const PAGE: usize = 200;
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<Secret>,
    tenant: Option<HeaderValue>,
}

impl Client {
    /// `base` is what stands before `/api/v1`. `tenant`, slug or id, is for keys that may act for others.
    pub fn new(base: &str, key: Option<Secret>, tenant: Option<&str>) -> Result<Self, ClientError> {
        let unusable = |why: String| ClientError::Address(base.to_owned(), why);
        let mut url = Url::parse(base).map_err(|error| unusable(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(unusable(
                "it must begin with http:// or https://".to_owned(),
            ));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let tenant = tenant.map(tenant_header).transpose()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("orchestrator/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // A proxy would look for the server on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| unusable(error::root_cause(&error)))?;
        Ok(Self {
            http,
            base: url,
            key,
            tenant,
        })
    }

    /// The same connection and key, acting for another tenant.
    pub fn for_tenant(&self, tenant: &str) -> Result<Self, ClientError> {
        Ok(Self {
            tenant: Some(tenant_header(tenant)?),
            ..self.clone()
        })
    }

    /// The same connection with another key, for that key's own tenant.
    pub fn with_key(&self, key: Secret) -> Self {
        Self {
            key: Some(key),
            tenant: None,
            ..self.clone()
        }
    }

    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, query)?;
        self.document(request.timeout(ANSWER_TIMEOUT)).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.send(Method::POST, path, body).await
    }

    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.send(Method::PATCH, path, body).await
    }

    /// An action without a body.
    pub async fn act<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path, &[])?;
        self.document(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// Takes something away; a good answer says nothing.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, path, &[])?;
        self.answer(request.timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    /// The items of a list, page after page, `most` at most.
    pub async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        most: usize,
    ) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = PAGE.min(most - items.len());
            let mut query = query.to_vec();
            query.push(("limit", limit.to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<Value> = self.get(path, &query).await?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || items.len() >= most {
                return Ok(items);
            }
        }
    }

    /// A session's log, to where it is now or as it is written; after a break it goes on where it was.
    pub fn log(&self, id: impl std::fmt::Display, follow: bool) -> Log {
        Log::new(self.clone(), format!("sessions/{id}/logs"), follow)
    }

    /// A text that is not JSON, piece by piece, as long as the server goes on.
    pub async fn text(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Response, ClientError> {
        self.answer(self.request(Method::GET, path, query)?).await
    }

    /// An event stream; after a break it goes on behind the last event.
    pub fn events(&self, path: &str) -> Events {
        Events::new(self.clone(), path.to_owned())
    }

    async fn open_events(&self, path: &str, after: Option<&str>) -> Result<Response, ClientError> {
        let mut request = self
            .request(Method::GET, path, &[])?
            .header(ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        self.answer(request).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        let request = self.request(method, path, &[])?.json(body);
        self.document(request.timeout(ANSWER_TIMEOUT)).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, ClientError> {
        let mut url = self
            .base
            .join(&format!("api/v1/{path}"))
            .map_err(|error| ClientError::Address(path.to_owned(), error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = HeaderMap::new();
        if let Some(tenant) = &self.tenant {
            headers.insert(TENANT_HEADER, tenant.clone());
        }
        let request = self.http.request(method, url).headers(headers);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        })
    }

    async fn document<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let answer = self.answer(request).await?;
        let body = answer
            .bytes()
            .await
            .map_err(|error| ClientError::broke_off(self.base(), &error))?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Garbled(self.base().to_owned(), error.to_string()))
    }

    /// The answer, if it is a good one.
    async fn answer(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request
            .send()
            .await
            .map_err(|error| ClientError::unreachable(self.base(), &error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.unwrap_or_default();
        let problem = serde_json::from_slice(&body).ok();
        Err(ClientError::refused(
            status,
            problem,
            self.key.is_some(),
            self.base(),
        ))
    }
}

fn tenant_header(tenant: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(tenant).map_err(|_| ClientError::Tenant(tenant.to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_none_are_refused_with_a_reason() {
        for wrong in ["localhost:8080", "ftp://x/", "http://", "what"] {
            let error = Client::new(wrong, None, None).err();
            assert!(matches!(error, Some(ClientError::Address(..))), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (text, expected) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://localhost/", true),
            ("http://10.0.0.1/", false),
            ("https://example.org/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
