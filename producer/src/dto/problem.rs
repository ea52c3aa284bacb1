use domain::Violation;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Where the problem is explained.
    #[serde(rename = "type")]
    #[schema(example = "/docs#VALIDATION_ERROR")]
    pub type_: String,
    /// The problem in a few words, the same for every occurrence.
    pub title: String,
    /// The HTTP status, once more.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened here, to what, and what to do.
    pub detail: String,
    /// Stable, for programs.
    #[schema(example = "VALIDATION_ERROR")]
    pub code: String,
    /// The same as the header `x-request-id`; operators find the log by it.
    pub request_id: String,
    /// Every place of the request that is wrong; absent when no single place is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// More for programs, by code: `state` and `allowed` of `INVALID_TRANSITION`, `limit` of `QUOTA_EXCEEDED`, ...
    #[serde(flatten)]
    #[schema(ignore)]
    pub extra: Map<String, Value>,
}

/// One place that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer into the body; for an address without a body, `/` and the query parameter's name.
    #[schema(example = "/agent/argv")]
    pub pointer: String,
    pub detail: String,
}

impl From<Violation> for FieldError {
    fn from(violation: Violation) -> Self {
        Self {
            pointer: violation.pointer,
            detail: violation.detail,
        }
    }
}
