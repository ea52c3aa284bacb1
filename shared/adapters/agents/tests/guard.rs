//! Nothing that a run started outlives it, whatever ends it.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use application::ports::{HandlerError, Interruption};
use common::{HELPER, Run, error_of, eventually, is_alive, pid_in};
use domain::LogStream;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts a daemon of its own session below a parent that is gone, and a child that stays.
const LEAVE_PROCESSES: &str = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' >/dev/null 2>&1 &)
    sleep 1000 & echo $! > child
    while [ ! -s daemon ]; do sleep 0.01; done";

async fn left_behind(directory: &Path) -> [u32; 2] {
    [
        eventually("the daemon runs", || pid_in(&directory.join("daemon"))).await,
        eventually("the child runs", || pid_in(&directory.join("child"))).await,
    ]
}

#[tokio::test]
async fn daemons_of_a_finished_command_are_dead_when_it_returns() {
    let run = Run::shell(LEAVE_PROCESSES);
    run.run().await.unwrap();
    for pid in left_behind(run.directory()).await {
        assert!(!is_alive(pid), "{pid} is alive");
    }
}

#[tokio::test]
async fn a_process_that_flees_by_forking_is_caught() {
    let run = Run::shell(
        "cat > flee <<'END'\necho $$ >> seen\nsetsid sh flee &\nEND\nsetsid sh flee & while [ $(wc -l < seen) -lt 20 ]; do :; done",
    );
    std::fs::write(run.directory().join("seen"), "").unwrap();
    run.run().await.unwrap();
    let seen = std::fs::read_to_string(run.directory().join("seen")).unwrap();
    for pid in seen.lines().filter_map(|line| line.parse().ok()) {
        assert!(!is_alive(pid), "{pid} is alive");
    }
    let marked = format!("ORCHESTRATOR_JOB_ID={}", run.task.job);
    assert_eq!(processes_with(&marked), 0);
}

#[tokio::test]
async fn stop_lets_the_command_wind_up_and_kills_what_does_not() {
    let polite = Run::shell(
        "trap 'echo \"{\\\"checkpoint\\\":{\\\"at\\\":1}}\" > $ORCHESTRATOR_PROGRESS; echo bye; exit 0' TERM
        echo ready; while :; do sleep 0.05; done",
    );
    let result = interrupted_when_ready(&polite, Interruption::Drain).await;
    assert!(
        matches!(result, Err(HandlerError::Interrupted(Interruption::Drain))),
        "{result:?}"
    );
    let said = polite.context.recorded();
    assert_eq!(said.text(LogStream::Stdout), "ready\nbye\n");
    assert_eq!(said.checkpoints.len(), 1);

    let stubborn = Run::shell(&format!(
        "trap '' TERM; {LEAVE_PROCESSES}; echo ready; while :; do sleep 0.05; done"
    ));
    let result = interrupted_when_ready(&stubborn, Interruption::Stop).await;
    assert!(
        matches!(result, Err(HandlerError::Interrupted(Interruption::Stop))),
        "{result:?}"
    );
    for pid in left_behind(stubborn.directory()).await {
        assert!(!is_alive(pid), "{pid} is alive");
    }
}

#[tokio::test]
async fn a_lost_lease_kills_at_once_and_writes_nothing_more() {
    let run = Run::shell("trap 'echo too late' TERM; echo ready; while :; do sleep 0.05; done");
    let result = interrupted_when_ready(&run, Interruption::LeaseLost).await;
    assert!(
        matches!(
            result,
            Err(HandlerError::Interrupted(Interruption::LeaseLost))
        ),
        "{result:?}"
    );
    assert_eq!(run.context.recorded().text(LogStream::Stdout), "ready\n");
}

#[tokio::test]
async fn dropping_the_run_kills_it() {
    let run = Run::shell(&format!("{LEAVE_PROCESSES}; echo $$ > self; sleep 1000"));
    let directory = run.directory().to_owned();
    let pids = tokio::select! {
        result = run.run() => panic!("it ended: {result:?}"),
        pids = async {
            let [daemon, child] = left_behind(&directory).await;
            let own = eventually("it runs", || pid_in(&directory.join("self"))).await;
            [daemon, child, own]
        } => pids,
    };
    for pid in pids {
        eventually("all are dead", || (!is_alive(pid)).then_some(())).await;
    }
}

