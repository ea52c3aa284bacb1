//! SIGTERM: a worker that leaves loses nothing, and what it gives back has not failed.

use serde_json::json;

use crate::harness::{Mode, PATIENCE, Plan, Stand, eventually, is_alive, number_in};

pub async fn a_leaving_worker_hands_back_what_it_cannot_finish(mode: Mode) {
    let plan = Plan {
        workers: 1,
        drain_seconds: 1,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let pid_file = stand.scratch().join("pid");
    let line = format!(
        r#"[ "$ORCHESTRATOR_ATTEMPT" = 1 ] || exit 0; echo $$ > {}; while :; do sleep 0.1; done"#,
        pid_file.display()
    );
    // One attempt is all it has: being handed back must not burn it.
    let job = tenant.command_with(&line, json!({"max_attempts": 1})).await;
    let pid = eventually("the session runs", PATIENCE, async || number_in(&pid_file)).await;

    assert_eq!(stand.leave(PATIENCE).await, 0, "a worker that was told to leave leaves in order");
    assert!(!is_alive(pid));
    let finished = job.reaches("completed").await;
    assert_eq!(finished["attempt"], 2);
    assert_eq!(finished["failures"], 0);
    assert_eq!(job.outcomes().await, ["handed_back", "completed"]);
    let expected = ["created", "queued", "started", "handed_back", "started", "completed"];
    assert_eq!(job.event_kinds().await, expected);
}

pub async fn a_leaving_worker_finishes_what_it_can(mode: Mode) {
    let plan = Plan {
        workers: 1,
        drain_seconds: 60,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let scratch = stand.scratch();
    let line = format!("echo $$ > {0}/pid; sleep 2; echo done", scratch.display());
    let job = tenant.command(&line).await;
    eventually("the session runs", PATIENCE, async || number_in(&scratch.join("pid"))).await;
    assert_eq!(stand.leave(PATIENCE).await, 0);
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["completed"]);
    assert_eq!(job.log().await, "done\n");
}

/// Whoever cannot wait says so twice. What ran is taken back after the lease, as after a crash.
pub async fn a_second_sigterm_ends_a_worker_at_once(mode: Mode) {
    let plan = Plan {
        drain_seconds: 300,
        ..Plan::noticing_crashes()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let pid_file = stand.scratch().join("pid");
    let line = format!(
        r#"[ "$ORCHESTRATOR_ATTEMPT" = 1 ] || exit 0; echo $$ > {}; while :; do sleep 0.1; done"#,
        pid_file.display()
    );
    let job = tenant.command(&line).await;
    let pid = eventually("the session runs", PATIENCE, async || number_in(&pid_file)).await;
    stand.leave_at_once().await;
    eventually("nothing of the session is left", PATIENCE, async || {
        (!is_alive(pid)).then_some(())
    })
    .await;
    stand.replace_runner().await;
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
}
