//! What must not be seen is not seen: in logs, in errors, in the environment of a command.

use serde_json::json;

use crate::harness::{Mode, Stand};

pub async fn secrets_are_taken_out_of_logs_and_errors(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let new_key = json!({"name": "to be leaked", "role": "viewer"});
    let key = tenant.api.post("/api/v1/keys", &new_key).await.expect(201).json();
    let key = key["key"].as_str().unwrap().to_owned();
    // In pieces, as a program may flush its output at any byte.
    let (half, rest) = key.split_at(key.len() / 2);
    let line = format!(
        "echo the key is {key} indeed
         echo clone postgres://app:hunter2pass@db.example.org/app
         printf %s {half}; sleep 0.3; echo {rest}
         echo {key} >&2
         exit 1"
    );
    let job = tenant.command(&line).await;
    let failed = job.reaches("failed").await;
    let log = job.log().await;
    for secret in [key.as_str(), rest, "hunter2pass"] {
        assert!(!log.contains(secret), "the log shows {secret}: {log}");
        let error = failed["error"].to_string();
        assert!(!error.contains(secret), "the error shows {secret}: {error}");
    }
    assert!(log.contains("the key is [redacted] indeed"), "{log}");
    assert!(log.contains("postgres://app:[redacted]@db.example.org/app"), "{log}");
    for (path, text) in stand.logs() {
        assert!(!text.contains(&key), "{} shows a key", path.display());
    }
}

/// A command gets an environment of its own: nothing of what the worker was told.
pub async fn a_command_sees_nothing_of_the_workers_environment(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let job = tenant.command("env; echo home is $HOME; pwd").await;
    job.reaches("completed").await;
    let log = job.log().await;
    let names: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH"), "{names:?}");
    for name in names {
        assert!(!name.ends_with("_URL") && !name.ends_with("_KEY"), "{name} is handed on: {log}");
        let ours = name.starts_with("ORCHESTRATOR_");
        let told = ["JOB_ID", "ATTEMPT", "PROGRESS", "PROMPT", "PROMPT_FILE", "CHECKPOINT", "WORKER"];
        let known = told.iter().any(|known| name == format!("ORCHESTRATOR_{known}"));
        assert!(!ours || known, "{name} is handed on: {log}");
    }
}
