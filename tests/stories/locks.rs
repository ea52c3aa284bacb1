//! Sessions that want a branch for themselves.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Mode, PATIENCE, Plan, Stand, eventually, lines_of};

/// Two on one branch, named in two ways, and one on another. Those on the same one count, twice each, who is there with
/// them. The first of them goes on only when the one on the other branch is there too, and that one only when somebody
/// has counted: so these two must have run at the same time, or neither ends well.
pub async fn exclusive_sessions_of_a_branch_never_overlap(mode: Mode) {
    // Two workers, where there can be two: the lock is not one of a process.
    let stand = Stand::own(mode, Plan::default()).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    repo.git(&["branch", "side"]);
    let scratch = stand.scratch();
    let counting = format!(
        "cd {} && touch main.$$
        until [ -e side ]; do sleep 0.05; done
        ls | grep -c '^main[.]' >> counts; sleep 0.5; ls | grep -c '^main[.]' >> counts
        rm main.$$",
        scratch.display()
    );
    let beside = format!(
        "cd {} && touch side && until [ -s counts ]; do sleep 0.05; done",
        scratch.display()
    );
    let on = |reference: &str| {
        json!({
            "repository": {"path": repo.path(), "ref": reference, "exclusive": true},
            "max_duration_seconds": 40, "max_attempts": 1,
        })
    };
    let mut jobs = Vec::new();
    for reference in ["main", "HEAD", "refs/heads/main", "main"] {
        jobs.push(tenant.command_with(&counting, on(reference)).await);
    }
    jobs.push(tenant.command_with(&beside, on("side")).await);
    for job in &jobs {
        job.reaches("completed").await;
    }
    assert_eq!(lines_of(&scratch.join("counts")), ["1"; 8], "each was alone on its branch");
}

/// The second waits for its branch for longer than it may run.
pub async fn waiting_for_a_branch_is_no_time_of_the_run(mode: Mode) {
    let limit = Duration::from_secs(2);
    let stand = Stand::own(mode, Plan::default()).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let gate = stand.scratch().join("gate");
    let on_main = |seconds: u64| {
        json!({
            "repository": {"path": repo.path(), "ref": "main", "exclusive": true},
            "max_duration_seconds": seconds, "max_attempts": 1,
        })
    };
    let hold = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    let first = tenant.command_with(&hold, on_main(60)).await;
    first.reaches("running").await;
    let second = tenant.command_with("true", on_main(limit.as_secs())).await;
    eventually("the second waits in line", PATIENCE, async || {
        second.log().await.contains("1 before it").then_some(())
    })
    .await;
    let log = second.log().await;
    assert!(log.contains(&format!("{} has it now", first.id)), "{log}");
    eventually("why says what it waits for", PATIENCE, async || {
        (second.why().await == ["LOCK"]).then_some(())
    })
    .await;
    // What is shown is that this time does not count.
    tokio::time::sleep(limit + Duration::from_secs(1)).await;
    std::fs::write(&gate, "").unwrap();
    first.reaches("completed").await;
    second.reaches("completed").await;
}
