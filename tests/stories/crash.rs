//! What `kill -9` costs, or being frozen: time, and nothing else.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Mode, PATIENCE, Plan, Stand, eventually, is_alive, lines_of, number_in};

const SESSIONS: usize = 3;
/// Beyond lease and grace: to notice, to start again, on a busy machine.
const SLACK: Duration = Duration::from_secs(20);

/// The first run goes on until it is killed, with a child that has left its process group; the second one ends.
fn script(marks: &Path) -> String {
    let marks = marks.display();
    format!(
        r#"
echo "begin $ORCHESTRATOR_ATTEMPT" >> {marks}
if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then
  echo $$ > {marks}.shell
  setsid sh -c 'echo $$ > {marks}.stray; while :; do echo "tick 1" >> {marks}; sleep 0.05; done' &
  while :; do echo "tick 1" >> {marks}; sleep 0.05; done
fi
echo "end $ORCHESTRATOR_ATTEMPT" >> {marks}
"#
    )
}

pub async fn the_jobs_of_a_killed_worker_run_again_and_finish_once(mode: Mode) {
    let stand = Stand::own(mode, Plan::noticing_crashes()).await;
    let tenant = stand.tenant().await;
    let scratch = stand.scratch();
    let marks: Vec<_> = (0..SESSIONS).map(|index| scratch.join(index.to_string())).collect();
    let mut jobs = Vec::new();
    for marks in &marks {
        jobs.push(tenant.command(&script(marks)).await);
    }
    let mut pids = Vec::new();
    for marks in &marks {
        for which in ["shell", "stray"] {
            let what = format!("the {which} of a session runs");
            let file = marks.with_extension(which);
            pids.push(eventually(&what, PATIENCE, async || number_in(&file)).await);
        }
    }
    for job in &jobs {
        assert_eq!(job.get().await["status"], "running");
    }

    let mut killed = Instant::now();
    stand
        .crash(async || {
            killed = Instant::now();
            eventually("nothing that the dead worker ran is alive", PATIENCE, async || {
                (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
            })
            .await;
        })
        .await;
    for job in &jobs {
        job.reaches("completed").await;
    }
    let plan = stand.plan();
    let limit = Duration::from_secs(plan.lease_seconds + plan.grace_seconds) + SLACK;
    assert!(killed.elapsed() < limit, "it took {:?}", killed.elapsed());

    for (job, marks) in jobs.iter().zip(&marks) {
        let kinds = job.event_kinds().await;
        let expected = ["created", "queued", "started", "retry_scheduled", "started", "completed"];
        assert_eq!(kinds, expected);
        assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
        assert_eq!(job.get().await["failures"], 1);
        check_marks(&lines_of(marks));
    }
    let queue = tenant.queue().await;
    assert_eq!((&queue["running"], &queue["depth"]), (&json!(0), &json!(0)), "{queue}");
}

/// The second run begins after the last sign of the first one, and ends once.
fn check_marks(lines: &[String]) {
    let position = |line: &str| lines.iter().position(|other| other == line);
    let second = position("begin 2").expect("there was a second run");
    let last_tick = lines.iter().rposition(|line| line == "tick 1");
    assert!(last_tick.expect("the first run worked") < second, "an orphan went on writing");
    let ends: Vec<&String> = lines.iter().filter(|line| line.starts_with("end")).collect();
    assert_eq!(ends, ["end 2"]);
}

/// What was waiting when the process died is neither lost nor run twice.
pub async fn a_backlog_survives_a_crash(mode: Mode) {
    let stand = Stand::own(mode, Plan::noticing_crashes()).await;
    let tenant = stand.tenant().await;
    let runs = stand.scratch().join("runs");
    let mut jobs = Vec::new();
    for index in 0..20 {
        // Slow enough that the crash comes in the middle.
        let line = format!("sleep 0.3; echo {index} >> {}", runs.display());
        jobs.push(tenant.command(&line).await);
    }
    eventually("some have run", PATIENCE, async || {
        (lines_of(&runs).len() >= 3).then_some(())
    })
    .await;
    stand.crash(async || {}).await;
    for job in &jobs {
        job.reaches("completed").await;
        let kinds = job.event_kinds().await;
        let ends = kinds.iter().filter(|kind| kind.as_str() == "completed").count();
        assert_eq!(ends, 1, "{kinds:?}");
    }
}

/// The data folder is its own, so nobody has to wait for the lease of the one before it.
pub async fn a_dev_that_was_killed_goes_on_as_soon_as_it_is_back(mode: Mode) {
    let stand = Stand::own(mode, Plan::default()).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let marks = stand.scratch().join("marks");
    // The first holds the branch until it is killed, the second waits for it.
    let line = format!(
        r"[ -e {marks} ] || {{ echo begun >> {marks}; while :; do sleep 0.05; done; }}; echo again >> {marks}",
        marks = marks.display()
    );
    let exclusive = json!({"repository": {"path": repo.path(), "exclusive": true}});
    let first = tenant.command_with(&line, exclusive.clone()).await;
    eventually("the first one works", PATIENCE, async || marks.exists().then_some(())).await;
    let second = tenant.command_with(&line, exclusive).await;
    second.reaches("running").await;
    let killed = Instant::now();
    stand.crash(async || {}).await;
    for job in [&first, &second] {
        job.reaches("completed").await;
        assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    }
    assert_eq!(lines_of(&marks), ["begun", "again", "again"]);
    let lease = Duration::from_secs(stand.plan().lease_seconds);
    assert!(killed.elapsed() < lease, "it took {:?}", killed.elapsed());
}

/// A worker that was frozen past its lease finds its jobs taken: it ends what it still runs and writes nothing.
pub async fn a_frozen_worker_finds_its_jobs_taken(mode: Mode) {
    let stand = Stand::own(mode, Plan::noticing_crashes()).await;
    let tenant = stand.tenant().await;
    let scratch = stand.scratch();
    let (pid_file, ends) = (scratch.join("pid"), scratch.join("ends"));
    let line = format!(
        r#"
if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then
  echo $$ > {}
  while :; do sleep 0.1; done
fi
echo "end $ORCHESTRATOR_ATTEMPT" >> {}
"#,
        pid_file.display(),
        ends.display()
    );
    let job = tenant.command(&line).await;
    let pid = eventually("the session runs", PATIENCE, async || number_in(&pid_file)).await;
    stand.freeze_past_lease().await;
    job.reaches("completed").await;
    eventually("the first run is over", PATIENCE, async || {
        (!is_alive(pid)).then_some(())
    })
    .await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert_eq!(lines_of(&ends), ["end 2"]);
    // The thawed worker goes on, under another name.
    stand.workers_are(stand.runners()).await;
    tenant.echo().await.reaches("completed").await;
}
