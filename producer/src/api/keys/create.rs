use application::use_cases::{self, CreateKeyError, NewKey};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::SubsecRound as _;
use domain::{Role, Timestamp, Violations};

use crate::auth::permit::ManageKeys;
use crate::auth::{Allowed, no_such_tenant};
use crate::body::Body;
use crate::dto::key::{CreatedKey, NewKeyBody};
use crate::dto::text::check_name;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

const NAME_MAX: usize = 100;

/// Create an API key
///
/// For the tenant that the caller acts for, with at most the caller's own role. The key is in the answer and is never
/// shown again.
#[utoipa::path(
    post,
    path = "/",
    tag = "Keys",
    request_body = NewKeyBody,
    responses((status = 201, description = "The key.", body = CreatedKey), Guarded, Bodied),
)]
pub(super) async fn create_key(
    State(app): State<App>,
    allowed: Allowed<ManageKeys>,
    Body(body): Body<NewKeyBody>,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    check(&body, app.ports.clock.now())?;
    let role = Role::from(body.role);
    let own = allowed.caller.key.role;
    if role > own {
        let detail =
            format!("A key of role {own} cannot make one of role {role}. Choose {own} or lower.");
        return Err(Problem::new(&kinds::FORBIDDEN, detail));
    }
    let new = NewKey {
        tenant: allowed.tenant,
        role,
        name: body.name,
        expires_at: body.expires_at.map(|at| at.trunc_subsecs(6)),
    };
    let (key, text) = use_cases::create_key(&app.ports, new).await?;
    let created = CreatedKey {
        about: key.into(),
        key: text,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

fn check(body: &NewKeyBody, now: Timestamp) -> Result<(), Violations> {
    let mut violations = Violations::default();
    check_name("/name", &body.name, NAME_MAX, &mut violations);
    if body.expires_at.is_some_and(|at| at <= now) {
        violations.add("/expires_at", "is in the past; the key would open nothing");
    }
    violations.or(())
}

impl From<CreateKeyError> for Problem {
    fn from(error: CreateKeyError) -> Self {
        match error {
            CreateKeyError::TenantUnknown(tenant) => no_such_tenant(tenant),
            CreateKeyError::NoRandomness(why) => {
                tracing::error!(why, "a key could not be made");
                Self::new(
                    &kinds::INTERNAL_ERROR,
                    "The server has no random numbers to make a key of. Tell the operator, with the request_id.",
                )
            }
            CreateKeyError::Store(error) => error.into(),
        }
    }
}
