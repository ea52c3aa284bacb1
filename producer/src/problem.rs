//! Every failure as an RFC 9457 problem document.
//!
//! A [`Problem`] travels as an extension of an empty response; [`render`], the outermost layer that sees answers, turns
//! it into JSON with the request's id, and turns the framework's own failures (404, 405, ...) into problems as well.
//! What is said to clients is said here on purpose: messages of the stores, of panics or of libraries are logged and
//! never sent.

use std::any::Any;

use application::ports::{BlobError, Refused, StoreError};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use domain::{FAMILY_DEPTH_MAX, JobId, Violation, Violations};
use serde_json::{Map, Value};

use crate::dto::problem::{FieldError, ProblemBody};
use crate::problem_kinds::{self as kinds, Kind};
use crate::request_id::RequestId;

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// Problems of one request told at once; a client with more has one mistake many times.
const ERRORS_MAX: usize = 100;

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: &'static Kind,
    detail: String,
    errors: Vec<Violation>,
    /// Members beside the standard ones.
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Map::new(),
            headers: Vec::new(),
        }
    }

    /// 422, with every place that is wrong.
    pub fn invalid(violations: Violations) -> Self {
        let mut errors = violations.0;
        let count = errors.len();
        let detail = if count == 1 {
            "One field is not valid; `errors` says which, and what would be right.".to_owned()
        } else if count > ERRORS_MAX {
            errors.truncate(ERRORS_MAX);
            format!("{count} fields are not valid; `errors` has the first {ERRORS_MAX} of them.")
        } else {
            format!("{count} fields are not valid; `errors` says which, and what would be right.")
        };
        Self {
            errors,
            ..Self::new(&kinds::VALIDATION_ERROR, detail)
        }
    }

    /// 422 with one place.
    pub fn invalid_at(pointer: &str, detail: impl Into<String>) -> Self {
        let mut violations = Violations::default();
        violations.add(pointer, detail);
        Self::invalid(violations)
    }

    pub fn unauthenticated(detail: &str) -> Self {
        Self::new(&kinds::UNAUTHENTICATED, detail)
            .header(WWW_AUTHENTICATE, "Bearer realm=\"orchestrator\"")
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, seconds.into()));
        self
    }

    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    pub const fn status(&self) -> StatusCode {
        self.kind.status
    }

    pub const fn title(&self) -> &'static str {
        self.kind.title
    }

    pub const fn code(&self) -> &'static str {
        self.kind.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn body(self, request_id: &str) -> ProblemBody {
        ProblemBody {
            type_: format!("/docs#{}", self.kind.code),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail,
            code: self.kind.code.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.into_iter().map(FieldError::from).collect(),
            extra: self.extra,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Violations> for Problem {
    fn from(violations: Violations) -> Self {
        Self::invalid(violations)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The request's span carries its id, so that operators find this line by what the client was told.
        tracing::error!(%error, "the store failed a request");
        match error {
            StoreError::Unavailable(_) => Self::new(
                &kinds::STORE_UNAVAILABLE,
                "The store did not answer in time. Try again in a moment.",
            )
            .header(RETRY_AFTER, "1"),
            StoreError::Full(_) => Self::new(
                &kinds::STORE_FULL,
                "The store has no room left, so nothing was kept. Tell the operator; trying again helps once there is room.",
            )
            .header(RETRY_AFTER, "60"),
            StoreError::Corrupt(_) => Self::new(
                &kinds::INTERNAL_ERROR,
                "The store holds something that this version does not understand. Tell the operator, with the request_id.",
            ),
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        tracing::error!(%error, "the artifact store failed a request");
        Self::new(
            &kinds::ARTIFACTS_UNAVAILABLE,
            "The artifact store did not answer. Try again in a moment.",
        )
        .header(RETRY_AFTER, "1")
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TenantUnknown(_) => Self::new(
                &kinds::TENANT_NOT_FOUND,
                "The tenant does not exist any more. Use a key of an existing tenant.",
            ),
            Refused::TenantInactive(_) => Self::new(
                &kinds::TENANT_INACTIVE,
                "The tenant is switched off: its jobs are neither accepted nor run. An admin can set `active` to true.",
            ),
            Refused::QueueDraining { kind, paused } => {
                let does = if paused {
                    "being drained and paused: it takes no new jobs, and starts none of those it has"
                } else {
                    "being drained: it works off what it has and takes no new jobs"
                };
                let detail = format!(
                    "The tenant's queue of {kind} jobs is {does}. A lead of the tenant can resume it."
                );
                Self::new(&kinds::QUEUE_DRAINING, detail)
            }
            Refused::PrerequisiteUnknown(job) => {
                Self::invalid_at("/depends_on", no_prerequisite(job))
            }
            Refused::ParentUnknown(job) => Self::invalid_at("/parent_id", no_parent(job)),
            Refused::FamilyTooDeep(parent) => Self::invalid_at("/parent_id", too_deep(parent)),
            Refused::BudgetUsedUp { of, what } => Self::new(
                &kinds::BUDGET_EXCEEDED,
                format!(
                    "The budget of session {of} is used up: {what}. Resuming it, or one of its children, when it is paused \
                     grants the same once more, unless it says `\"on_limit\": \"stop\"`; or submit the session without \
                     `parent_id`."
                ),
            )
            .with("session", of.to_string()),
            Refused::MonthUsedUp { until, seconds } => Self::new(
                &kinds::TENANT_BUDGET_EXCEEDED,
                format!(
                    "The tenant has used up what its sessions may use in this month. Resume the session after {until}, or \
                     when an admin has raised the tenant's `monthly_tokens` or `monthly_cost_usd`.",
                    until = until.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                ),
            )
            .with("until", until.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            .retry_after(seconds),
            Refused::BacklogFull {
                limit,
                waiting,
                offered,
            } => Self::new(
                &kinds::QUOTA_EXCEEDED,
                format!(
                    "{waiting} jobs wait already and {offered} were offered; the tenant's limit `max_queued` is {limit}. \
                     Try again when some have run, or ask for a higher limit."
                ),
            )
            .with("limit", limit)
            .with("waiting", waiting)
            .with("offered", offered)
            .header(RETRY_AFTER, "5"),
        }
    }
}

/// Said alike of a job that does not exist and of another tenant's.
pub(crate) fn no_prerequisite(job: JobId) -> String {
    format!("there is no job {job} to wait for")
}

/// Said alike of a job that does not exist and of another tenant's.
pub(crate) fn no_parent(job: JobId) -> String {
    format!("there is no job {job} to belong to")
}

/// Of a job whose family has as many generations as one may have.
pub(crate) fn too_deep(parent: JobId) -> String {
    format!(
        "job {parent} cannot have children: a family has at most {FAMILY_DEPTH_MAX} generations"
    )
}

/// What a panicking handler answers; the panic itself goes to the log.
pub(crate) fn from_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(message, "a handler panicked");
    // The box may itself panic when dropped; nothing of it is needed any more.
    std::mem::forget(panic);
    Problem::new(
        &kinds::INTERNAL_ERROR,
        "The server made a mistake. Tell the operator, with the request_id.",
    )
    .into_response()
}

/// The layer that writes problem documents.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    if !is_failure(&response) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let problem = parts
        .extensions
        .remove::<Problem>()
        .unwrap_or_else(|| of_framework(parts.status, &asked));
    let id = id.as_ref().map_or("", RequestId::as_str);
    let body = serde_json::to_vec(&problem.body(id)).unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, Body::from(body))
}

