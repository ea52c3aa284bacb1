//! Schedules from the command line: made, looked at, run between two ticks, and taken away.
//!
//! No story waits for a tick: the finest timetable ticks once a minute. That ticks make jobs is held by the contract of
//! the stores and the tests of the API.

use serde_json::{Value, json};

use crate::harness::{Cli, Mode, Stand};

pub async fn a_schedule_is_kept_and_run_by_hand(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let admin = &stand.admin_key();
    let run = async |words: &[&str]| {
        let words = [words, &["--as-tenant", tenant.slug.as_str()]].concat();
        Cli::run(&stand, admin, &words).await
    };
    let create = [
        "schedule", "create", "nightly", "--cron", "30 3 * * 1-5", "--timezone", "Europe/Berlin", "--run",
        "echo all is well", "-o", "json",
    ];
    let created = run(&create).await.expect(0);
    let schedule: Value = serde_json::from_str(&created.stdout).unwrap();
    assert_eq!(schedule["next_ticks"].as_array().unwrap().len(), 3, "{schedule:#}");
    let again = run(&create).await.expect(1);
    assert!(again.stderr.contains("nightly"), "{}", again.stderr);
    let never = ["schedule", "create", "never", "--cron", "0 0 30 2 *", "--run", "true"];
    let refused = run(&never).await;
    assert!(refused.code != 0 && refused.stderr.contains("never comes"), "{}", refused.stderr);

    let ran = run(&["schedule", "run", "nightly"]).await.expect(0);
    let job = tenant.job(ran.stdout.trim());
    let done = job.reaches("completed").await;
    assert_eq!(done["metadata"]["schedule"], schedule["id"]);
    assert!(job.log().await.contains("all is well"));

    run(&["schedule", "pause", "nightly"]).await.expect(0);
    let list = run(&["schedule", "list"]).await.expect(0);
    assert!(list.stdout.contains("nightly") && list.stdout.contains("paused"), "{}", list.stdout);
    let resumed = run(&["schedule", "resume", "nightly", "-o", "json"]).await.expect(0);
    let resumed: Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!(resumed["next_at"], resumed["next_ticks"][0]);
    assert_eq!(resumed["last_job_id"], json!(job.id));

    let other = stand.tenant().await;
    let theirs = ["schedule", "get", "nightly", "--as-tenant", other.slug.as_str()];
    Cli::run(&stand, admin, &theirs).await.expect(4);
    run(&["schedule", "delete", "nightly"]).await.expect(0);
    run(&["schedule", "get", "nightly"]).await.expect(4);
    job.reaches("completed").await;
}
