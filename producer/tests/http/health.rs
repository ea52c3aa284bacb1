//! Alive, ready, and why not.

use axum::http::StatusCode;
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn ready_names_each_thing_it_needs() {
    let site = Site::start().await;
    // A ready set that was never built says so: coordination is not there yet.
    site.ports.ready.rebuild(&[]).await.unwrap();
    let answer = site.get("/health/ready").no_key().send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let checks = json!([
        {"name": "store", "ok": true}, {"name": "queue", "ok": true}, {"name": "coordination", "ok": true},
    ]);
    assert_eq!(answer.json(), json!({"status": "ready", "checks": checks}));
}

#[tokio::test]
async fn a_store_that_is_gone_is_named() {
    let site = Site::start().await;
    site.store.close().await;
    let answer = site.get("/health/ready").no_key().send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = answer.json();
    assert_eq!(answer["status"], "not_ready");
    assert_eq!(answer["checks"][0]["ok"], false);
    assert!(
        answer["checks"][0]["why"]
            .as_str()
            .unwrap()
            .contains("store")
    );
    let live = site.get("/health/live").no_key().send().await;
    assert_eq!(live.status, StatusCode::OK);
}

#[tokio::test]
async fn a_draining_process_is_not_ready_but_answers() {
    let site = Site::start().await;
    site.draining.cancel();
    let answer = site.get("/health/ready").no_key().send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["status"], "draining");
    let list = site.get("/api/v1/sessions").send().await;
    assert_eq!(list.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_served_by_a_router_of_their_own() {
    use tower::ServiceExt as _;
    let site = Site::start().await;
    site.get("/health/live").send().await;
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty());
    let router = producer::metrics_router(site.metrics.clone());
    let response = router.oneshot(request.unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains(
        "orchestrator_http_requests_total{code=\"200\",method=\"GET\",route=\"/health/live\"} 1"
    ));
    site.get("/metrics").send().await.problem(404, "NOT_FOUND");
}
