//! The API as a client sees it: requests, and answers that say what was asked when they are not what they should be.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// No single answer takes longer, streams aside.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

#[derive(Clone)]
pub struct Api {
    http: Client,
    base: String,
    key: Option<String>,
    tenant: Option<String>,
}

impl Api {
    pub fn new(base: &str, key: Option<&str>) -> Self {
        static PROVIDER: Once = Once::new();
        // Nothing here speaks TLS, but the client wants to know who would.
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Self {
            http: Client::builder().no_proxy().build().expect("a client"),
            base: base.to_owned(),
            key: key.map(str::to_owned),
            tenant: None,
        }
    }

    /// The same, acting for a tenant: only a system admin's key may.
    pub fn acting_for(&self, tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            ..self.clone()
        }
    }

    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self {
            key: key.map(str::to_owned),
            tenant: None,
            ..self.clone()
        }
    }

    /// True when the server says that it is ready; false as well while nobody answers.
    pub async fn is_ready(&self) -> bool {
        let answer = self.request(Method::GET, "/health/ready").send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant-id", tenant);
        }
        request
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// A request without a body: what steers a job.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body))
            .await
    }

    /// A body that need not be JSON.
    pub async fn post_text(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = self.request(Method::POST, path);
        let request = request.header("content-type", content_type);
        self.send(request.body(body.to_owned())).await
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.timeout(ANSWER_LIMIT).build().expect("a request");
        let asked = format!("{} {}", request.method(), request.url());
        let response = self.http.execute(request).await;
        let response = response.unwrap_or_else(|error| panic!("{asked}: no answer: {error:?}"));
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await;
        let body = body.unwrap_or_else(|error| panic!("{asked}: broken answer: {error:?}"));
        Answer {
            asked,
            status,
            headers,
            body: body.to_vec(),
        }
    }
}

pub struct Answer {
    asked: String,
    pub status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{} answered {}",
            self.asked,
            self.text()
        );
        self
    }

    /// A problem document with this status and code, and whatever every problem has.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        let content_type = answer.header("content-type").unwrap_or_default();
        assert_eq!(content_type, "application/problem+json", "{}", answer.asked);
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{}: {problem}", answer.asked);
        assert_eq!(problem["status"], status, "{}: {problem}", answer.asked);
        for member in ["type", "title", "detail", "request_id"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(
                !text.is_empty(),
                "{}: no {member} in {problem}",
                answer.asked
            );
        }
        problem
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} answered no JSON ({error}): {}", self.asked, self.text())
        })
    }
}
