use axum::Json;
use axum::extract::State;
use domain::{DeadLetterFilter, JobKind};
use utoipa::IntoParams;

use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::dead_letter::{DeadLetterGroupBody, DeadLetterList};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

/// Nobody reads more groups; a filter shows the others.
const GROUPS_MAX: u32 = 200;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct DeadLetterParams {
    /// `session` or `training`.
    kind: Option<String>,
    /// Only those with this error code.
    code: Option<String>,
}

/// List dead letters
///
/// Jobs that failed for good, grouped by what their errors have in common: numbers, ids and names with digits do not
/// count. The largest 200 groups. A single one is run again by `retry`, a whole group by a replay.
#[utoipa::path(
    get,
    path = "/",
    tag = "Dead letters",
    params(DeadLetterParams),
    responses((status = 200, description = "The groups, the largest first.", body = DeadLetterList), Guarded, Queried),
)]
pub(super) async fn list_dead_letters(
    State(app): State<App>,
    caller: Allowed<ReadJobs>,
    mut query: Query,
) -> Result<Json<DeadLetterList>, Problem> {
    let filter = DeadLetterFilter {
        kind: query.one::<JobKind>("kind"),
        fingerprint: None,
        code: query.text("code"),
    };
    query.finish()?;
    let replays = &app.ports.replays;
    let groups = replays
        .dead_letters(caller.tenant, filter, GROUPS_MAX)
        .await?;
    Ok(Json(DeadLetterList {
        items: groups.into_iter().map(DeadLetterGroupBody::from).collect(),
    }))
}
