//! Queues that are held, let go and worked off, from the command line and over HTTP.

use serde_json::{Value, json};

use crate::harness::{Cli, Mode, PATIENCE, Quota, Stand, eventually};

pub async fn a_pause_holds_and_a_resume_lets_go(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let other = stand.tenant().await;
    let admin = &stand.admin_key();
    let queue = async |verb: &str| {
        let words = ["queue", verb, "session", "--as-tenant", tenant.slug.as_str()];
        Cli::run(&stand, admin, &words).await.expect(0).stdout
    };
    let gate = stand.scratch().join("gate");
    let line = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let running = tenant.command(&line).await;
    running.reaches("running").await;
    let shown = queue("pause").await;
    assert!(shown.contains("paused"), "{shown}");

    let held = tenant.echo().await;
    // What ran goes on, and others are not meant.
    std::fs::write(&gate, "").unwrap();
    running.reaches("completed").await;
    other.echo().await.reaches("completed").await;
    assert_eq!(held.get().await["status"], "queued");
    assert_eq!(held.why().await, ["QUEUE_PAUSED"]);
    assert_eq!(tenant.queue().await["paused"], true);

    let shown = queue("resume").await;
    assert!(!shown.contains("paused"), "{shown}");
    held.reaches("completed").await;
}

pub async fn a_draining_queue_works_off_what_it_has_and_takes_nothing_new(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let admin = &stand.admin_key();
    let gate = stand.scratch().join("gate");
    let line = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let running = tenant.command(&line).await;
    let waiting = tenant.echo().await;
    running.reaches("running").await;

    let path = format!("/api/v1/tenants/{}/drain", tenant.slug);
    let drained = stand.admin().post_empty(&path).await.expect(200).json();
    let all = drained["items"].as_array().unwrap();
    assert!(all.iter().all(|queue: &Value| queue["draining"] == true), "{drained}");
    let late = json!({"title": "too late", "agent": {"kind": "echo"}});
    let refused = tenant.api.post("/api/v1/sessions", &late).await;
    refused.expect_problem(409, "QUEUE_DRAINING");
    let words = ["session", "run", "--agent", "echo", "--as-tenant", tenant.slug.as_str()];
    let refused = Cli::run(&stand, admin, &words).await.expect(1);
    assert!(refused.stderr.contains("QUEUE_DRAINING"), "{}", refused.stderr);

    std::fs::write(&gate, "").unwrap();
    running.reaches("completed").await;
    waiting.reaches("completed").await;
    eventually("the queue is empty", PATIENCE, async || {
        let queue = tenant.queue().await;
        (queue["depth"] == 0 && queue["running"] == 0).then_some(())
    })
    .await;
    let words = ["tenant", "resume", tenant.slug.as_str()];
    Cli::run(&stand, admin, &words).await.expect(0);
    tenant.echo().await.reaches("completed").await;
}
