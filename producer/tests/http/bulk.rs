//! Many sessions at once: all of them or none.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::site::Site;

fn sessions(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({"title": format!("session {number}"), "agent": {"kind": "echo"}}))
        .collect()
}

async fn listed(site: &Site) -> usize {
    let list = site.get("/api/v1/sessions?limit=200").send().await.json();
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn all_are_created_in_order() {
    let site = Site::start().await;
    let body = json!({"sessions": sessions(120)});
    let answer = site.post("/api/v1/sessions/bulk").json(&body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let answer = answer.json();
    let ids = answer["ids"].as_array().unwrap();
    assert_eq!(ids.len(), 120);
    let seventh = site.job(ids[7].as_str().unwrap()).await;
    assert_eq!(seventh.title, "session 7");
    assert_eq!(listed(&site).await, 120);
    assert!(
        site.metrics
            .render()
            .contains("jobs_submitted_total{kind=\"session\"} 120")
    );
}

#[tokio::test]
async fn one_bad_session_refuses_all_and_is_named_by_its_index() {
    let site = Site::start().await;
    let table = [
        (
            json!({"title": "", "agent": {"kind": "echo"}}),
            "/sessions/3/title",
        ),
        (
            json!({"title": "a", "agent": {"kind": "wizard"}}),
            "/sessions/3/agent/kind",
        ),
        (
            json!({"title": 7, "agent": {"kind": "echo"}}),
            "/sessions/3/title",
        ),
        (
            json!({"title": "a", "agent": {"kind": "echo"}, "x": 1}),
            "/sessions/3/x",
        ),
        (json!({"title": "a"}), "/sessions/3/agent"),
        (
            json!({"title": "a", "agent": {"kind": "command", "argv": [""]}}),
            "/sessions/3/agent/argv",
        ),
    ];
    for (bad, pointer) in table {
        let mut all = sessions(5);
        all[3] = bad;
        let answer = site
            .post("/api/v1/sessions/bulk")
            .json(&json!({"sessions": all}))
            .send()
            .await;
        answer.invalid_at(pointer);
    }
    assert_eq!(listed(&site).await, 0);
}

#[tokio::test]
async fn none_and_too_many_are_refused() {
    let site = Site::start().await;
    for count in [0, 1_001] {
        let body = json!({"sessions": sessions(count)});
        let answer = site.post("/api/v1/sessions/bulk").json(&body).send().await;
        let detail = answer.invalid_at("/sessions");
        assert!(detail.contains("1 to 1000"), "{detail}");
    }
}

#[tokio::test]
async fn a_backlog_without_room_for_all_takes_none() {
    let site = Site::start().await;
    let change = json!({"max_queued": 4});
    let ask = site
        .ask(axum::http::Method::PATCH, "/api/v1/tenants/acme")
        .key(&site.admin);
    ask.json(&change).send().await;
    let answer = site
        .post("/api/v1/sessions/bulk")
        .json(&json!({"sessions": sessions(5)}))
        .send()
        .await;
    let problem = answer.problem(429, "QUOTA_EXCEEDED");
    assert_eq!(problem["offered"], 5);
    assert_eq!(listed(&site).await, 0);
}
