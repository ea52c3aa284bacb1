//! No request waits for ever: a bound on the time until the head of an answer.

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

pub(crate) async fn bound(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.config.request_timeout;
    if let Ok(response) = tokio::time::timeout(limit, next.run(request)).await {
        return response;
    }
    tracing::warn!(?limit, "a request took too long");
    let detail = format!(
        "No answer within {} s, so the request was given up. Look whether it had an effect, then try again.",
        limit.as_secs_f64()
    );
    Problem::new(&kinds::REQUEST_TIMEOUT, detail)
        .header(RETRY_AFTER, "5")
        .into_response()
}
