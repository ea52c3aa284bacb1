//! Queues that are paused, resumed and drained: by whom, and what that does to jobs that wait and jobs that come.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::Site;

const QUEUES: &str = "/api/v1/queues";
const ACME: &str = "/api/v1/tenants/acme";

/// A lead of `acme` asks for this.
async fn steer(site: &Site, path: &str) -> Answer {
    site.post(path).key(&site.lead).send().await
}

/// The same, and the queues that it answered with.
async fn steered(site: &Site, path: &str) -> Vec<Value> {
    let answer = steer(site, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

/// Kind, paused and draining of all queues of `acme`.
async fn flags(site: &Site) -> Vec<(String, bool, bool)> {
    let queues = site.get(QUEUES).send().await.json();
    let items = queues["items"].as_array().unwrap();
    let flag = |queue: &Value, name: &str| queue[name].as_bool().unwrap();
    let row = |queue: &Value| {
        let kind = queue["kind"].as_str().unwrap().to_owned();
        (kind, flag(queue, "paused"), flag(queue, "draining"))
    };
    items.iter().map(row).collect()
}

fn both(session: (bool, bool), training: (bool, bool)) -> Vec<(String, bool, bool)> {
    let row = |kind: &str, (paused, draining)| (kind.to_owned(), paused, draining);
    vec![row("session", session), row("training", training)]
}

async fn offer(site: &Site) -> Answer {
    let body = json!({"title": "one more", "agent": {"kind": "echo"}});
    site.post("/api/v1/sessions").json(&body).send().await
}

#[tokio::test]
async fn a_queue_is_steered_and_answers_as_it_is_then() {
    let site = Site::start().await;
    let paused = steered(&site, "/api/v1/queues/session/pause").await;
    assert_eq!(paused.len(), 1, "the one that was named: {paused:?}");
    assert_eq!(paused[0]["kind"], "session");
    assert_eq!(
        (&paused[0]["paused"], &paused[0]["draining"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(flags(&site).await, both((true, false), (false, false)));
    // Twice is once, and the two flags do not know of each other.
    steered(&site, "/api/v1/queues/session/pause").await;
    steered(&site, "/api/v1/queues/session/drain").await;
    assert_eq!(flags(&site).await, both((true, true), (false, false)));
    steered(&site, "/api/v1/queues/session/resume").await;
    assert_eq!(flags(&site).await, both((false, false), (false, false)));
}

#[tokio::test]
async fn a_tenant_is_steered_as_all_its_queues() {
    let site = Site::start().await;
    let drained = steered(&site, &format!("{ACME}/drain")).await;
    assert_eq!(drained.len(), 2, "{drained:?}");
    assert_eq!(flags(&site).await, both((false, true), (false, true)));
    steered(&site, &format!("/api/v1/tenants/{}/pause", site.acme.id)).await;
    assert_eq!(flags(&site).await, both((true, true), (true, true)));
    steered(&site, "/api/v1/queues/training/resume").await;
    assert_eq!(flags(&site).await, both((true, true), (false, false)));
    steered(&site, &format!("{ACME}/resume")).await;
    assert_eq!(flags(&site).await, both((false, false), (false, false)));
}

#[tokio::test]
async fn steering_takes_a_lead_and_ends_at_the_tenants_own_queues() {
    let site = Site::start().await;
    for verb in ["pause", "resume", "drain"] {
        for path in [format!("{QUEUES}/session/{verb}"), format!("{ACME}/{verb}")] {
            for key in [&site.viewer, &site.member] {
                let answer = site.post(&path).key(key).send().await;
                answer.problem(403, "FORBIDDEN");
            }
            site.post(&path)
                .no_key()
                .send()
                .await
                .problem(401, "UNAUTHENTICATED");
        }
        let robots = format!("{QUEUES}/robots/{verb}");
        let problem = steer(&site, &robots).await.problem(404, "QUEUE_NOT_FOUND");
        assert!(
            problem["detail"].as_str().unwrap().contains("robots"),
            "{problem}"
        );
        for named in ["globex", "nobody"] {
            let path = format!("/api/v1/tenants/{named}/{verb}");
            steer(&site, &path).await.problem(404, "TENANT_NOT_FOUND");
        }
    }
    assert_eq!(
        flags(&site).await,
        both((false, false), (false, false)),
        "nothing was done"
    );
    let get = site
        .get("/api/v1/queues/session/pause")
        .key(&site.lead)
        .send()
        .await;
    get.problem(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn an_admin_steers_any_tenant() {
    let site = Site::start().await;
    let by_name = site
        .post("/api/v1/tenants/globex/pause")
        .key(&site.admin)
        .send()
        .await;
    let queues = by_name.json();
    assert_eq!(queues["items"][0]["tenant"], "globex", "{queues}");
    let header = site.post("/api/v1/queues/session/drain").key(&site.admin);
    let acting = header.header("x-tenant-id", "globex").send().await.json();
    let queue = &acting["items"][0];
    assert_eq!(queue["tenant"], "globex");
    assert_eq!(
        (&queue["paused"], &queue["draining"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        flags(&site).await,
        both((false, false), (false, false)),
        "acme goes on"
    );
}

#[tokio::test]
async fn a_paused_queue_takes_jobs_and_starts_none() {
    let site = Site::start().await;
    steered(&site, "/api/v1/queues/session/pause").await;
    let id = site.session("waits").await;
    let worker = site.worker().await;
    assert!(site.try_claim(worker, &id).await.is_none());
    let queues = site.get(QUEUES).send().await.json();
    assert_eq!(queues["items"][0]["depth"], 1, "{queues}");
    steered(&site, "/api/v1/queues/session/resume").await;
    assert_eq!(site.claim(worker, &id).await.title, "waits");
}

#[tokio::test]
async fn a_draining_queue_works_off_what_it_has_and_takes_nothing() {
    let site = Site::start().await;
    let id = site.session("was here before").await;
    steered(&site, "/api/v1/queues/session/drain").await;
    let problem = offer(&site).await.problem(409, "QUEUE_DRAINING");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("session") && detail.contains("resume"),
        "{detail}"
    );
    assert!(detail.contains("works off"), "{detail}");
    let body = json!({"sessions": [{"title": "a", "agent": {"kind": "echo"}}]});
    let bulk = site.post("/api/v1/sessions/bulk").json(&body).send().await;
    bulk.problem(409, "QUEUE_DRAINING");
    // The other queue is not meant.
    let training =
        json!({"base_model": "tiny", "target_model_name": "mine", "dataset": {"path": "/x.jsonl"}});
    let training = site
        .post("/api/v1/fine-tuning/jobs")
        .json(&training)
        .send()
        .await;
    assert_eq!(training.status, StatusCode::CREATED, "{}", training.text());
    site.run(&id).await;
    assert_eq!(site.job(&id).await.state().as_str(), "completed");
    let retry = site
        .post(&format!("/api/v1/sessions/{id}/retry"))
        .send()
        .await;
    assert_eq!(retry.status, StatusCode::CONFLICT, "{}", retry.text());
    steered(&site, "/api/v1/queues/session/resume").await;
    assert_eq!(offer(&site).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_draining_queue_that_is_paused_works_nothing_off() {
    let site = Site::start().await;
    steered(&site, "/api/v1/queues/session/drain").await;
    steered(&site, "/api/v1/queues/session/pause").await;
    let problem = offer(&site).await.problem(409, "QUEUE_DRAINING");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("paused"), "{detail}");
    assert!(!detail.contains("works off"), "{detail}");
}

#[tokio::test]
async fn a_draining_queue_takes_no_retries_of_people() {
    let site = Site::start().await;
    let id = site.session("goes wrong").await;
    site.fail(&id, "COMMAND_FAILED", "it ended with 3").await;
    steered(&site, &format!("{ACME}/drain")).await;
    let path = format!("/api/v1/sessions/{id}/retry");
    site.post(&path).send().await.problem(409, "QUEUE_DRAINING");
    assert_eq!(
        site.job(&id).await.state().as_str(),
        "failed",
        "and it can be retried later"
    );
    steered(&site, &format!("{ACME}/resume")).await;
    assert_eq!(site.post(&path).send().await.json()["status"], "queued");
}
