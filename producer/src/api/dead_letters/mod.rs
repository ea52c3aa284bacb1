//! Jobs that failed for good, and queueing them again.

mod abort_replay;
mod get_replay;
mod list;
mod list_replays;
mod replay;

use domain::{Replay, ReplayId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_dead_letters))
        .routes(routes!(replay::replay_dead_letters))
        .routes(routes!(list_replays::list_replays))
        .routes(routes!(get_replay::get_replay))
        .routes(routes!(abort_replay::abort_replay))
}

fn no_such_replay(id: ReplayId) -> Problem {
    let detail = format!("The tenant has no replay {id}.");
    Problem::new(&kinds::REPLAY_NOT_FOUND, detail)
}

fn address(replay: &Replay) -> String {
    format!("/api/v1/dead-letters/replays/{}", replay.id)
}
