//! Schedules: made, read, edited, run by hand, and fired.

use application::use_cases::fire_schedules;
use axum::http::{Method, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use domain::Schedule;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::Site;

const ALL: &str = "/api/v1/schedules";

fn nightly() -> Value {
    json!({
        "name": "nightly", "cron": "30 3 * * 1-5", "timezone": "Europe/Berlin", "missed": "all", "overlap": "skip",
        "deadline_after_seconds": 3600,
        "session": {"title": "nightly tests", "agent": {"kind": "echo"}, "tags": ["nightly"], "priority": "low"},
    })
}

async fn create(site: &Site, body: &Value) -> Answer {
    site.post(ALL).json(body).send().await
}

async fn created(site: &Site, body: &Value) -> Value {
    let answer = create(site, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()
}

async fn get(site: &Site, named: &str) -> Value {
    let answer = site.get(&format!("{ALL}/{named}")).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// The schedule's next tick came `ago`.
async fn backdate(site: &Site, name: &str, ago: TimeDelta) {
    let schedules = &site.ports.schedules;
    let found = schedules.schedule_by_name(site.acme.id, name).await;
    let before = found.unwrap().expect("acme has it");
    let after = Schedule {
        next_at: Some(site.ports.clock.now() - ago),
        ..before.clone()
    };
    assert!(schedules.change_schedule(&before, &after).await.unwrap());
}

#[tokio::test]
async fn a_schedule_is_shown_as_it_was_made_with_its_next_ticks() {
    let site = Site::start().await;
    let answer = create(&site, &nightly()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("etag"), "\"1\"");
    let made = answer.json();
    for field in [
        "name",
        "cron",
        "timezone",
        "missed",
        "overlap",
        "deadline_after_seconds",
    ] {
        assert_eq!(made[field], nightly()[field], "{field}");
    }
    for (field, said) in nightly()["session"].as_object().unwrap() {
        assert_eq!(&made["session"][field], said, "{field}");
    }
    assert!(made.get("training").is_none());
    let ticks: Vec<DateTime<Utc>> = serde_json::from_value(made["next_ticks"].clone()).unwrap();
    assert_eq!(ticks.len(), 3);
    assert!(ticks.is_sorted() && ticks[0] > site.ports.clock.now());
    for tick in ticks {
        // Half past three in Berlin is half past one or two.
        let hour = tick.format("%H:%M").to_string();
        assert!(["01:30", "02:30"].contains(&hour.as_str()), "{tick}");
    }
    assert_eq!(made["next_at"], made["next_ticks"][0]);
    let location = answer.header("location");
    assert_eq!(site.get(location).send().await.json(), made);
    assert_eq!(get(&site, "nightly").await, made);
    create(&site, &nightly())
        .await
        .problem(409, "SCHEDULE_NAME_TAKEN");
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule() {
    let site = Site::start().await;
    let with = |field: &str, value: Value| {
        let mut body = nightly();
        body[field] = value;
        body
    };
    let session = |field: &str, value: Value| {
        let mut body = nightly();
        body["session"][field] = value;
        body
    };
    let table = [
        (with("name", json!("Nightly")), "/name", "a-z"),
        (with("cron", json!("61 * * * *")), "/cron", "out of bounds"),
        (with("cron", json!("* * * * * *")), "/cron", "five fields"),
        (with("cron", json!("0 0 30 2 *")), "/cron", "never comes"),
        (with("timezone", json!("Berlin")), "/timezone", "IANA"),
        (with("missed", json!("some")), "/missed", "unknown value"),
        (
            with("deadline_after_seconds", json!(0)),
            "/deadline_after_seconds",
            "between 1",
        ),
        (
            with(
                "training",
                json!({"base_model": "a", "target_model_name": "b", "dataset": {"path": "/x"}}),
            ),
            "",
            "both",
        ),
        (with("session", json!(null)), "", "neither"),
        (session("title", json!("")), "/session/title", "empty"),
        (
            session("max_attempts", json!(0)),
            "/session/max_attempts",
            "between 1",
        ),
        (
            session("agent", json!({"kind": "robot"})),
            "/session/agent/kind",
            "not a kind",
        ),
        (
            session("metadata", json!({"schedule": 1})),
            "/session/metadata/schedule",
            "itself",
        ),
        (
            session("run_after", json!("2030-01-01T00:00:00Z")),
            "/session/run_after",
            "single jobs",
        ),
        (
            session("depends_on", json!(["other"])),
            "/session/depends_on",
            "single jobs",
        ),
        (
            session("colour", json!("red")),
            "/session/colour",
            "unknown field",
        ),
    ];
    for (body, pointer, words) in table {
        let detail = create(&site, &body).await.invalid_at(pointer);
        assert!(detail.contains(words), "{body}: {detail}");
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_schedule_is_told_at_once() {
    let site = Site::start().await;
    let both = json!({"name": "", "cron": "x", "session": nightly()["session"]});
    let problem = create(&site, &both).await.problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
}

#[tokio::test]
async fn schedules_are_listed_by_name_page_by_page() {
    let site = Site::start().await;
    for name in ["c", "a", "b"] {
        let mut body = nightly();
        body["name"] = json!(name);
        created(&site, &body).await;
    }
    let first = site.get(&format!("{ALL}?limit=2")).send().await;
    assert!(first.header("link").contains("rel=\"next\""));
    let page = first.json();
    let names = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|it| it["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["a", "b"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = site
        .get(&format!("{ALL}?limit=2&cursor={cursor}"))
        .send()
        .await;
    assert_eq!(names(&rest.json()), ["c"]);
    assert_eq!(rest.json()["next_cursor"], Value::Null);
    let theirs = site.get(ALL).key(&site.stranger).send().await;
    assert_eq!(theirs.json()["items"], json!([]));
    let elsewhere = site
        .get(&format!("{ALL}?cursor={cursor}"))
        .key(&site.stranger);
    elsewhere.send().await.invalid_at("/cursor");
}

#[tokio::test]
async fn editors_and_pauses_change_what_they_name() {
    let site = Site::start().await;
    created(&site, &nightly()).await;
    let change = async |tag: Option<&str>, body: Value| {
        let mut ask = site.ask(Method::PATCH, &format!("{ALL}/nightly"));
        if let Some(tag) = tag {
            ask = ask.header("if-match", tag);
        }
        ask.json(&body).send().await
    };
    let first = change(Some("\"1\""), json!({"cron": "@hourly", "timezone": "UTC"})).await;
    assert_eq!(first.header("etag"), "\"2\"", "{}", first.text());
    assert_eq!(
        first.json()["session"]["title"],
        "nightly tests",
        "left as it was"
    );
    change(Some("\"1\""), json!({"cron": "@daily"}))
        .await
        .problem(412, "VERSION_MISMATCH");
    let training = json!({"training": {"base_model": "tiny", "target_model_name": "m", "dataset": {"path": "/d.jsonl"}}});
    let replaced = change(None, training).await.json();
    assert_eq!(replaced["training"]["base_model"], "tiny");
    assert!(replaced.get("session").is_none());
    assert_eq!(replaced["deadline_after_seconds"], 3600);
    let without = change(None, json!({"deadline_after_seconds": null}))
        .await
        .json();
    assert_eq!(without["deadline_after_seconds"], Value::Null);
    change(None, json!({"cron": "0 0 31 2 *"}))
        .await
        .invalid_at("/cron");
    change(None, json!({"name": "other"}))
        .await
        .invalid_at("/name");
    let steer = async |verb: &str| {
        let answer = site.post(&format!("{ALL}/nightly/{verb}")).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    };
    let paused = steer("pause").await;
    assert_eq!(
        (&paused["paused"], &paused["next_at"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(paused["next_ticks"].as_array().unwrap().len(), 3);
    let resumed = steer("resume").await;
    assert_eq!(resumed["next_at"], resumed["next_ticks"][0]);
}

#[tokio::test]
async fn a_schedule_runs_by_hand_and_by_its_ticks() {
    let site = Site::start().await;
    let schedule = created(&site, &nightly()).await;
    let ran = site.post(&format!("{ALL}/nightly/run")).send().await;
    assert_eq!(ran.status, StatusCode::CREATED, "{}", ran.text());
    let job = ran.json();
    assert_eq!(job["status"], "queued");
    assert_eq!(job["metadata"]["schedule"], schedule["id"]);
    assert!(job["deadline"].is_string(), "an hour from now");
    assert_eq!(
        site.get(ran.header("location")).send().await.json()["id"],
        job["id"]
    );
    assert_eq!(get(&site, "nightly").await["last_job_id"], job["id"]);
    // The tick must not overlap with the job that waits.
    backdate(&site, "nightly", TimeDelta::seconds(1)).await;
    let round = fire_schedules(&site.ports).await.unwrap();
    assert_eq!((round.jobs, round.overlapped), (0, 1));
    let left_out = get(&site, "nightly").await;
    let why = left_out["last_error"]["message"].as_str().unwrap();
    assert!(why.contains(job["id"].as_str().unwrap()), "{why}");
    site.run(job["id"].as_str().unwrap()).await;
    backdate(&site, "nightly", TimeDelta::seconds(1)).await;
    let round = fire_schedules(&site.ports).await.unwrap();
    assert_eq!((round.jobs, round.overlapped), (1, 0));
    let after = get(&site, "nightly").await;
    assert_ne!(after["last_job_id"], job["id"]);
    assert!(after["last_tick_at"].is_string());
    assert_eq!(after["next_at"], after["next_ticks"][0]);
    assert_eq!(after["version"], 1, "nobody edited it");
    assert_eq!(
        fire_schedules(&site.ports).await.unwrap().jobs,
        0,
        "once a tick"
    );
}

#[tokio::test]
async fn a_missed_tick_that_is_not_made_up_for_says_so() {
    let site = Site::start().await;
    let mut body = nightly();
    body["missed"] = json!("skip");
    created(&site, &body).await;
    backdate(&site, "nightly", TimeDelta::seconds(61)).await;
    let round = fire_schedules(&site.ports).await.unwrap();
    assert_eq!((round.jobs, round.missed, round.refused), (0, 1, 0));
    let after = get(&site, "nightly").await;
    let why = after["last_error"]["message"].as_str().unwrap();
    assert!(why.contains("missed"), "{why}");
}

#[tokio::test]
async fn a_schedules_jobs_belong_to_a_job_of_the_tenant() {
    let site = Site::start().await;
    let body = json!({"title": "theirs", "agent": {"kind": "echo"}});
    let theirs = site.post("/api/v1/sessions").key(&site.stranger);
    let theirs = theirs.json(&body).send().await.json()["id"].clone();
    let below = |parent: &Value| {
        let mut body = nightly();
        body["session"]["parent_id"] = parent.clone();
        body
    };
    let refused = create(&site, &below(&theirs)).await;
    refused.invalid_at("/session/parent_id");
    let own = json!(site.session("own").await);
    let made = created(&site, &below(&own)).await;
    assert_eq!(made["session"]["parent_id"], own);
    let change = json!({"session": below(&theirs)["session"]});
    let changed = site.ask(Method::PATCH, &format!("{ALL}/nightly"));
    changed
        .json(&change)
        .send()
        .await
        .invalid_at("/session/parent_id");
}

#[tokio::test]
async fn a_refused_tick_is_shown() {
    let site = Site::start().await;
    created(&site, &nightly()).await;
    let off = json!({"active": false});
    let acme = || {
        site.ask(Method::PATCH, "/api/v1/tenants/acme")
            .key(&site.admin)
    };
    acme().json(&off).send().await;
    backdate(&site, "nightly", TimeDelta::seconds(1)).await;
    let round = fire_schedules(&site.ports).await.unwrap();
    assert_eq!((round.jobs, round.refused), (0, 1));
    let after = get(&site, "nightly").await;
    let message = after["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("not active"), "{message}");
    assert!(after["next_at"].is_string(), "the next tick comes");
    let by_hand = site.post(&format!("{ALL}/nightly/run")).send().await;
    by_hand.problem(403, "TENANT_INACTIVE");
}

#[tokio::test]
async fn a_schedule_is_its_tenants_own_until_it_is_deleted() {
    let site = Site::start().await;
    let schedule = created(&site, &nightly()).await;
    for named in [schedule["id"].as_str().unwrap(), "nightly"] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::PATCH, ""),
            (Method::DELETE, ""),
            (Method::POST, "/pause"),
            (Method::POST, "/resume"),
            (Method::POST, "/run"),
        ] {
            let ask = site.ask(method.clone(), &format!("{ALL}/{named}{rest}"));
            let answer = ask.key(&site.stranger).json(&json!({})).send().await;
            let problem = answer.problem(404, "SCHEDULE_NOT_FOUND");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(named), "{detail}");
        }
    }
    let delete = || site.ask(Method::DELETE, &format!("{ALL}/nightly")).send();
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.problem(404, "SCHEDULE_NOT_FOUND");
}
