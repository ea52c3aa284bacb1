use application::use_cases;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::address;
use crate::auth::Allowed;
use crate::auth::permit::SteerJobs;
use crate::body::Body;
use crate::dto::dead_letter::{NewReplay, ReplayBody, ReplayCount};
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Replay dead letters
///
/// Queues all that match once more, each with all its attempts before it again: a batch at a time, as far as the
/// tenant's backlog has room. The answer is the replay itself, to be watched and called off at its address. With
/// `dry_run` it only says how many match.
#[utoipa::path(
    post,
    path = "/replays",
    tag = "Dead letters",
    request_body = NewReplay,
    responses(
        (status = 200, description = "With `dry_run`: how many match.", body = ReplayCount),
        (status = 202, description = "It was begun.", body = ReplayBody,
         headers(("Location" = String, description = "Its address."))),
        Guarded, Bodied,
    ),
)]
pub(super) async fn replay_dead_letters(
    State(app): State<App>,
    caller: Allowed<SteerJobs>,
    Body(body): Body<NewReplay>,
) -> Result<Response, Problem> {
    let dry_run = body.dry_run;
    let filter = body.into_filter()?;
    if dry_run {
        let replays = &app.ports.replays;
        let matched = replays.count_dead_letters(caller.tenant, filter).await?;
        return Ok(Json(ReplayCount { matched }).into_response());
    }
    let replay = use_cases::replay_dead_letters(&app.ports, caller.tenant, filter).await?;
    let headers = [(LOCATION, address(&replay))];
    let body = Json(ReplayBody::from(replay));
    Ok((StatusCode::ACCEPTED, headers, body).into_response())
}
