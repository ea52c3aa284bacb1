//! People stop, cancel and retry; what makes no sense is refused with what would.

use serde_json::json;

use crate::harness::{Mode, PATIENCE, Quota, Stand, eventually, is_alive, number_in};

pub async fn a_stopped_session_is_dead_and_leaves_its_diff(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let scratch = stand.scratch();
    let at = scratch.display();
    let line = format!(
        "echo half > half.txt
         sh -c 'echo $$ > {at}/child; while :; do sleep 0.1; done' &
         setsid sh -c 'echo $$ > {at}/stray; while :; do sleep 0.1; done' &
         echo $$ > {at}/shell
         trap '' TERM
         while :; do sleep 0.1; done"
    );
    let job = tenant.command_with(&line, json!({"repository": {"path": repo.path()}})).await;
    let mut pids = Vec::new();
    for who in ["shell", "child", "stray"] {
        let file = scratch.join(who);
        let pid = eventually(&format!("the {who} runs"), PATIENCE, async || number_in(&file)).await;
        assert!(is_alive(pid));
        pids.push(pid);
    }
    let asked = job.act("stop").await.expect(200).json();
    assert_eq!(asked["stop_requested"], true, "{asked:#}");
    // Asking twice changes nothing.
    job.act("stop").await.expect(200);
    let stopped = job.reaches("stopped").await;
    for pid in pids {
        assert!(!is_alive(pid), "process {pid} outlived its session");
    }
    assert!(job.diff().await.contains("half.txt"));
    assert_eq!(stopped["result"]["diff"]["files"], json!(["half.txt"]), "{stopped:#}");
    assert_eq!(job.outcomes().await, ["stopped"]);
    let expected = ["created", "queued", "started", "stop_requested", "stopped"];
    assert_eq!(job.event_kinds().await, expected);
    assert!(repo.git(&["worktree", "list"]).lines().count() == 1);
}

pub async fn a_queued_session_can_be_cancelled(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let scratch = stand.scratch();
    let (gate, ran) = (scratch.join("gate"), scratch.join("ran"));
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let first = tenant.command(&wait).await;
    first.reaches("running").await;
    let second = tenant.command(&format!("touch {}", ran.display())).await;
    let third = tenant.echo().await;
    assert_eq!(second.get().await["status"], "queued");
    let cancelled = second.act("cancel").await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    std::fs::write(&gate, "").unwrap();
    first.reaches("completed").await;
    third.reaches("completed").await;
    assert!(!ran.exists(), "a cancelled session was run");
    assert_eq!(second.event_kinds().await, ["created", "queued", "cancelled"]);
    assert!(second.attempts().await.is_empty());
    let queue = tenant.queue().await;
    assert_eq!((&queue["running"], &queue["depth"]), (&json!(0), &json!(0)), "{queue}");
}

pub async fn a_failed_session_can_be_retried(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let mended = stand.scratch().join("mended");
    let line = format!("[ -e {} ]", mended.display());
    let job = tenant.command_with(&line, json!({"max_attempts": 1})).await;
    job.reaches("failed").await;
    std::fs::write(&mended, "").unwrap();
    let again = job.act("retry").await.expect(200).json();
    assert_eq!(again["status"], "queued");
    let finished = job.reaches_again("completed").await;
    assert!(finished["error"].is_null() || finished["status"] == "completed");
    assert_eq!(job.outcomes().await, ["failed", "completed"]);
    let expected = ["created", "queued", "started", "failed", "queued", "started", "completed"];
    assert_eq!(job.event_kinds().await, expected);
}

pub async fn what_a_state_does_not_allow_is_refused(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let gate = stand.scratch().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let completed = tenant.echo().await;
    completed.reaches("completed").await;
    let running = tenant.command(&wait).await;
    running.reaches("running").await;
    let pending = tenant.session(json!({"kind": "echo"}), json!({"start": false})).await;
    let cases = [
        (&completed, "completed", &["start", "cancel", "stop", "pause", "resume", "retry"][..], json!([])),
        (&running, "running", &["start", "cancel", "retry", "resume"], json!(["stop", "pause"])),
        (&pending, "pending", &["stop", "pause", "resume", "retry"], json!(["start", "cancel"])),
    ];
    for (job, state, actions, allowed) in cases {
        for action in actions {
            let problem = job.act(action).await.expect_problem(409, "INVALID_TRANSITION");
            assert_eq!(problem["state"], state, "{action}: {problem:#}");
            assert_eq!(problem["allowed"], allowed, "{action}: {problem:#}");
        }
        assert_eq!(job.get().await["status"], state, "nothing has changed");
    }
    std::fs::write(&gate, "").unwrap();
    running.reaches("completed").await;
}
