//! The catalogue of problems: every `code` the API can answer, with its status and what it means.
//!
//! Codes are stable: clients branch on them. `/docs` lists them from here, and a problem's `type` points there.

use axum::http::StatusCode;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub code: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $status:ident, $title:literal;)*) => {
        $( pub(crate) const $name: Kind = Kind {
            code: stringify!($name),
            status: StatusCode::$status,
            title: $title,
        }; )*

        /// All of them, in the order of their status.
        pub(crate) const ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    BAD_REQUEST: BAD_REQUEST, "The request cannot be read";
    INVALID_JSON: BAD_REQUEST, "The body is not JSON";
    UNAUTHENTICATED: UNAUTHORIZED, "A valid API key, or an agent's own token, is needed";
    FORBIDDEN: FORBIDDEN, "The key's role does not allow this";
    WRONG_TENANT: FORBIDDEN, "The key does not open this tenant";
    CROSS_SITE: FORBIDDEN, "The request comes from another site";
    TENANT_INACTIVE: FORBIDDEN, "The tenant is not active";
    NOT_FOUND: NOT_FOUND, "There is nothing at this address";
    SESSION_NOT_FOUND: NOT_FOUND, "No such session";
    JOB_NOT_FOUND: NOT_FOUND, "No such job";
    ARTIFACT_NOT_FOUND: NOT_FOUND, "No such artifact";
    CHECKPOINT_NOT_FOUND: NOT_FOUND, "No such checkpoint";
    DIFF_NOT_FOUND: NOT_FOUND, "The session has no diff";
    TENANT_NOT_FOUND: NOT_FOUND, "No such tenant";
    QUEUE_NOT_FOUND: NOT_FOUND, "No such queue";
    REPLAY_NOT_FOUND: NOT_FOUND, "No such replay";
    SCHEDULE_NOT_FOUND: NOT_FOUND, "No such schedule";
    AGENT_NOT_FOUND: NOT_FOUND, "No such agent";
    TASK_NOT_FOUND: NOT_FOUND, "The agent has no such task";
    KEY_NOT_FOUND: NOT_FOUND, "No such key";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "The address does not know this method";
    INVALID_TRANSITION: CONFLICT, "The job's state does not allow this";
    BUDGET_EXCEEDED: CONFLICT, "The session's budget is used up";
    QUEUE_DRAINING: CONFLICT, "The queue takes no new jobs";
    SLUG_TAKEN: CONFLICT, "The slug is taken";
    SCHEDULE_NAME_TAKEN: CONFLICT, "The schedule's name is taken";
    AGENT_NAME_TAKEN: CONFLICT, "The agent's name is taken";
    TOO_MANY_AGENTS: CONFLICT, "There may not be more agents";
    TASK_LEASE_LOST: CONFLICT, "The task is not the agent's any more";
    TASK_CANCELLED: CONFLICT, "Nobody wants the task any more";
    TOO_MANY_SCHEDULES: CONFLICT, "The tenant may not have more schedules";
    VERSION_MISMATCH: PRECONDITION_FAILED, "Somebody else changed it meanwhile";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "The body is too large";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "The body's type is not understood";
    VALIDATION_ERROR: UNPROCESSABLE_ENTITY, "The request is not valid";
    QUOTA_EXCEEDED: TOO_MANY_REQUESTS, "The tenant's backlog is full";
    TENANT_BUDGET_EXCEEDED: TOO_MANY_REQUESTS, "The tenant's budget of this month is used up";
    REQUEST_FAILED: BAD_REQUEST, "The request failed";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR, "The server failed";
    STORE_UNAVAILABLE: SERVICE_UNAVAILABLE, "The store does not answer";
    STORE_FULL: SERVICE_UNAVAILABLE, "The store is full";
    AGENT_UNAVAILABLE: SERVICE_UNAVAILABLE, "No agent can take the session now";
    ARTIFACTS_UNAVAILABLE: SERVICE_UNAVAILABLE, "The artifact store does not answer";
    TOO_MANY_STREAMS: SERVICE_UNAVAILABLE, "Too many streams are open";
    REQUEST_TIMEOUT: SERVICE_UNAVAILABLE, "The request took too long";
}
