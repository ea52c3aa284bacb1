//! Dead letters: grouped, counted, queued again step by step, and called off.

use application::use_cases::step_replay;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::Site;

const LETTERS: &str = "/api/v1/dead-letters";
const REPLAYS: &str = "/api/v1/dead-letters/replays";

/// Three sessions that failed alike, and one that failed otherwise.
async fn four_failed(site: &Site) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 1..=3 {
        let id = site.session("failed").await;
        let message = format!("worker {id} ended with {number}");
        site.fail(&id, "COMMAND_FAILED", &message).await;
        ids.push(id);
    }
    let id = site.session("failed otherwise").await;
    site.fail(&id, "DISK_FULL", "there was no room left").await;
    ids.push(id);
    ids
}

async fn groups(site: &Site, query: &str) -> Vec<Value> {
    let answer = site.get(&format!("{LETTERS}{query}")).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

async fn replay(site: &Site, body: &Value) -> Answer {
    site.post(REPLAYS).json(body).send().await
}

async fn status(site: &Site, id: &str) -> String {
    site.job(id).await.state().as_str().to_owned()
}

/// What a worker does in its loop: steps until nothing more can be done at once.
async fn work_off(site: &Site) {
    while step_replay(&site.ports).await.unwrap() {}
}

#[tokio::test]
async fn failures_that_are_alike_are_one_group() {
    let site = Site::start().await;
    assert_eq!(groups(&site, "").await, Vec::<Value>::new());
    let ids = four_failed(&site).await;
    let all = groups(&site, "").await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0]["count"], 3, "the largest first");
    assert_eq!(
        all[0]["fingerprint"],
        "COMMAND_FAILED: worker # ended with #"
    );
    assert_eq!(all[0]["kind"], "session");
    assert_eq!(all[0]["latest_id"], ids[2].as_str());
    assert!(all[0]["first_at"].as_str().unwrap() <= all[0]["last_at"].as_str().unwrap());
    let full = groups(&site, "?code=DISK_FULL").await;
    assert_eq!((full.len(), &full[0]["count"]), (1, &json!(1)), "{full:?}");
    assert_eq!(groups(&site, "?kind=training").await, Vec::<Value>::new());
    assert_eq!(groups(&site, "?kind=session").await.len(), 2);
    // What was retried is no dead letter any more.
    site.post(&format!("/api/v1/sessions/{}/retry", ids[3]))
        .send()
        .await;
    assert_eq!(groups(&site, "").await.len(), 1);
    let theirs = site.get(LETTERS).key(&site.stranger).send().await.json();
    assert_eq!(theirs["items"], json!([]), "they are acme's alone");
    assert_eq!(
        site.get(LETTERS).key(&site.viewer).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_filter() {
    let site = Site::start().await;
    for query in ["kind=robots", "colour=red"] {
        let answer = site.get(&format!("{LETTERS}?{query}")).send().await;
        answer.problem(422, "VALIDATION_ERROR");
    }
    let table = [
        (json!({"kind": "robots"}), "/kind"),
        (json!({"fingerprint": ""}), "/fingerprint"),
        (json!({"code": "x".repeat(101)}), "/code"),
        (json!({"dry_run": "yes"}), "/dry_run"),
        (json!({"all": true}), "/all"),
    ];
    for (body, pointer) in table {
        replay(&site, &body).await.invalid_at(pointer);
    }
    let none = site.post(REPLAYS).raw("application/json", "{").send().await;
    none.problem(400, "INVALID_JSON");
    let viewer = site
        .post(REPLAYS)
        .key(&site.viewer)
        .json(&json!({}))
        .send()
        .await;
    viewer.problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_dry_run_counts_and_does_nothing() {
    let site = Site::start().await;
    let ids = four_failed(&site).await;
    let table = [
        (json!({"dry_run": true}), 4),
        (json!({"dry_run": true, "code": "COMMAND_FAILED"}), 3),
        (
            json!({"dry_run": true, "fingerprint": "DISK_FULL: there was no room left"}),
            1,
        ),
        (json!({"dry_run": true, "kind": "training"}), 0),
        (json!({"dry_run": true, "code": "NOBODY_KNOWS"}), 0),
    ];
    for (body, matched) in table {
        let answer = replay(&site, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.json(), json!({ "matched": matched }), "{body}");
    }
    let list = site.get(REPLAYS).send().await.json();
    assert_eq!(list["items"], json!([]));
    work_off(&site).await;
    for id in &ids {
        assert_eq!(status(&site, id).await, "failed");
    }
}

#[tokio::test]
async fn a_group_is_queued_again_and_the_rest_is_left() {
    let site = Site::start().await;
    let ids = four_failed(&site).await;
    let fingerprint = groups(&site, "").await[0]["fingerprint"].clone();
    let begun = replay(
        &site,
        &json!({"fingerprint": fingerprint, "kind": "session"}),
    )
    .await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text());
    let address = begun.header("location").to_owned();
    let begun = begun.json();
    assert_eq!(
        address,
        format!("{REPLAYS}/{}", begun["id"].as_str().unwrap())
    );
    assert_eq!(
        (&begun["status"], &begun["matched"]),
        (&json!("running"), &json!(3))
    );
    assert_eq!(
        (&begun["fingerprint"], &begun["kind"]),
        (&fingerprint, &json!("session"))
    );
    work_off(&site).await;
    let done = site.get(&address).send().await.json();
    assert_eq!(
        (&done["status"], &done["replayed"]),
        (&json!("completed"), &json!(3)),
        "{done}"
    );
    assert_eq!(
        (&done["skipped"], &done["held_up"]),
        (&json!(0), &Value::Null)
    );
    assert!(done["finished_at"].is_string());
    for id in &ids[..3] {
        let job = site
            .get(&format!("/api/v1/sessions/{id}"))
            .send()
            .await
            .json();
        assert_eq!(
            (&job["status"], &job["failures"]),
            (&json!("queued"), &json!(0))
        );
    }
    assert_eq!(status(&site, &ids[3]).await, "failed");
    let list = site.get(REPLAYS).send().await.json();
    assert_eq!(list["items"], json!([done]));
    // One that is over stays as it is.
    let aborted = site.post(&format!("{address}/abort")).send().await.json();
    assert_eq!(aborted["status"], "completed");
}

#[tokio::test]
async fn a_replay_of_nothing_is_complete_at_once() {
    let site = Site::start().await;
    let begun = replay(&site, &json!({})).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    let begun = begun.json();
    assert_eq!(
        (&begun["status"], &begun["matched"]),
        (&json!("completed"), &json!(0))
    );
}

#[tokio::test]
async fn a_replay_waits_where_the_queue_takes_nothing_and_can_be_called_off() {
    let site = Site::start().await;
    let ids = four_failed(&site).await;
    let lead = |path: &'static str| site.post(path).key(&site.lead).send();
    lead("/api/v1/queues/session/drain").await;
    let begun = replay(&site, &json!({})).await;
    let address = begun.header("location").to_owned();
    work_off(&site).await;
    let held = site.get(&address).send().await.json();
    assert_eq!(
        (&held["status"], &held["replayed"]),
        (&json!("running"), &json!(0)),
        "{held}"
    );
    let why = held["held_up"].as_str().unwrap();
    assert!(why.contains("drain"), "{why}");
    let aborted = site.post(&format!("{address}/abort")).send().await;
    assert_eq!(aborted.status, StatusCode::OK, "{}", aborted.text());
    let aborted = aborted.json();
    assert_eq!(aborted["status"], "aborted");
    assert!(aborted["finished_at"].is_string());
    assert_eq!(aborted["held_up"], Value::Null, "it is over");
    lead("/api/v1/queues/session/resume").await;
    work_off(&site).await;
    for id in &ids {
        assert_eq!(
            status(&site, id).await,
            "failed",
            "nothing goes on after an abort"
        );
    }
    let again = replay(&site, &json!({})).await;
    work_off(&site).await;
    let done = site.get(again.header("location")).send().await.json();
    assert_eq!(
        (&done["status"], &done["replayed"]),
        (&json!("completed"), &json!(4)),
        "{done}"
    );
}

#[tokio::test]
async fn a_replay_is_its_tenants_own() {
    let site = Site::start().await;
    four_failed(&site).await;
    let address = replay(&site, &json!({}))
        .await
        .header("location")
        .to_owned();
    let abort = format!("{address}/abort");
    site.get(&address)
        .key(&site.stranger)
        .send()
        .await
        .problem(404, "REPLAY_NOT_FOUND");
    site.post(&abort)
        .key(&site.stranger)
        .send()
        .await
        .problem(404, "REPLAY_NOT_FOUND");
    site.post(&abort)
        .key(&site.viewer)
        .send()
        .await
        .problem(403, "FORBIDDEN");
    let theirs = site.get(REPLAYS).key(&site.stranger).send().await.json();
    assert_eq!(theirs["items"], json!([]));
    assert_eq!(
        site.get(&address).send().await.json()["status"],
        "running",
        "nobody aborted it"
    );
    for id in ["nonsense", "0198c5a2-7e1b-7cc0-8000-0123456789ab"] {
        let path = format!("{REPLAYS}/{id}");
        site.get(&path)
            .send()
            .await
            .problem(404, "REPLAY_NOT_FOUND");
        site.post(&format!("{path}/abort"))
            .send()
            .await
            .problem(404, "REPLAY_NOT_FOUND");
    }
    // The replay of another tenant's own has nothing of acme's to take.
    let own = site
        .post(REPLAYS)
        .key(&site.stranger)
        .json(&json!({}))
        .send()
        .await
        .json();
    assert_eq!(own["matched"], 0);
}
