//! Which session runs when, and where: by urgency, by what a worker has, and until when it makes sense.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Mode, PATIENCE, Plan, Quota, Stand, Tenant, eventually, instant, lines_of};

const BACKLOG: usize = 60;
/// Of those that wait, how many may begin between an urgent one's arrival and its start: one is being claimed already,
/// one may be claimed by the round after it.
const BEFORE_URGENT: usize = 2;
/// Long enough for a deadline to be still ahead when its session is stored, or when its run has begun.
const WAITS_FOR: TimeDelta = TimeDelta::seconds(3);
const RUNS_FOR: TimeDelta = TimeDelta::seconds(5);

/// The broker holds a wake-up for each of a short backlog's sessions; they name no job, so the urgent one is next.
pub async fn a_critical_session_overtakes_a_backlog(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let done = stand.scratch().join("done");
    let line = Tenant::line(&format!("sleep 0.15; echo done >> {}", done.display()), json!({}));
    let backlog = tenant.bulk(&vec![line; BACKLOG]).await;
    // Wake-ups have reached the workers by now.
    eventually("the backlog is worked on", PATIENCE, async || {
        (lines_of(&done).len() >= 3).then_some(())
    })
    .await;
    let critical = tenant.command_with("true", json!({"priority": "critical"})).await;
    let ran = critical.reaches("completed").await;
    let waiting = tenant.sessions("&state=queued").await;
    let (came, began) = (instant(&ran["queued_at"]), instant(&ran["started_at"]));
    assert!(waiting.len() > 10, "the backlog was nearly over, so this says nothing: {}", waiting.len());
    let overtook = tenant.sessions("").await;
    let between = |job: &&Value| {
        let started: Option<DateTime<Utc>> = job["started_at"].as_str().map(|at| at.parse().unwrap());
        job["id"] != critical.id && started.is_some_and(|at| at > came && at < began)
    };
    let before: Vec<&Value> = overtook.iter().filter(between).collect();
    assert!(before.len() <= BEFORE_URGENT, "{} of the backlog came first", before.len());
    for job in backlog.iter().rev() {
        // Some run by now; the rest need not.
        let answer = job.act("cancel").await;
        assert!([200, 409].contains(&answer.status), "{}", answer.text());
    }
}

pub async fn a_session_waits_for_a_worker_with_its_label(mode: Mode) {
    let plan = Plan {
        workers: 1,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let special = tenant.command_with("true", json!({"requires": {"gpu": "h100"}})).await;
    // The one after it runs, so it is not for want of time that this one does not.
    tenant.echo().await.reaches("completed").await;
    let why = special.part("why").await.expect(200).json();
    let reason = &why["reasons"][0];
    assert_eq!(reason["code"], "NO_WORKER", "{why:#}");
    assert_eq!(reason["data"]["requires"], json!({"gpu": "h100"}));
    assert_eq!(special.get().await["status"], "queued");

    // Not one with another value.
    let other = stand.bring_worker_with("gpu=a100").await;
    tenant.echo().await.reaches("completed").await;
    assert_eq!(special.why().await[0], "NO_WORKER");
    let right = stand.bring_worker_with("gpu=h100,region=eu").await;
    assert_ne!(other, right);
    special.reaches("completed").await;
    let attempts = special.attempts().await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0]["worker_id"], right, "it ran there");
    // With the label comes no duty to wait for it.
    tenant.echo().await.reaches("completed").await;
}

pub async fn a_deadline_ends_what_waits_and_what_runs(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let deadline = |since: &Value, time: TimeDelta| {
        json!({"deadline": (instant(since) + time).to_rfc3339()})
    };
    let gate = stand.scratch().join("gate");
    let line = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    // Has the only slot until the other one's deadline has passed.
    let holds = tenant.command(&line).await;
    let held = holds.reaches("running").await;
    let waits = deadline(&held["started_at"], WAITS_FOR);
    let waits = tenant.command_with("true", waits).await;
    let ended = waits.reaches("failed").await;
    assert_eq!(ended["error"]["code"], "DEADLINE_PASSED", "{ended:#}");
    assert_eq!((&ended["attempt"], &ended["started_at"]), (&json!(0), &Value::Null), "it never ran");
    assert!(instant(&ended["finished_at"]) >= instant(&ended["deadline"]), "{ended:#}");

    std::fs::write(&gate, "").unwrap();
    let held = holds.reaches("completed").await;
    let runs = deadline(&held["finished_at"], RUNS_FOR);
    let runs = tenant.command_with("while :; do sleep 0.05; done", runs).await;
    let ended = runs.reaches("timeout").await;
    assert_eq!(ended["error"]["code"], "DEADLINE_PASSED", "{ended:#}");
    assert!(instant(&ended["finished_at"]) >= instant(&ended["deadline"]), "{ended:#}");
    assert_eq!(runs.outcomes().await, ["timeout"]);
    // The slot is free again.
    tenant.echo().await.reaches("completed").await;
}
