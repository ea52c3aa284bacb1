//! The problems that routes can answer, for the OpenAPI document: each route names the sets that apply to it.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use crate::problem::PROBLEM_JSON;

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $set:ident { $($status:literal: $what:literal),* $(,)? })*) => { $(
        $(#[$doc])*
        pub(crate) struct $set;

        impl IntoResponses for $set {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status, $what)),*].into_iter().map(|(status, what)| document(status, what)).collect()
            }
        }
    )* };
}

problem_sets! {
    /// Every route that needs a key.
    Guarded {
        "401": "`UNAUTHENTICATED`: no key, or one that is not valid.",
        "403": "`FORBIDDEN`: the key's role does not allow it. `WRONG_TENANT`: X-Tenant-ID names a tenant that the key does not open.",
        "500": "`INTERNAL_ERROR`: the server made a mistake.",
        "503": "`STORE_UNAVAILABLE`, `STORE_FULL`, `REQUEST_TIMEOUT`, `AGENT_UNAVAILABLE`: try again later.",
    }
    /// Routes with query parameters.
    Queried {
        "422": "`VALIDATION_ERROR`: a query parameter is unknown or not valid.",
    }
    /// Routes that take a JSON body.
    Bodied {
        "400": "`INVALID_JSON`: the body is not JSON.",
        "413": "`BODY_TOO_LARGE`.",
        "415": "`UNSUPPORTED_MEDIA_TYPE`: the body is not sent as JSON.",
        "422": "`VALIDATION_ERROR`: `errors` says what is wrong where.",
    }
    /// Routes that take `If-Match`.
    Versioned {
        "412": "`VERSION_MISMATCH`: somebody else changed it meanwhile.",
    }
    /// Routes that name a job.
    OfJob {
        "404": "`SESSION_NOT_FOUND`, `JOB_NOT_FOUND`: the tenant has no such job of this kind.",
    }
    /// Routes that put jobs into a tenant's backlog.
    Submitting {
        "409": "`QUEUE_DRAINING`: the queue takes no new jobs. `INVALID_TRANSITION`: the job's state does not allow it.",
        "429": "`QUOTA_EXCEEDED`: the tenant's backlog is full.",
    }
    /// Routes that name a queue.
    OfQueue {
        "404": "`QUEUE_NOT_FOUND`: there is one queue for each kind of jobs.",
    }
    /// Routes that name a replay.
    OfReplay {
        "404": "`REPLAY_NOT_FOUND`.",
    }
    /// Routes that name a schedule.
    OfSchedule {
        "404": "`SCHEDULE_NOT_FOUND`.",
    }
    /// Routes that name an agent.
    OfAgent {
        "404": "`AGENT_NOT_FOUND`.",
    }
    /// Routes for external agents, which have tokens and no keys.
    WithToken {
        "401": "`UNAUTHENTICATED`: no token, or not this agent's.",
        "500": "`INTERNAL_ERROR`: the server made a mistake.",
        "503": "`STORE_UNAVAILABLE`, `STORE_FULL`, `REQUEST_TIMEOUT`: try again later.",
    }
    /// Routes that name a task of an external agent.
    OfTask {
        "404": "`AGENT_NOT_FOUND`, `TASK_NOT_FOUND`: another agent's task is not found either.",
        "409": "`TASK_CANCELLED`: the session does not want it any more. `TASK_LEASE_LOST`: it was taken away.",
    }
    /// Routes that name a tenant.
    OfTenant {
        "404": "`TENANT_NOT_FOUND`.",
    }
}

fn document(status: &str, what: &str) -> (String, RefOr<Response>) {
    let schema = Ref::from_schema_name("Problem");
    let response = ResponseBuilder::new()
        .description(what)
        .content(PROBLEM_JSON, Content::new(Some(schema)))
        .build();
    (status.to_owned(), RefOr::T(response))
}
