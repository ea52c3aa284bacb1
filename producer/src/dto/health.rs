use serde::Serialize;
use utoipa::ToSchema;

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Live {
    #[schema(example = "live")]
    pub status: &'static str,
}

/// Whether the process can do its work now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready`, `draining` or `not_ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    pub checks: Vec<Check>,
}

/// One thing that the process needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    /// `store`, `queue` or `coordination`.
    #[schema(example = "store")]
    pub name: &'static str,
    pub ok: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}
