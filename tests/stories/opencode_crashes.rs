//! `kill -9` of OpenCode, of its worker, or of both, while a model works: one completed session, in the same conversation.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{
    Job, Mode, OpenCodeStand, MODEL_PATIENCE, Plan, Question, Reply, Repo, eventually, number_in,
    processes_with,
};
use crate::opencode::{ask, shell, small, start_child, write_hello};

/// A command whose parent, the server, has an id that stands in `file`.
fn name_server(file: &Path) -> Reply {
    let line = format!("echo $PPID > {}; sleep 1000", file.display());
    shell("Then this.", &line)
}

fn kill_server(pid: i32) {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.contains("serve"), "{command}");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Once a worker was lost the model finishes at once; before that it does what `first` says.
fn finishing_after_a_loss(question: &Question, first: Reply) -> Reply {
    if !question.user_said("work in another folder") {
        return first;
    }
    if question.last_result().contains("Wrote file") {
        Reply::Say("Now it is there.".to_owned())
    } else {
        write_hello("Once more.")
    }
}

/// All names of OpenCode sessions that the log mentions.
fn conversations(log: &str) -> BTreeSet<String> {
    let words = log.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("ses_"))
        .map(str::to_owned)
        .collect()
}

/// Completed, once, in one conversation, after what `outcomes` says.
async fn check(job: &Job, outcomes: &[&str]) {
    let done = job.reaches_within("completed", MODEL_PATIENCE).await;
    assert_eq!(job.outcomes().await, outcomes);
    assert_eq!(done["result"]["summary"], "Now it is there.");
    assert!(job.diff().await.contains("+Hello, model!"));
    let kinds = job.event_kinds().await;
    let ends = kinds.iter().filter(|kind| kind.as_str() == "completed");
    assert_eq!(ends.count(), 1, "{kinds:?}");
    let log = job.log().await;
    assert_eq!(conversations(&log).len(), 1, "{log}");
    assert!(log.contains("goes on with session"), "{log}");
}

pub async fn a_killed_server_is_replaced_and_the_conversation_goes_on(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("server");
    let server = mark.clone();
    let own = OpenCodeStand::own(mode, small(), json!({}), move |question| {
        let again = question.user_said("files are as you left them");
        match (question.results(), again) {
            (0, _) => write_hello("First the file."),
            (1, false) => name_server(&server),
            _ => Reply::Say("Now it is there.".to_owned()),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({})).await;
    let pid = eventually("its server runs", MODEL_PATIENCE, async || number_in(&mark)).await;
    kill_server(pid);

    // What was written before the death is there, and the model is told of all that it had done.
    check(&job, &["completed"]).await;
    let last = own.model.questions().pop().unwrap();
    assert!(
        last.results() >= 1 && last.user_said("Write a greeting"),
        "{:?}",
        last.messages
    );
    assert!(job.log().await.contains("died and was started anew"));
}

pub async fn a_conversation_goes_on_after_a_crash_of_the_worker(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("child");
    let child = mark.clone();
    let own = OpenCodeStand::own(mode, Plan::noticing_crashes(), json!({}), move |question| {
        finishing_after_a_loss(question, start_child(&child))
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({})).await;
    eventually("its command runs", MODEL_PATIENCE, async || number_in(&mark)).await;
    own.stand.crash(async || nothing_runs(&job).await).await;
    check(&job, &["lease_lost", "completed"]).await;
    let last = own.model.questions().pop().unwrap();
    assert!(
        last.results() >= 2,
        "the model was not told of what it had done: {:?}",
        last.messages
    );
}

pub async fn a_conversation_goes_on_after_a_crash_of_both(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("server");
    let server = mark.clone();
    let own = OpenCodeStand::own(mode, Plan::noticing_crashes(), json!({}), move |question| {
        finishing_after_a_loss(question, name_server(&server))
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({})).await;
    let pid = eventually("its server runs", MODEL_PATIENCE, async || number_in(&mark)).await;
    kill_server(pid);
    // The worker dies while it replaces the server, or has just done so.
    own.stand.crash(async || nothing_runs(&job).await).await;
    check(&job, &["lease_lost", "completed"]).await;
}

/// Neither the server nor what it started outlives the worker.
async fn nothing_runs(job: &Job) {
    let mark = format!("ORCHESTRATOR_JOB_ID={}", job.id);
    eventually("nothing of the session is alive", MODEL_PATIENCE, async || {
        processes_with(&mark).is_empty().then_some(())
    })
    .await;
}

/// A worker that leaves in order hands the conversation over, also to another machine.
pub async fn a_leaving_worker_hands_its_conversation_to_another_machine(mode: Mode) {
    let (own, job, _kept) = on_the_first_machine(mode, Plan::noticing_crashes()).await;
    own.stand.move_to_another_machine(Signal::SIGTERM).await;
    check(&job, &["handed_back", "completed"]).await;
    let last = own.model.questions().pop().unwrap();
    assert!(
        last.results() >= 2,
        "the model was not told of what it had done: {:?}",
        last.messages
    );
}

/// What only a killed machine knew is lost; the session is not.
pub async fn a_crash_of_a_machine_costs_the_conversation_and_not_the_session(mode: Mode) {
    let (own, job, _kept) = on_the_first_machine(mode, Plan::noticing_crashes()).await;
    own.stand.move_to_another_machine(Signal::SIGKILL).await;
    job.reaches_within("completed", MODEL_PATIENCE).await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert!(job.diff().await.contains("+Hello, model!"));
    let log = job.log().await;
    assert!(
        log.contains("on this worker; it begins anew") && conversations(&log).len() == 2,
        "{log}"
    );
}

/// A session whose model is busy until something happens to its worker, and what it needs until its end.
async fn on_the_first_machine(
    mode: Mode,
    plan: Plan,
) -> (OpenCodeStand, Job, (tempfile::TempDir, Repo)) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("child");
    let child = mark.clone();
    let plan = Plan {
        drain_seconds: 1,
        ..plan
    };
    let own = OpenCodeStand::own(mode, plan, json!({}), move |question| {
        if child.exists() && question.results() == 0 {
            return write_hello("Anew.");
        }
        match question.last_result() {
            result if result.contains("Wrote file") => Reply::Say("Now it is there.".to_owned()),
            _ => finishing_after_a_loss(question, start_child(&child)),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({})).await;
    eventually("its command runs", MODEL_PATIENCE, async || number_in(&mark)).await;
    (own, job, (folder, repo))
}
