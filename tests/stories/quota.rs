//! Quotas hold, whoever counts, and one tenant's backlog is not another one's wait.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Job, Mode, PATIENCE, Plan, Quota, Stand, eventually, instant, lines_of};

const QUOTA: u32 = 2;
const BACKLOG: usize = 50;
/// What the other tenant's session may wait, from its creation to its start.
const AT_ONCE: TimeDelta = TimeDelta::seconds(2);
/// The times of a run are those of its worker's decision; the slot is given back and taken by the transactions that
/// follow. Runs last longer than this.
const CLOCK_SLACK: TimeDelta = TimeDelta::milliseconds(100);

pub async fn a_backlog_stays_within_its_quota_and_delays_nobody_else(mode: Mode) {
    let plan = Plan {
        workers: 3,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let quota = Quota {
        sessions: QUOTA,
        ..Quota::default()
    };
    let busy = stand.tenant_with(quota).await;
    let other = stand.tenant().await;
    let scratch = stand.scratch();
    // Each run counts those that run with it.
    let line = format!(
        "cd {} && touch run.$$ && ls | grep -c '^run' >> counts && sleep 0.25 && rm run.$$",
        scratch.display()
    );
    let session = json!({
        "title": "one of many",
        "agent": {"kind": "command", "run": line},
        "max_duration_seconds": 60,
    });
    let body = json!({"sessions": vec![session; BACKLOG]});
    let created = busy.api.post("/api/v1/sessions/bulk", &body).await.expect(201).json();
    let ids: Vec<String> = serde_json::from_value(created["ids"].clone()).unwrap();
    assert_eq!(ids.len(), BACKLOG);
    eventually("the backlog is worked on", PATIENCE, async || {
        (lines_of(&scratch.join("counts")).len() >= 4).then_some(())
    })
    .await;

    let job = other.command("echo mine").await;
    let finished = job.reaches("completed").await;
    let waited = instant(&finished["started_at"]) - instant(&finished["created_at"]);
    assert!(waited < AT_ONCE, "the other tenant's session waited {waited}");
    let depth = busy.queue().await["depth"].as_u64().unwrap();
    assert!(depth > 10, "the backlog was nearly over, so this says nothing: {depth}");

    let mut runs = Vec::new();
    for id in &ids {
        let job: Job = busy.job(id);
        job.reaches("completed").await;
        let attempts = job.attempts().await;
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        runs.push(interval(&attempts[0]));
    }
    check_counts(&lines_of(&scratch.join("counts")));
    let most = most_at_once(&runs);
    assert_eq!(most, QUOTA as usize, "the quota is used, and kept");
}

fn check_counts(counts: &[String]) {
    let counts: Vec<u32> = counts.iter().map(|count| count.parse().unwrap()).collect();
    assert_eq!(counts.len(), BACKLOG, "each session ran once");
    let most = counts.iter().max();
    assert_eq!(most, Some(&QUOTA), "{counts:?}");
}

fn interval(attempt: &Value) -> (DateTime<Utc>, DateTime<Utc>) {
    let ends = instant(&attempt["finished_at"]) - CLOCK_SLACK;
    (instant(&attempt["started_at"]), ends)
}

fn most_at_once(runs: &[(DateTime<Utc>, DateTime<Utc>)]) -> usize {
    let at = |moment: DateTime<Utc>| {
        runs.iter().filter(|(begin, end)| *begin <= moment && moment < *end).count()
    };
    runs.iter().map(|(begin, _)| at(*begin)).max().unwrap_or(0)
}

/// A raised quota takes effect at once; a lowered one lets running sessions go on.
pub async fn a_quota_can_be_changed_while_sessions_wait(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let gate = stand.scratch().join("gate");
    let line = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(tenant.command(&line).await);
    }
    let running = async |count: u64| {
        eventually(&format!("{count} run"), PATIENCE, async || {
            (tenant.queue().await["running"] == count).then_some(())
        })
        .await;
    };
    running(1).await;
    let path = format!("/api/v1/tenants/{}", tenant.slug);
    let raised = json!({"quotas": {"session": 3}});
    stand.admin().patch(&path, &raised).await.expect(200);
    running(3).await;
    let lowered = json!({"quotas": {"session": 1}});
    stand.admin().patch(&path, &lowered).await.expect(200);
    assert_eq!(tenant.queue().await["running"], 3, "what runs goes on");
    assert_eq!(tenant.sessions("&state=queued").await.len(), 1, "and what waits waits");
    std::fs::write(&gate, "").unwrap();
    for job in &jobs {
        job.reaches("completed").await;
    }
}
