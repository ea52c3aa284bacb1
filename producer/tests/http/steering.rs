//! Start, cancel, stop, retry: what each state allows, and what it says when it does not.

use axum::http::StatusCode;
use domain::{Ending, JobError};
use serde_json::{Value, json};

use crate::site::Site;

async fn steer(site: &Site, id: &str, action: &str) -> crate::answer::Answer {
    site.post(&format!("/api/v1/sessions/{id}/{action}"))
        .send()
        .await
}

#[tokio::test]
async fn a_pending_session_is_started_and_then_cancelled() {
    let site = Site::start().await;
    let body = json!({"title": "later", "agent": {"kind": "echo"}, "start": false});
    let created = site
        .post("/api/v1/sessions")
        .json(&body)
        .send()
        .await
        .json();
    let id = created["id"].as_str().unwrap();
    let started = steer(&site, id, "start").await;
    assert_eq!(started.status, StatusCode::OK);
    assert_eq!(started.json()["status"], "queued");
    let cancelled = steer(&site, id, "cancel").await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    assert_ne!(cancelled.json()["finished_at"], Value::Null);
    let problem = steer(&site, id, "cancel")
        .await
        .problem(409, "INVALID_TRANSITION");
    assert_eq!(
        (&problem["state"], &problem["allowed"]),
        (&json!("cancelled"), &json!([]))
    );
}

#[tokio::test]
async fn a_running_session_is_asked_to_stop_and_cannot_be_cancelled() {
    let site = Site::start().await;
    let id = site.session("long").await;
    let worker = site.worker().await;
    site.claim(worker, &id).await;
    let problem = steer(&site, &id, "cancel")
        .await
        .problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["stop", "pause"]));
    assert!(problem["detail"].as_str().unwrap().contains("running"));
    for _ in 0..2 {
        let asked = steer(&site, &id, "stop").await.json();
        assert_eq!(
            (&asked["status"], &asked["stop_requested"]),
            (&json!("running"), &json!(true))
        );
        assert_eq!(asked["worker_id"], worker.id.to_string());
    }
}

#[tokio::test]
async fn a_failed_session_is_retried() {
    let site = Site::start().await;
    let id = site.session("fragile").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let error = JobError::new("COMMAND_FAILED", "it ended with 3").with_exit_code(3);
    site.finish(worker, &job, Ending::Failed(error)).await;
    let failed = site
        .get(&format!("/api/v1/sessions/{id}"))
        .send()
        .await
        .json();
    assert_eq!(failed["status"], "failed");
    let error = json!({"code": "COMMAND_FAILED", "message": "it ended with 3", "exit_code": 3});
    assert_eq!(failed["error"], error);
    let problem = steer(&site, &id, "start")
        .await
        .problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["retry"]));
    let again = steer(&site, &id, "retry").await.json();
    assert_eq!(
        (&again["status"], &again["failures"]),
        (&json!("queued"), &json!(0))
    );
    let attempts = site
        .get(&format!("/api/v1/sessions/{id}/attempts"))
        .send()
        .await
        .json();
    let first = &attempts["items"][0];
    assert_eq!(
        (&first["number"], &first["outcome"]),
        (&json!(1), &json!("failed"))
    );
    assert_eq!(first["error"]["exit_code"], 3);
}

#[tokio::test]
async fn a_running_session_is_asked_to_pause_and_a_queued_one_is_not() {
    let site = Site::start().await;
    let id = site.session("long").await;
    let problem = steer(&site, &id, "pause")
        .await
        .problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["cancel"]));
    let worker = site.worker().await;
    site.claim(worker, &id).await;
    for _ in 0..2 {
        let asked = steer(&site, &id, "pause").await.json();
        assert_eq!(
            (&asked["status"], &asked["pause_requested"]),
            (&json!("running"), &json!(true))
        );
    }
    let problem = steer(&site, &id, "resume")
        .await
        .problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["stop", "pause"]));
}
