//! Registered agents. An address names one by its id or by its name, the tenant's own before a shared one.

mod change;
mod delete;
mod drain;
mod external;
mod get;
mod list;
mod register;
mod resume;
mod route;

use application::ports::{AGENTS_MAX, AgentError, TASK_RESULT_BYTES_MAX};
use application::use_cases::RegisterError;
use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use domain::{AgentChange, Candidate, Permit, TenantId};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::auth::permit::ManageAgents;
use crate::auth::{Allowed, Caller};
use crate::dto::agent::RegisteredAgentBody;
use crate::if_match::version_moved;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    let result_limit = DefaultBodyLimit::max(TASK_RESULT_BYTES_MAX);
    OpenApiRouter::new()
        .routes(routes!(register::register_agent))
        .routes(routes!(list::list_agents))
        .routes(routes!(route::route_task))
        .routes(routes!(external::register::register_external_agent))
        .routes(routes!(external::heartbeat::agent_heartbeat))
        .routes(routes!(external::lease::lease_agent_task))
        .routes(routes!(external::report::report_agent_task))
        .routes(routes!(external::result::end_agent_task).layer(result_limit))
        .routes(routes!(get::get_agent))
        .routes(routes!(change::change_agent))
        .routes(routes!(delete::remove_agent))
        .routes(routes!(drain::drain_agent))
        .routes(routes!(resume::resume_agent))
}

/// The agent of this id or name, as far as the tenant may use it.
async fn find(app: &App, tenant: TenantId, named: &str) -> Result<Candidate, Problem> {
    let agents = &app.ports.agents;
    let found = match named.parse() {
        Ok(id) => agents.agent(tenant, id).await?,
        Err(_) => agents.agent_by_name(tenant, named).await?,
    };
    found.ok_or_else(no_such_agent)
}

/// The same, if the caller may change it: shared ones are the system's.
async fn find_own(
    app: &App,
    allowed: &Allowed<ManageAgents>,
    named: &str,
) -> Result<Candidate, Problem> {
    let found = find(app, allowed.tenant, named).await?;
    if found.agent.tenant.is_none() {
        allowed.caller.may(Permit::ManageSharedAgents)?;
    }
    Ok(found)
}

/// For whom a new agent is.
fn owner(caller: &Caller, tenant: TenantId, shared: bool) -> Result<Option<TenantId>, Problem> {
    if !shared {
        return Ok(Some(tenant));
    }
    caller.may(Permit::ManageSharedAgents)?;
    Ok(None)
}

fn no_such_agent() -> Problem {
    let detail = "The tenant has no such agent, and there is no shared one. Check its id or name, and the tenant.";
    Problem::new(&kinds::AGENT_NOT_FOUND, detail)
}

/// Changes it, whatever its version where none is expected.
async fn change(
    app: &App,
    found: Candidate,
    change: AgentChange,
    expected: Option<i64>,
) -> Result<Response, Problem> {
    let Candidate { agent, in_use } = found;
    let now = app.ports.clock.now();
    let agents = &app.ports.agents;
    let changed = agents
        .change_agent(agent.tenant, agent.id, change, expected, now)
        .await?;
    let agent = changed.ok_or_else(no_such_agent)?;
    Ok(answer(app, Candidate { agent, in_use }))
}

async fn set_draining(
    app: &App,
    allowed: &Allowed<ManageAgents>,
    named: &str,
    draining: bool,
) -> Result<Response, Problem> {
    let found = find_own(app, allowed, named).await?;
    let wanted = AgentChange {
        draining: Some(draining),
        ..AgentChange::default()
    };
    change(app, found, wanted, None).await
}

/// An agent with its version as `ETag`.
fn answer(app: &App, candidate: Candidate) -> Response {
    let tag = format!("\"{}\"", candidate.agent.version);
    let body = RegisteredAgentBody::of(candidate, app.ports.clock.now());
    ([(ETAG, tag)], Json(body)).into_response()
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::NameTaken(name) => Self::new(
                &kinds::AGENT_NAME_TAKEN,
                format!(
                    "There is an agent `{name}` already. Choose another name, or change that one."
                ),
            ),
            AgentError::TooMany => Self::new(
                &kinds::TOO_MANY_AGENTS,
                format!(
                    "There may be {AGENTS_MAX} agents of one owner. Remove those that are not needed."
                ),
            ),
            AgentError::VersionMoved(version) => version_moved(version, "agent"),
            AgentError::Invalid(violations) => violations.into(),
            AgentError::Store(error) => error.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Agent(error) => error.into(),
            RegisterError::NoRandomness(why) => {
                tracing::error!(why, "a token could not be made");
                Self::new(
                    &kinds::INTERNAL_ERROR,
                    "The server has no random numbers to make a token of. Tell the operator, with the request_id.",
                )
            }
        }
    }
}