/// True for a problem, and for a failure of the framework, which is plain text or empty; pages and health reports
/// that say what is wrong themselves are left as they are.
fn is_failure(response: &Response) -> bool {
    if response.extensions().get::<Problem>().is_some() {
        return true;
    }
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let content_type = response.headers().get(CONTENT_TYPE);
    failed && content_type.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn of_framework(status: StatusCode, asked: &str) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(
            &kinds::NOT_FOUND,
            format!("There is nothing at `{asked}`. /docs lists what there is."),
        ),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            &kinds::METHOD_NOT_ALLOWED,
            format!(
                "`{asked}` is not possible; the header Allow names the methods of this address."
            ),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(&kinds::BODY_TOO_LARGE, "Send a smaller body.")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            &kinds::UNSUPPORTED_MEDIA_TYPE,
            "Send the body as `Content-Type: application/json`.",
        ),
        StatusCode::BAD_REQUEST => Problem::new(
            &kinds::BAD_REQUEST,
            "The address or a header of the request cannot be read. Check its percent-encoding.",
        ),
        status if status.is_client_error() => Problem::new(
            &kinds::REQUEST_FAILED,
            format!("`{asked}` cannot be answered ({status}). /docs says what it needs."),
        ),
        _ => {
            tracing::error!(%status, "a request failed without saying why");
            Problem::new(
                &kinds::INTERNAL_ERROR,
                "The server made a mistake. Tell the operator, with the request_id.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_its_words_are_not() {
        async fn broken() {
            panic!("the password is swordfish");
        }
        let router: Router = Router::new()
            .route("/broken", get(broken))
            .layer(CatchPanicLayer::custom(from_panic))
            .layer(from_fn(render));
        let request = Request::get("/broken").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains("INTERNAL_ERROR") && !text.contains("swordfish"),
            "{text}"
        );
    }
}
