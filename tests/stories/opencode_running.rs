//! Sessions on a server of OpenCode that somebody else runs.

use serde_json::json;

use crate::harness::{
    KEY, MODEL_PATIENCE, Mode, OpenCodeStand, Plan, Question, Reply, SERVER_PASSWORD, eventually,
    is_alive, number_in,
};
use crate::opencode::{ask, shell, write_hello};

pub async fn a_running_server_is_used_and_outlives_its_sessions(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("child");
    let child = mark.clone();
    let script = move |question: &Question| match question.results() {
        1 if question.user_said("take your time") => {
            let line = format!("echo $$ > {}; sleep 1000", child.display());
            shell("It will take a while.", &line)
        }
        0 => write_hello("I write it."),
        _ if question.last_result().contains("Wrote file") => Reply::Say("Written.".to_owned()),
        _ => write_hello("Once more."),
    };
    let own = OpenCodeStand::with_a_server(mode, Plan::noticing_crashes(), script).await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();

    let done = ask(&tenant, repo.path(), json!({}))
        .await
        .reaches_within("completed", MODEL_PATIENCE)
        .await;
    assert_eq!(done["result"]["diff"]["files"], json!(["HELLO.txt"]));
    assert_eq!(done["result"]["summary"], "Written.");

    // The server goes on with what a dead worker asked of it, until the next run ends that.
    let slow = json!({"prompt": "Write a greeting, and take your time."});
    let job = ask(&tenant, repo.path(), slow).await;
    let pid = eventually("its command runs", MODEL_PATIENCE, async || {
        number_in(&mark)
    })
    .await;
    own.stand.crash(async || {}).await;
    let done = job.reaches_within("completed", MODEL_PATIENCE).await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert_eq!(done["result"]["diff"]["files"], json!(["HELLO.txt"]));
    eventually("its command is over", MODEL_PATIENCE, async || {
        (!is_alive(pid)).then_some(())
    })
    .await;
    let log = job.log().await;
    assert!(log.contains("goes on with session"), "{log}");

    own.server_answers().await;
    for text in own
        .stand
        .logs()
        .into_iter()
        .map(|(_, text)| text)
        .chain([log, done.to_string()])
    {
        for secret in [KEY, SERVER_PASSWORD] {
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
}
