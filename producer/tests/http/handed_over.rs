//! What routed sessions hand to agents that work elsewhere.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn a_routed_session_shows_what_it_hands_to_its_agent() {
    let site = Site::start().await;
    let submit = |body: Value| site.post("/api/v1/sessions").json(&body).send();
    let handed =
        json!({"capabilities": ["testing"], "task_type": "review", "input_data": {"depth": [2]}});
    let mut body = handed.clone();
    body["title"] = "routed".into();
    let made = submit(body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(
        made.json()["agent"],
        json!({"kind": "routed", "route": handed})
    );
    let refused = |change: fn(&mut Value)| {
        let mut body = body.clone();
        change(&mut body);
        submit(body)
    };
    let unfit = refused(|body| body["task_type"] = "x".repeat(65).into()).await;
    unfit.invalid_at("/task_type");
    let unfit = refused(|body| body["input_data"] = json!({"a": "x".repeat(16 * 1024)})).await;
    unfit.invalid_at("/input_data");
    let unfit = refused(|body| body["input_data"] = json!({"a": "\u{0}"})).await;
    unfit.invalid_at("/input_data/a");
    for field in ["task_type", "input_data"] {
        let named = json!({"title": "named", "agent": {"kind": "echo"}, field: handed[field]});
        submit(named).await.invalid_at(&format!("/{field}"));
        let asked = json!({"capabilities": ["testing"], field: handed[field]});
        let asked = site.post("/api/v1/agents/route").json(&asked).send().await;
        asked.invalid_at(&format!("/{field}"));
    }
}
