//! Why a job waits: one test a reason, and what is said beside it.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::Site;

const SESSIONS: &str = "/api/v1/sessions";

async fn why(site: &Site, id: &str) -> Value {
    let answer = site.get(&format!("{SESSIONS}/{id}/why")).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let why = answer.json();
    assert_eq!(why["id"], id);
    for reason in why["reasons"].as_array().unwrap() {
        let message = reason["message"].as_str().unwrap();
        assert!(message.ends_with('.'), "{message}");
    }
    why
}

fn codes(why: &Value) -> Vec<&str> {
    let reasons = why["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap())
        .collect()
}

async fn session(site: &Site, more: Value) -> String {
    let mut body = json!({"title": "one", "agent": {"kind": "echo"}});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let created = site.post(SESSIONS).json(&body).send().await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    created.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_keeps_a_job_that_may_run() {
    let site = Site::start().await;
    let id = site.session("next").await;
    site.worker().await;
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["ABOUT_TO_BEGIN"], "{why}");
    assert_eq!(
        (&why["waits"], &why["status"]),
        (&json!(true), &json!("queued"))
    );
    assert_eq!(
        (&why["position"], &why["running"], &why["quota"]),
        (&json!(1), &json!(0), &json!(2))
    );
    assert_eq!(
        (&why["holders"], &why["estimate"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn a_job_that_runs_or_is_over_does_not_wait() {
    let site = Site::start().await;
    let id = site.session("runs").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let running = why(&site, &id).await;
    assert_eq!(
        (&running["waits"], &running["status"]),
        (&json!(false), &json!("running"))
    );
    assert_eq!(
        (&running["reasons"], &running["position"]),
        (&json!([]), &Value::Null)
    );
    site.finish(worker, &job, crate::site::completed()).await;
    let over = why(&site, &id).await;
    assert_eq!(
        (&over["waits"], &over["status"]),
        (&json!(false), &json!("completed"))
    );
}

#[tokio::test]
async fn a_session_that_was_not_started() {
    let site = Site::start().await;
    let id = session(&site, json!({"start": false})).await;
    let why = why(&site, &id).await;
    // Everything that keeps it is told, and this installation has no workers.
    assert_eq!(codes(&why), ["NOT_STARTED", "NO_WORKER"]);
    assert_eq!(why["position"], Value::Null);
}

#[tokio::test]
async fn prerequisites_are_named_with_their_states() {
    let site = Site::start().await;
    site.worker().await;
    let first = site.session("first").await;
    let second = site.session("second").await;
    let id = session(&site, json!({"depends_on": [first, second]})).await;
    let both = why(&site, &id).await;
    assert_eq!(codes(&both), ["PREREQUISITES"]);
    let expected = json!([{"id": first, "status": "queued"}, {"id": second, "status": "queued"}]);
    assert_eq!(both["reasons"][0]["data"]["jobs"], expected);
    assert!(
        both["reasons"][0]["message"]
            .as_str()
            .unwrap()
            .contains("2 other jobs have")
    );
    site.run(&first).await;
    application::use_cases::release_jobs(&site.ports)
        .await
        .unwrap();
    let one = why(&site, &id).await;
    assert_eq!(
        one["reasons"][0]["data"]["jobs"],
        json!([{"id": second, "status": "queued"}])
    );
    assert!(
        one["reasons"][0]["message"]
            .as_str()
            .unwrap()
            .contains("one other job has"),
        "{one}"
    );
}

#[tokio::test]
async fn everything_that_keeps_a_pending_job() {
    let site = Site::start().await;
    let first = site.session("first").await;
    let more = json!({
        "depends_on": [first], "run_after": "2100-01-01T00:00:00Z", "requires": {"gpu": "h100"},
    });
    let id = session(&site, more).await;
    site.post("/api/v1/queues/session/pause")
        .key(&site.lead)
        .send()
        .await;
    let why = why(&site, &id).await;
    let expected = ["PREREQUISITES", "NOT_BEFORE", "QUEUE_PAUSED", "NO_WORKER"];
    assert_eq!(codes(&why), expected, "{why}");
}

#[tokio::test]
async fn a_wait_before_a_retry() {
    let site = Site::start().await;
    let id = session(&site, json!({"max_attempts": 3})).await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let ending = domain::Ending::Retry {
        error: domain::JobError::new("COMMAND_TRY_AGAIN", "exit code 75"),
        after: Some(std::time::Duration::from_mins(10)),
    };
    site.finish(worker, &job, ending).await;
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["BACKOFF"], "{why}");
    let reason = &why["reasons"][0];
    assert_eq!(reason["data"]["error"], "COMMAND_TRY_AGAIN");
    assert!(reason["data"]["run_after"].is_string(), "{reason}");
    let message = reason["message"].as_str().unwrap();
    assert!(message.contains("COMMAND_TRY_AGAIN"), "{message}");
    assert!(message.ends_with("before retry 1 of 2."), "{message}");
}

#[tokio::test]
async fn a_lock_that_a_run_waits_for() {
    let site = Site::start().await;
    let id = site.session("exclusive").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let lock = domain::AwaitedLock {
        resource: "branch:app@refs/heads/main".to_owned(),
        ahead: 1,
        holder: Some(job.id),
        attempt: job.attempt,
    };
    let said = application::ports::Report {
        tenant: job.tenant,
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        progress: Some(domain::Progress::waiting_for(&lock)),
        spent: None,
        checkpoints: Vec::new(),
        logs: Vec::new(),
        artifacts: Vec::new(),
    };
    let now = site.ports.clock.now();
    let engine = &site.ports.engine;
    assert_eq!(
        engine.report(worker, vec![said], now).await.unwrap().lost,
        []
    );
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["LOCK"], "{why}");
    assert_eq!(
        (&why["waits"], &why["status"]),
        (&json!(true), &json!("running"))
    );
    let data = json!({"resource": "branch:app@refs/heads/main", "ahead": 1, "holder": id});
    assert_eq!(why["reasons"][0]["data"], data);
}

#[tokio::test]
async fn a_time_before_which_it_must_not_run() {
    let site = Site::start().await;
    site.worker().await;
    let id = session(&site, json!({"run_after": "2100-01-01T00:00:00Z"})).await;
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["NOT_BEFORE"]);
    assert_eq!(
        why["reasons"][0]["data"]["run_after"],
        "2100-01-01T00:00:00Z"
    );
    assert_eq!(
        (&why["position"], &why["estimate"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_pause_of_the_queue_and_a_tenant_that_is_off() {
    let site = Site::start().await;
    site.worker().await;
    let id = site.session("waits").await;
    site.post("/api/v1/queues/session/pause")
        .key(&site.lead)
        .send()
        .await;
    let paused = why(&site, &id).await;
    assert_eq!(codes(&paused), ["QUEUE_PAUSED"], "{paused}");
    assert_eq!(paused["reasons"][0]["data"]["queue"], "session");
    site.post("/api/v1/queues/session/resume")
        .key(&site.lead)
        .send()
        .await;
    let whole = async |verb: &str| {
        let path = format!("/api/v1/tenants/acme/{verb}");
        let done = site.post(&path).key(&site.admin).send().await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    };
    whole("pause").await;
    assert_eq!(codes(&why(&site, &id).await), ["TENANT_PAUSED"]);
    whole("resume").await;
    let off = site
        .ask(Method::PATCH, "/api/v1/tenants/acme")
        .key(&site.admin);
    off.json(&json!({"active": false})).send().await;
    assert_eq!(codes(&why(&site, &id).await), ["TENANT_INACTIVE"]);
}

#[tokio::test]
async fn a_worker_that_is_missing() {
    let site = Site::start().await;
    let id = site.session("alone").await;
    let alone = why(&site, &id).await;
    assert_eq!(codes(&alone), ["NO_WORKER"]);
    assert!(alone["reasons"][0]["data"].get("requires").is_none());
    // This one has no labels.
    site.worker().await;
    assert_eq!(codes(&why(&site, &id).await), ["ABOUT_TO_BEGIN"]);
    let special = session(&site, json!({"requires": {"gpu": "h100"}})).await;
    let special = why(&site, &special).await;
    assert_eq!(codes(&special)[0], "NO_WORKER", "{special}");
    let reason = &special["reasons"][0];
    assert_eq!(reason["data"]["requires"], json!({"gpu": "h100"}));
    assert!(reason["message"].as_str().unwrap().contains("gpu=h100"));
}

#[tokio::test]
async fn a_full_quota_with_its_holders_and_a_guess() {
    let site = Site::start().await;
    let done = site.session("has shown how long it takes").await;
    site.run(&done).await;
    let worker = site.worker().await;
    let mut running = Vec::new();
    for title in ["first", "second"] {
        let id = site.session(title).await;
        site.claim(worker, &id).await;
        running.push(id);
    }
    site.session("before it").await;
    let id = site.session("waits").await;
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["QUOTA_FULL", "TURN"], "{why}");
    assert_eq!(
        why["reasons"][0]["data"],
        json!({"running": 2, "quota": 2, "to_end": 1})
    );
    assert_eq!(why["reasons"][1]["data"], json!({"ahead": 1}));
    assert_eq!(
        (&why["position"], &why["running"], &why["quota"]),
        (&json!(2), &json!(2), &json!(2))
    );
    let holders = why["holders"].as_array().unwrap();
    let held: Vec<&str> = holders
        .iter()
        .map(|holder| holder["id"].as_str().unwrap())
        .collect();
    assert_eq!(held, running, "the oldest first");
    assert_eq!(holders[0]["title"], "first");
    assert_eq!(holders[0]["worker_id"], worker.id.to_string());
    assert!(holders[0]["started_at"].is_string());
    assert_eq!(why["estimate"]["runs"], 1, "{why}");
    assert!(why["estimate"]["seconds"].as_f64().unwrap() >= 0.0);
}

#[tokio::test]
async fn workers_that_are_all_full() {
    let site = Site::start().await;
    let wide = json!({"quotas": {"session": 10}});
    let change = site
        .ask(Method::PATCH, "/api/v1/tenants/acme")
        .key(&site.admin);
    change.json(&wide).send().await;
    let worker = site.worker().await;
    for number in 0..4 {
        let id = site.session(&number.to_string()).await;
        site.claim(worker, &id).await;
    }
    let id = site.session("waits").await;
    let why = why(&site, &id).await;
    assert_eq!(codes(&why), ["WORKERS_BUSY"], "{why}");
    assert_eq!(why["reasons"][0]["data"]["workers"], 1);
}

#[tokio::test]
async fn an_urgent_job_is_before_those_that_came_earlier() {
    let site = Site::start().await;
    let early = site.session("early").await;
    let urgent = session(&site, json!({"priority": "critical"})).await;
    assert_eq!(why(&site, &urgent).await["position"], 1);
    let early = why(&site, &early).await;
    assert_eq!(early["position"], 2);
    assert!(codes(&early).contains(&"TURN"), "{early}");
    assert!(
        early["reasons"]
            .to_string()
            .contains("One job of its queue comes first"),
        "{early}"
    );
}

#[tokio::test]
async fn only_its_own_tenant_may_ask_and_by_its_kind() {
    let site = Site::start().await;
    let id = site.session("acme's").await;
    let path = format!("{SESSIONS}/{id}/why");
    site.get(&path)
        .key(&site.stranger)
        .send()
        .await
        .problem(404, "SESSION_NOT_FOUND");
    site.get(&path)
        .no_key()
        .send()
        .await
        .problem(401, "UNAUTHENTICATED");
    assert_eq!(
        site.get(&path).key(&site.viewer).send().await.status,
        StatusCode::OK
    );
    let other = format!("/api/v1/fine-tuning/jobs/{id}/why");
    site.get(&other).send().await.problem(404, "JOB_NOT_FOUND");
    for id in ["nonsense", "0198c5a2-7e1b-7cc0-8000-0123456789ab"] {
        let path = format!("{SESSIONS}/{id}/why");
        site.get(&path)
            .send()
            .await
            .problem(404, "SESSION_NOT_FOUND");
    }
}
