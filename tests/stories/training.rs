//! Training jobs: the reference trainer makes a real, if small, model; leaving workers cost it nothing.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Event, Job, Mode, PATIENCE, Plan, Stand};

fn dataset(stand: &Stand) -> PathBuf {
    let path = stand.scratch().join("examples.jsonl");
    let mut text = String::new();
    for number in 0..50 {
        let example = json!({"text": format!("example {number}: the same words over and over again")});
        writeln!(text, "{example}").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    path
}

fn body(dataset: &std::path::Path, parameters: &Value) -> Value {
    json!({
        "base_model": "none",
        "target_model_name": "story-model",
        "provider": "subprocess",
        "dataset": {"path": dataset},
        "parameters": parameters,
        "max_duration_seconds": 300,
    })
}

/// The steps that a run's progress names.
fn steps(events: &[Event], attempt: u64) -> Vec<u64> {
    events
        .iter()
        .filter(|event| event.kind == "progress" && event.data["attempt"] == attempt)
        .map(|event| event.data["data"]["data"]["step"].as_u64().unwrap())
        .collect()
}

pub async fn a_model_is_trained_and_can_be_downloaded(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let job = tenant.training(&body(&dataset(&stand), &json!({"steps": 300, "batch": 8}))).await;
    let trained = job.reaches("completed").await;
    assert_eq!(trained["kind"], "training");
    assert_eq!(trained["title"], "story-model");
    let result = &trained["result"];
    let number = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("no {name} in {result}"));
    assert!(number("last_loss") < number("first_loss") / 2.0, "it learned nothing: {result}");
    assert_eq!(result["model_name"], "story-model");
    assert_eq!(result["steps"], 300);

    let artifacts = job.artifacts().await;
    let model = artifacts.iter().find(|artifact| artifact["sha256"] == result["sha256"]);
    let model = model.unwrap_or_else(|| panic!("no model in {artifacts:?}"));
    let bytes = job.artifact(model["id"].as_str().unwrap()).await;
    assert_eq!(hex::encode(Sha256::digest(bytes.bytes())), result["sha256"]);
    assert_eq!(result["bytes"], bytes.bytes().len());

    let events = job.events().await;
    assert!(steps(&events, 1).is_sorted(), "{events:?}");
    let shown: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert!(shown.contains(&"progress") && shown.contains(&"checkpoint"), "{shown:?}");
    // The job is found among training jobs, and is no session.
    let elsewhere = tenant.job(&job.id).part("logs").await;
    elsewhere.expect_problem(404, "SESSION_NOT_FOUND");
}

pub async fn a_dataset_that_cannot_be_used_fails_the_job_with_its_reason(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let bad = stand.scratch().join("bad.jsonl");
    std::fs::write(&bad, "{\"text\": \"good\"}\nnot json\n").unwrap();
    let missing = stand.work().join("missing.jsonl");
    let cases = [
        (missing.as_path(), "missing.jsonl"),
        (std::path::Path::new("/etc/passwd"), "ORCHESTRATOR_ROOTS"),
        (bad.as_path(), "line 2"),
    ];
    for (path, words) in cases {
        let job: Job = tenant.training(&body(path, &json!({}))).await;
        let failed = job.reaches("failed").await;
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "no `{words}` in {message}");
        assert_eq!(job.outcomes().await, ["failed"]);
    }
}

pub async fn a_training_goes_on_where_a_leaving_worker_stopped_it(mode: Mode) {
    let plan = Plan {
        workers: 1,
        drain_seconds: 1,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    // Too long to be awaited: what matters is where the second run begins.
    let parameters = json!({"steps": 500_000, "batch": 8, "checkpoint_every": 500_000});
    let job = tenant.training(&body(&dataset(&stand), &parameters)).await;
    let mut seen = progress_of(&job, None, 1).await;
    assert_eq!(stand.leave(PATIENCE).await, 0);
    let last = seen.last().unwrap().id;
    seen.extend(progress_of(&job, Some(last), 2).await);

    assert_eq!(job.outcomes().await, ["handed_back", "-"]);
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"checkpoint") && kinds.contains(&"handed_back"), "{kinds:?}");
    let (first, second) = (steps(&seen, 1), steps(&seen, 2));
    assert_eq!(first[0], 1, "the first run began at the beginning");
    assert!(second[0] > *first.last().unwrap(), "{first:?}, then {second:?}");
    job.act("stop").await.expect(200);
    let stopped = job.reaches("stopped").await;
    assert_eq!(stopped["failures"], 0, "being handed back is no failure: {stopped:#}");
}

/// The events up to the first progress of a run.
async fn progress_of(job: &Job, after: Option<i64>, attempt: u64) -> Vec<Event> {
    let mut stream = job.stream(after).await;
    let mut events = Vec::new();
    while steps(&events, attempt).is_empty() {
        events.push(stream.next(PATIENCE).await.expect("the training goes on"));
    }
    events
}
