use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use application::ports::StoreError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::dto::health::{Check, Ready};
use crate::state::App;

/// Longer than that, a service is as good as gone.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// Can the process do its work?
///
/// Asks the store, the queue and the coordination service. Also fails while the process drains, so that no new clients
/// are sent to it.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "System",
    security(()),
    responses(
        (status = 200, description = "It can.", body = Ready),
        (status = 503, description = "It cannot; `checks` says why.", body = Ready),
    ),
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Ready>) {
    let ports = &app.ports;
    let store = async { ports.tenants.tenants(None, 1).await.map(drop) };
    let (store, queue, coordination) = tokio::join!(
        check("store", store, store_why),
        check(
            "queue",
            ports.queue.check(),
            |_| "the broker cannot be used"
        ),
        check("coordination", ports.ready.check(), |_| {
            "the coordination service cannot be used"
        }),
    );
    let checks = vec![store, queue, coordination];
    let (code, status) = if app.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if checks.iter().all(|check| check.ok) {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    (code, Json(Ready { status, checks }))
}

/// The error's own words may name hosts and users: they go to the log.
async fn check<E: Display>(
    name: &'static str,
    asked: impl Future<Output = Result<(), E>>,
    why: fn(&E) -> &'static str,
) -> Check {
    let why = match tokio::time::timeout(CHECK_WITHIN, asked).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::warn!(name, %error, "a readiness check failed");
            Some(why(&error))
        }
        Err(_) => Some("no answer within 2 s"),
    };
    Check {
        name,
        ok: why.is_none(),
        why,
    }
}

fn store_why(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "the store cannot be reached or is too slow",
        StoreError::Full(_) => "the store has no room left",
        StoreError::Corrupt(_) => {
            "the store is not as this version needs it; are all migrations applied?"
        }
    }
}
