//! Jobs that wait for others, and when a job may run at all.

use application::use_cases::release_jobs;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::Site;

const SESSIONS: &str = "/api/v1/sessions";

fn session(more: Value) -> Value {
    let mut body = json!({"title": "one", "agent": {"kind": "echo"}});
    let Value::Object(more) = more else {
        panic!("{more} is no object")
    };
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn create(site: &Site, more: Value) -> Answer {
    site.post(SESSIONS).json(&session(more)).send().await
}

async fn created(site: &Site, more: Value) -> Value {
    let answer = create(site, more).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()
}

/// Sessions by name, each after those that it names.
async fn bulk(site: &Site, named: &[(&str, &[&str])]) -> Answer {
    let sessions: Vec<Value> = named
        .iter()
        .map(|(name, after)| session(json!({"name": name, "depends_on": after})))
        .collect();
    let path = format!("{SESSIONS}/bulk");
    site.post(&path)
        .json(&json!({ "sessions": sessions }))
        .send()
        .await
}

async fn linked(site: &Site, named: &[(&str, &[&str])]) -> Vec<String> {
    let answer = bulk(site, named).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    serde_json::from_value(answer.json()["ids"].clone()).unwrap()
}

async fn get(site: &Site, id: &str) -> Value {
    site.get(&format!("{SESSIONS}/{id}")).send().await.json()
}

/// Waits until what the answer of a submission does not wait for is done, and looks.
async fn released(site: &Site, id: &str) -> Value {
    release_jobs(&site.ports).await.unwrap();
    get(site, id).await
}

#[tokio::test]
async fn a_job_belongs_to_a_job_of_its_tenant_or_to_none() {
    let site = Site::start().await;
    let theirs = site.post("/api/v1/sessions").key(&site.stranger);
    let theirs = theirs.json(&session(json!({}))).send().await.json()["id"].clone();
    let worker = json!(site.worker().await.id.to_string());
    for parent in [&theirs, &worker] {
        let alone = create(&site, json!({"parent_id": parent})).await;
        let detail = alone.invalid_at("/parent_id");
        assert!(detail.contains(parent.as_str().unwrap()), "{detail}");
        let several =
            json!({"sessions": [session(json!({})), session(json!({"parent_id": parent}))]});
        let bulk = site.post("/api/v1/sessions/bulk").json(&several);
        bulk.send().await.invalid_at("/sessions/1/parent_id");
    }
    let listed = site.get("/api/v1/jobs").send().await.json();
    assert_eq!(listed["items"], json!([]));
}

/// More than one transaction of the release looks at wait on for another one.
#[tokio::test]
async fn one_release_goes_on_past_those_who_wait_on() {
    let site = Site::start().await;
    let names: Vec<String> = (0..600).map(|number| format!("waits {number}")).collect();
    let mut jobs: Vec<(&str, &[&str])> = vec![("first", &[]), ("second", &[])];
    jobs.extend(
        names
            .iter()
            .map(|name| (name.as_str(), &["first", "second"][..])),
    );
    jobs.push(("last", &["first"]));
    let ids = linked(&site, &jobs).await;
    let (first, last) = (&ids[0], &ids[names.len() + 2]);
    site.run(first).await;
    assert_eq!(released(&site, last).await["status"], "queued");
    assert_eq!(get(&site, &ids[2]).await["status"], "pending");
}

#[tokio::test]
async fn sessions_wait_for_each_other_by_name_and_run_in_turn() {
    let site = Site::start().await;
    let ids = linked(
        &site,
        &[
            ("ship", &["build", "test"]),
            ("test", &["build"]),
            ("build", &[]),
        ],
    )
    .await;
    let [ship, test, build] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let before = get(&site, ship).await;
    assert_eq!(before["status"], "pending");
    let mut expected = [test.as_str(), build.as_str()];
    expected.sort_unstable();
    assert_eq!(before["depends_on"], json!(expected));
    assert_eq!(before["if_prerequisite_fails"], "fail");
    assert_eq!(get(&site, build).await["status"], "queued");
    site.run(build).await;
    assert_eq!(released(&site, test).await["status"], "queued");
    assert_eq!(
        get(&site, ship).await["status"],
        "pending",
        "one of two has ended"
    );
    site.run(test).await;
    assert_eq!(released(&site, ship).await["status"], "queued");
}

#[tokio::test]
async fn a_round_is_refused_with_its_path() {
    let site = Site::start().await;
    let round = bulk(
        &site,
        &[("a", &["c"]), ("b", &["a"]), ("c", &["b"]), ("d", &[])],
    )
    .await;
    let detail = round.invalid_at("/sessions/0/depends_on");
    assert!(detail.contains("a -> c -> b -> a"), "{detail}");
    let own = bulk(&site, &[("x", &[]), ("a", &["a"])]).await;
    let detail = own.invalid_at("/sessions/1/depends_on");
    assert!(detail.contains("a -> a"), "{detail}");
    let list = site.get(SESSIONS).send().await.json();
    assert_eq!(list["items"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn what_is_wrong_with_names() {
    let site = Site::start().await;
    let unknown = bulk(&site, &[("a", &[]), ("b", &["a", "nobody"])]).await;
    let detail = unknown.invalid_at("/sessions/1/depends_on");
    assert!(detail.contains("`nobody`"), "{detail}");
    let twice = bulk(&site, &[("a", &[]), ("a", &[])]).await;
    assert!(twice.invalid_at("/sessions/1/name").contains("`a`"));
    let long = "n".repeat(65);
    bulk(&site, &[(&long, &[])])
        .await
        .invalid_at("/sessions/0/name");
    bulk(&site, &[("", &[])])
        .await
        .invalid_at("/sessions/0/name");
    // A single one knows no names but its own.
    let alone = create(&site, json!({"depends_on": ["other"]})).await;
    assert!(alone.invalid_at("/depends_on").contains("`other`"));
}

#[tokio::test]
async fn a_prerequisite_must_be_a_job_of_the_same_tenant() {
    let site = Site::start().await;
    let nobody = "0198c5a2-7e1b-7cc0-8000-0123456789ab";
    let detail = create(&site, json!({"depends_on": [nobody]}))
        .await
        .invalid_at("/depends_on");
    assert!(detail.contains(nobody), "{detail}");
    let mine = site.session("acme's").await;
    let body = session(json!({"depends_on": [mine]}));
    let theirs = site
        .post(SESSIONS)
        .key(&site.stranger)
        .json(&body)
        .send()
        .await;
    let detail = theirs.invalid_at("/depends_on");
    assert!(
        detail.contains("there is no job"),
        "as if it did not exist: {detail}"
    );
    // In a bulk the pointer names the session.
    let second =
        json!({"sessions": [session(json!({})), session(json!({"depends_on": [nobody]}))]});
    let answer = site
        .post("/api/v1/sessions/bulk")
        .json(&second)
        .send()
        .await;
    answer.invalid_at("/sessions/1/depends_on");
    let list = site.get(SESSIONS).send().await.json();
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        1,
        "nothing else was stored"
    );
}

#[tokio::test]
async fn a_session_after_one_that_is_over_is_queued_or_ends_at_once() {
    let site = Site::start().await;
    let well = site.session("ends well").await;
    site.run(&well).await;
    let after = created(&site, json!({"depends_on": [well]})).await;
    let id = after["id"].as_str().unwrap();
    assert_eq!(released(&site, id).await["status"], "queued");
    site.run(id).await;

    let badly = site.session("ends badly").await;
    site.fail(&badly, "COMMAND_FAILED", "it ended with 3").await;
    let fails = created(&site, json!({"depends_on": [badly]})).await;
    let fails = released(&site, fails["id"].as_str().unwrap()).await;
    assert_eq!(
        (&fails["status"], &fails["error"]["code"]),
        (&json!("failed"), &json!("PREREQUISITE_FAILED"))
    );
    let message = fails["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&badly) && message.contains("failed"),
        "{message}"
    );
    let skip = json!({"depends_on": [badly], "if_prerequisite_fails": "skip"});
    let skipped = created(&site, skip).await;
    let skipped = released(&site, skipped["id"].as_str().unwrap()).await;
    assert_eq!(skipped["status"], "cancelled");
}

#[tokio::test]
async fn a_chain_ends_with_its_first_failure() {
    let site = Site::start().await;
    let ids = linked(&site, &[("a", &[]), ("b", &["a"]), ("c", &["b"])]).await;
    site.fail(&ids[0], "COMMAND_FAILED", "it ended with 3")
        .await;
    let last = released(&site, &ids[2]).await;
    assert_eq!(last["error"]["code"], "PREREQUISITE_FAILED", "{last}");
    let message = last["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&ids[1]),
        "the one it waited for itself: {message}"
    );
    // Retried from the front, link by link, by a person.
    let retry = site
        .post(&format!("{SESSIONS}/{}/retry", ids[0]))
        .send()
        .await;
    assert_eq!(retry.json()["status"], "queued");
}

#[tokio::test]
async fn a_person_starts_a_session_without_its_prerequisites() {
    let site = Site::start().await;
    let ids = linked(&site, &[("a", &[]), ("b", &["a"])]).await;
    let started = site
        .post(&format!("{SESSIONS}/{}/start", ids[1]))
        .send()
        .await;
    assert_eq!(started.json()["status"], "queued", "{}", started.text());
    let cancelled = site
        .post(&format!("{SESSIONS}/{}/cancel", ids[0]))
        .send()
        .await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    assert_eq!(
        released(&site, &ids[1]).await["status"],
        "queued",
        "it waits for nobody any more"
    );
}

#[tokio::test]
async fn training_jobs_and_sessions_wait_for_each_other() {
    let site = Site::start().await;
    let data = site.session("makes the data").await;
    let body = json!({
        "base_model": "tiny", "target_model_name": "mine", "dataset": {"path": "/x.jsonl"},
        "depends_on": [data], "if_prerequisite_fails": "skip", "requires": {"gpu": "h100"},
        "run_after": "2100-01-01T00:00:00Z", "deadline": "2100-01-02T00:00:00Z",
    });
    let training = site
        .post("/api/v1/fine-tuning/jobs")
        .json(&body)
        .send()
        .await;
    assert_eq!(training.status, StatusCode::CREATED, "{}", training.text());
    let training = training.json();
    assert_eq!(training["status"], "pending");
    for field in [
        "depends_on",
        "if_prerequisite_fails",
        "requires",
        "run_after",
        "deadline",
    ] {
        assert_eq!(training[field], body[field], "{field}");
    }
}

#[tokio::test]
async fn when_and_where_a_session_may_run_is_shown_as_it_was_said() {
    let site = Site::start().await;
    let said = json!({
        "run_after": "2100-01-01T00:00:00Z", "deadline": "2100-01-02T00:00:00.123456Z",
        "requires": {"gpu": "h100", "example.com/region": "eu-1"},
        "repository": {"path": "/srv/shop", "ref": "main", "exclusive": true},
    });
    let job = created(&site, said.clone()).await;
    for field in ["run_after", "deadline", "requires", "repository"] {
        assert_eq!(job[field], said[field], "{field}");
    }
    let plain = created(&site, json!({"repository": {"path": "/srv/shop"}})).await;
    assert!(plain["repository"].get("exclusive").is_none(), "{plain}");
    assert_eq!(
        (&plain["deadline"], &plain["run_after"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn what_is_wrong_with_when_and_where() {
    let site = Site::start().await;
    let labels: serde_json::Map<String, Value> = (0..21)
        .map(|number| (format!("k{number}"), json!("v")))
        .collect();
    let ids: Vec<String> = (0..101)
        .map(|n| format!("0198c5a2-7e1b-7cc0-8000-{n:012}"))
        .collect();
    let table = [
        (
            json!({"deadline": "2020-01-01T00:00:00Z"}),
            "/deadline",
            "past",
        ),
        (
            json!({"deadline": "2100-01-01T00:00:00Z", "run_after": "2100-01-01T00:00:00Z"}),
            "/deadline",
            "run_after",
        ),
        (json!({"deadline": "tomorrow"}), "/deadline", ""),
        (json!({"run_after": 7}), "/run_after", ""),
        (
            json!({"requires": {"gpu": "h 100"}}),
            "/requires/gpu",
            "`gpu=h 100`",
        ),
        (json!({"requires": {"a/b": ""}}), "/requires/a~1b", "`a/b=`"),
        (json!({ "requires": labels }), "/requires", "at most 20"),
        (json!({"requires": ["gpu=h100"]}), "/requires", ""),
        (
            json!({"if_prerequisite_fails": "cry"}),
            "/if_prerequisite_fails",
            "skip",
        ),
        (json!({"depends_on": "a"}), "/depends_on", ""),
        (json!({ "depends_on": ids }), "/depends_on", "at most"),
        (
            json!({"start": false, "depends_on": [ids[0]]}),
            "/start",
            "depends_on",
        ),
        (
            json!({"repository": {"path": "/x", "exclusive": "yes"}}),
            "/repository/exclusive",
            "",
        ),
    ];
    for (more, pointer, words) in table {
        let detail = create(&site, more.clone()).await.invalid_at(pointer);
        assert!(detail.contains(words), "{more}: {detail}");
    }
}
