//! The state of the whole: workers, live hints, health and the API's own description.

mod describe;
mod events;
mod live;
mod ready;
mod workers;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(workers::list_workers))
        .routes(routes!(events::watch_tenant))
        .routes(routes!(describe::describe))
        .routes(routes!(live::live))
        .routes(routes!(ready::ready))
}
