//! Creating sessions and training jobs, and what comes back.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn a_session_is_created_with_its_defaults() {
    let site = Site::start().await;
    let body =
        json!({"title": "count public items", "agent": {"kind": "command", "argv": ["true"]}});
    let created = site.post("/api/v1/sessions").json(&body).send().await;
    assert_eq!(created.status, StatusCode::CREATED);
    let job = created.json();
    let address = format!("/api/v1/sessions/{}", job["id"].as_str().unwrap());
    assert_eq!(created.header("location"), address);
    let expected = json!({
        "id": job["id"], "tenant_id": site.acme.id.to_string(), "kind": "session", "status": "queued",
        "title": "count public items", "priority": "medium", "attempt": 0, "failures": 0, "max_attempts": 3,
        "max_duration_seconds": 3600, "tags": [], "metadata": {}, "prompt": "",
        "agent": {"kind": "command", "argv": ["true"]}, "repository": null, "keep": [], "progress": null,
        "result": null, "error": null, "worker_id": null, "parent_id": null, "run_after": null,
        "stop_requested": false, "pause_requested": false, "created_at": job["created_at"], "updated_at": job["created_at"],
        "queued_at": job["created_at"], "started_at": null, "finished_at": null, "deadline": null, "requires": {},
        "depends_on": [], "if_prerequisite_fails": "fail",
    });
    assert_eq!(job, expected);
    assert!(job["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(site.get(&address).send().await.json(), expected);
}

#[tokio::test]
async fn an_echos_delay_comes_back() {
    let site = Site::start().await;
    for agent in [
        json!({"kind": "echo"}),
        json!({"kind": "echo", "delay_seconds": 60}),
    ] {
        let body = json!({"title": "wait", "agent": agent});
        let created = site.post("/api/v1/sessions").json(&body).send().await;
        assert_eq!(created.json()["agent"], agent);
    }
}

#[tokio::test]
async fn everything_a_client_says_comes_back() {
    let site = Site::start().await;
    let parent = site.session("parent").await;
    let body = json!({
        "title": "all of it", "prompt": "do it\nwell", "priority": "high", "max_duration_seconds": 60,
        "max_attempts": 7, "tags": ["demo", "x y"], "metadata": {"a": {"b": [1, null, "c"]}},
        "agent": {"kind": "command", "run": "grep -rc 'pub fn' . > REPORT.txt"},
        "repository": {"path": "/srv/shop", "ref": "main"}, "keep": ["REPORT.txt"],
        "run_after": "2199-01-02T03:04:05.123456Z", "start": false, "parent_id": parent,
    });
    let created = site.post("/api/v1/sessions").json(&body).send().await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    let job = created.json();
    for (field, said) in body.as_object().unwrap() {
        if field != "start" {
            assert_eq!(&job[field], said, "{field}");
        }
    }
    assert_eq!(job["status"], "pending");
    assert_eq!(job["queued_at"], Value::Null);
}

#[tokio::test]
async fn the_revision_is_head_unless_said() {
    let site = Site::start().await;
    let body =
        json!({"title": "a", "agent": {"kind": "echo"}, "repository": {"path": "/srv/shop"}});
    let job = site
        .post("/api/v1/sessions")
        .json(&body)
        .send()
        .await
        .json();
    assert_eq!(
        job["repository"],
        json!({"path": "/srv/shop", "ref": "HEAD"})
    );
}

#[tokio::test]
async fn a_training_job_is_created_and_is_no_session() {
    let site = Site::start().await;
    let body = json!({
        "base_model": "tiny", "target_model_name": "mine", "provider": "subprocess",
        "dataset": {"path": "/srv/data.jsonl"}, "parameters": {"steps": 20},
    });
    let created = site
        .post("/api/v1/fine-tuning/jobs")
        .json(&body)
        .send()
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    let job = created.json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        created.header("location"),
        format!("/api/v1/fine-tuning/jobs/{id}")
    );
    assert_eq!(
        (&job["kind"], &job["title"]),
        (&json!("training"), &json!("mine"))
    );
    for (field, said) in body.as_object().unwrap() {
        assert_eq!(&job[field], said, "{field}");
    }
    assert!(job.get("agent").is_none(), "{job}");
    let as_session = site.get(&format!("/api/v1/sessions/{id}")).send().await;
    as_session.problem(404, "SESSION_NOT_FOUND");
    let session = site.session("a session").await;
    let as_training = site
        .get(&format!("/api/v1/fine-tuning/jobs/{session}"))
        .send()
        .await;
    as_training.problem(404, "JOB_NOT_FOUND");
    for any in [id, &session] {
        let found = site.get(&format!("/api/v1/jobs/{any}")).send().await;
        assert_eq!(found.status, StatusCode::OK);
    }
    let steered = site
        .post(&format!("/api/v1/sessions/{id}/cancel"))
        .send()
        .await;
    steered.problem(404, "SESSION_NOT_FOUND");
    assert_eq!(site.job(id).await.state(), domain::JobState::Queued);
}

#[tokio::test]
async fn ids_that_are_none_are_not_found() {
    let site = Site::start().await;
    let nobody = "0198c5a2-7e1b-7cc0-8000-0123456789ab";
    site.get(&format!("/api/v1/sessions/{nobody}"))
        .send()
        .await
        .problem(404, "SESSION_NOT_FOUND");
    let problem = site
        .get("/api/v1/sessions/17")
        .send()
        .await
        .problem(404, "SESSION_NOT_FOUND");
    assert!(problem["detail"].as_str().unwrap().contains("UUID"));
}

#[tokio::test]
async fn a_full_backlog_refuses_and_says_so() {
    let site = Site::start().await;
    let change = json!({"max_queued": 2});
    let path = "/api/v1/tenants/acme";
    let changed = site
        .ask(axum::http::Method::PATCH, path)
        .key(&site.admin)
        .json(&change)
        .send()
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    site.session("one").await;
    site.session("two").await;
    let body = json!({"title": "three", "agent": {"kind": "echo"}});
    let refused = site.post("/api/v1/sessions").json(&body).send().await;
    let problem = refused.problem(429, "QUOTA_EXCEEDED");
    assert_eq!(
        (&problem["limit"], &problem["waiting"]),
        (&json!(2), &json!(2))
    );
    assert!(!refused.header("retry-after").is_empty());
    assert!(
        site.metrics
            .render()
            .contains("quota_refused_total{reason=\"quota_exceeded\"} 1")
    );
}

#[tokio::test]
async fn an_inactive_tenant_takes_no_jobs() {
    let site = Site::start().await;
    let ask = site
        .ask(axum::http::Method::PATCH, "/api/v1/tenants/acme")
        .key(&site.admin);
    ask.json(&json!({"active": false})).send().await;
    let body = json!({"title": "a", "agent": {"kind": "echo"}});
    let refused = site.post("/api/v1/sessions").json(&body).send().await;
    refused.problem(403, "TENANT_INACTIVE");
}
