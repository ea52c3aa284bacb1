//! The three calls that a run makes, each bounded in time and size; says what an answer means and decides nothing about
//! trying again. Never follows a redirect and uses no proxy: the token goes to the configured address and nowhere else.

use std::time::Duration;

use application::ports::HandlerError;
use domain::Progress;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode};

use super::answer::{self, TaskResult};
use super::endpoint::Endpoint;
use crate::failure::fail;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// An agent that needs longer says 202.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// A result with all its files.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// An answer that says only how far it is.
const RUNNING_BYTES: usize = 64 * 1024;
const REFUSAL_BYTES: usize = 4 * 1024;
/// Of what a refusal says.
const REFUSAL_CHARS: usize = 500;
/// An agent that asks for more patience is asked again all the same.
const RETRY_AFTER_MAX: u64 = 30;
const TOKEN_HEADER: &str = "x-agent-token";

pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    task: String,
}

/// What an agent answered.
pub(super) enum Said {
    Ended(Box<TaskResult>),
    Running {
        progress: Option<Progress>,
        after: Option<Duration>,
    },
    /// It has no such task.
    Unknown,
    /// It could not be reached, or wants to be asked later.
    NotNow {
        why: String,
        after: Option<Duration>,
    },
}

/// What agents of the operator's choice are called by. The text says why there is none.
pub(super) fn http() -> Result<reqwest::Client, String> {
    built(builder())
}

pub(super) fn built(builder: ClientBuilder) -> Result<reqwest::Client, String> {
    builder
        .build()
        .map_err(|error| format!("calls to agents cannot be made: {error}"))
}

/// What every call to an agent keeps to.
pub(super) fn builder() -> ClientBuilder {
    // Fails only when a provider is there already, which would be as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .user_agent(concat!("orchestrator/", env!("CARGO_PKG_VERSION")))
}

impl Client {
    /// `task` is the id of the task that all calls are about.
    pub(super) fn new(http: reqwest::Client, endpoint: Endpoint, task: String) -> Self {
        Self {
            http,
            endpoint,
            task,
        }
    }

    pub(super) fn agent(&self) -> &str {
        self.endpoint.name()
    }

    /// Gives the task, or asks for it once more.
    pub(super) async fn give(&self, body: Vec<u8>) -> Result<Said, HandlerError> {
        let call = self
            .call(Method::POST, &["task"])
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        match self.ask(call).await? {
            Said::Unknown => Err(self.refused(
                StatusCode::NOT_FOUND,
                "there is nothing at /task; is the address right?",
            )),
            said => Ok(said),
        }
    }

    /// Asks what has become of it.
    pub(super) async fn look(&self) -> Result<Said, HandlerError> {
        self.ask(self.call(Method::GET, &["task", &self.task]))
            .await
    }

    /// Says that nobody wants it any more. What the agent says to that changes nothing.
    pub(super) async fn cancel(&self) {
        let call = self.call(Method::DELETE, &["task", &self.task]);
        if let Err(error) = call.send().await {
            tracing::info!(
                agent = self.agent(),
                error = cause(&error),
                "a task could not be cancelled"
            );
        }
    }

    fn call(&self, method: Method, parts: &[&str]) -> RequestBuilder {
        self.http
            .request(method, self.endpoint.at(parts))
            .header(TOKEN_HEADER, self.endpoint.token())
            .timeout(ANSWER_LIMIT)
    }

    async fn ask(&self, call: RequestBuilder) -> Result<Said, HandlerError> {
        let response = match call.send().await {
            Ok(response) => response,
            Err(error) => return Ok(not_now(cause(&error), None)),
        };
        let status = response.status();
        let after = retry_after(&response);
        let limit = match status {
            StatusCode::OK => ANSWER_BYTES,
            StatusCode::ACCEPTED => RUNNING_BYTES,
            _ => REFUSAL_BYTES,
        };
        let body = match bounded(response, limit).await {
            Ok(body) => body,
            Err(error) => return Ok(not_now(cause(&error), None)),
        };
        match status {
            StatusCode::OK | StatusCode::ACCEPTED if body.is_cut => {
                Err(self.bad(&format!("has more than {limit} bytes")))
            }
            StatusCode::OK => answer::result(&body.bytes, &self.task)
                .map(|result| Said::Ended(Box::new(result)))
                .map_err(|why| self.bad(&why)),
            StatusCode::ACCEPTED => answer::running(&body.bytes, &self.task)
                .map(|progress| Said::Running { progress, after })
                .map_err(|why| self.bad(&why)),
            StatusCode::NOT_FOUND => Ok(Said::Unknown),
            status if is_passing(status) => Ok(not_now(
                format!("it answered {status}{}", said(&body)),
                after,
            )),
            status => Err(self.refused(status, &said(&body))),
        }
    }

    fn bad(&self, why: &str) -> HandlerError {
        let agent = self.agent();
        let message = format!(
            "the answer of the agent `{agent}` {why}; its author finds the contract in docs/eap.md, and \
             `orchestrator agent check` tells more"
        );
        fail("EAP_BAD_ANSWER", message)
    }

    fn refused(&self, status: StatusCode, said: &str) -> HandlerError {
        let agent = self.agent();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let message = format!(
                "the agent `{agent}` answered {status}: it does not take the worker's token; {}{said}",
                self.endpoint.token_advice()
            );
            return fail("EAP_UNAUTHORIZED", message);
        }
        let advice = if status.is_redirection() {
            "; redirects are not followed, configure the address itself"
        } else {
            ""
        };
        let message = format!("the agent `{agent}` refused the task: {status}{advice}{said}");
        fail("EAP_REFUSED", message)
    }
}

/// Those that say nothing about the task.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn not_now(why: String, after: Option<Duration>) -> Said {
    Said::NotNow { why, after }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX)))
}

pub(super) struct Body {
    pub bytes: Vec<u8>,
    pub is_cut: bool,
}

pub(super) async fn bounded(mut response: Response, limit: usize) -> reqwest::Result<Body> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            let is_cut = true;
            return Ok(Body { bytes, is_cut });
        }
    }
    let is_cut = false;
    Ok(Body { bytes, is_cut })
}

/// What stands in a refusal, as the end of a sentence.
fn said(body: &Body) -> String {
    let text = String::from_utf8_lossy(&body.bytes);
    let text = text.trim().replace('\0', "\u{fffd}");
    if text.is_empty() {
        return String::new();
    }
    format!(": {}", cut(&text, REFUSAL_CHARS))
}

pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit).collect();
    format!("{start}...")
}

/// Its own words name only the address; the last cause is what matters.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    }
    last_cause(error)
}

pub(super) fn last_cause(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut source = error.source();
    let mut last = None;
    while let Some(error) = source {
        last = Some(error);
        source = error.source();
    }
    last.map_or_else(|| "the call failed".to_owned(), ToString::to_string)
}
