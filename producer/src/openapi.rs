//! The API's description: what the routes say about themselves, under one head.

use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};

use crate::api;
use crate::auth::KEY_COOKIE;
use crate::config::ProducerConfig;
use crate::dto::problem::{FieldError, ProblemBody};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Industrial Orchestrator",
        description = "Autonomous coding sessions and training jobs for many tenants, on a queue that can be trusted.\n\n\
                       Every failure is a problem document (RFC 9457) with a stable `code`. Lists are paged by cursor. \
                       A system admin acts for any tenant by the header `X-Tenant-ID`, with its slug or id.",
    ),
    components(schemas(ProblemBody, FieldError)),
    security(("key" = []), ("cookie" = [])),
    tags(
        (name = "Sessions", description = "Coding sessions: an agent works on a repository."),
        (name = "Fine-tuning", description = "Training jobs: a model is fine-tuned on a dataset."),
        (name = "Jobs", description = "Jobs of all kinds together."),
        (name = "Agents", description = "Agents that sessions can be routed to, by what they can do."),
        (name = "Queues", description = "A tenant's queues, one for each kind of jobs."),
        (name = "Dead letters", description = "Jobs that failed for good, and queueing them again."),
        (name = "Schedules", description = "Jobs that are made again and again, by a timetable."),
        (name = "Tenants"),
        (name = "Keys", description = "API keys of a tenant."),
        (name = "System"),
    ),
)]
struct Head;

/// The whole document.
pub fn openapi() -> OpenApi {
    let routes = api::routes(&ProducerConfig::default(), head());
    routes.into_openapi()
}

/// The document before any route is in it.
pub(crate) fn head() -> OpenApi {
    let mut head = Head::openapi();
    let components = head.components.get_or_insert_default();
    let key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key, `orc_<id>_<secret>`."))
        .build();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    let cookie = ApiKeyValue::with_description(
        KEY_COOKIE,
        "The same key in the cookie that the login page sets. Requests that change something must come from this server's own pages.",
    );
    let agent = ApiKeyValue::with_description(
        "X-Agent-Token",
        "What an external agent got when it registered; good for its own heartbeats.",
    );
    components.add_security_scheme("agent", SecurityScheme::ApiKey(ApiKey::Header(agent)));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    head
}

/// The document as it is served.
pub(crate) struct Description {
    pub json: String,
    /// The page at `/docs`.
    pub page: String,
}