#[tokio::test]
async fn all_die_with_a_worker_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let line = format!("{LEAVE_PROCESSES}; echo $$ > self; sleep 1000");
    let mut worker = Worker::start(&tree, &line, Duration::from_secs(30));
    let [daemon, child] = left_behind(&tree).await;
    let own = eventually("it runs", || pid_in(&tree.join("self"))).await;
    assert!([daemon, child, own].into_iter().all(is_alive));
    worker.0.kill().unwrap();
    worker.0.wait().unwrap();
    for pid in [daemon, child, own] {
        eventually("all are dead", || (!is_alive(pid)).then_some(())).await;
    }
}

#[tokio::test]
async fn all_die_below_a_worker_that_is_frozen_for_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let line = format!("{LEAVE_PROCESSES}; echo $$ > self; sleep 1000");
    let mut worker = Worker::start(&tree, &line, Duration::from_millis(600));
    let [daemon, child] = left_behind(&tree).await;
    let own = eventually("it runs", || pid_in(&tree.join("self"))).await;
    worker.signal(Signal::SIGSTOP);
    for pid in [daemon, child, own] {
        eventually("all are dead", || (!is_alive(pid)).then_some(())).await;
    }
    assert!(worker.is_frozen());
    // The command is not to blame: it should run again.
    worker.signal(Signal::SIGCONT);
    assert_eq!(worker.0.wait().unwrap().code(), Some(75));
}

#[tokio::test]
async fn a_worker_that_only_pauses_keeps_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let patience = Duration::from_secs(2);
    let line = "echo $$ > self; while [ ! -e go ]; do sleep 0.05; done";
    let mut worker = Worker::start(&tree, line, patience);
    let own = eventually("it runs", || pid_in(&tree.join("self"))).await;
    let begun = Instant::now();
    while begun.elapsed() < patience * 3 {
        worker.signal(Signal::SIGSTOP);
        tokio::time::sleep(patience / 4).await;
        worker.signal(Signal::SIGCONT);
        tokio::time::sleep(patience / 8).await;
        assert!(is_alive(own), "killed after {:?}", begun.elapsed());
    }
    std::fs::write(tree.join("go"), "").unwrap();
    assert!(worker.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_command_that_kills_its_guard_gains_nothing() {
    let run = Run::shell(&format!("{LEAVE_PROCESSES}; kill -9 $PPID; sleep 1000"));
    let started = Instant::now();
    let result = run.run().await;
    assert!(matches!(result, Err(HandlerError::Retry(_))), "{result:?}");
    assert_eq!(error_of(result).code, "GUARD_LOST");
    assert!(started.elapsed() < Duration::from_secs(30));
    for pid in left_behind(run.directory()).await {
        assert!(!is_alive(pid), "{pid} is alive");
    }
}

#[tokio::test]
async fn signals_meant_for_the_worker_do_not_end_the_guard() {
    let run = Run::shell("kill -TERM $PPID; kill -INT $PPID; sleep 0.1; echo still here");
    run.run().await.unwrap();
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "still here\n"
    );
}

/// A worker in a process of its own; a test that breaks leaves none behind, frozen or not.
struct Worker(Child);

impl Worker {
    fn start(directory: &Path, line: &str, patience: Duration) -> Self {
        let child = Command::new(HELPER)
            .arg("play-worker")
            .arg(directory)
            .arg(line)
            .arg(patience.as_millis().to_string())
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn is_frozen(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn interrupted_when_ready(
    run: &Run,
    reason: Interruption,
) -> Result<application::ports::AgentReport, HandlerError> {
    let story = async {
        run.context
            .wait_until(|said| said.text(LogStream::Stdout).contains("ready\n"))
            .await;
        run.context.interrupt(reason);
    };
    tokio::join!(run.run(), story).0
}

fn processes_with(variable: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environment| {
            environment
                .split(|&byte| byte == 0)
                .any(|line| line == variable.as_bytes())
        })
        .count()
}
