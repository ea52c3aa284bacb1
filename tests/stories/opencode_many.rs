//! Many sessions at once, each with an OpenCode of its own: nothing of them is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Job, Mode, OpenCodeStand, MODEL_PATIENCE, Plan, Quota, Reply, eventually, processes_with,
};
use crate::opencode::{ask, small, write_hello};

/// A server costs some 300 MB and seconds of a processor: this many beside all other stories; `scripts/test` has sixteen by
/// themselves, by `ORCHESTRATOR_STORY_SESSIONS`.
const SESSIONS: u32 = 4;
/// For each session to get its turn of the processor.
const PATIENCE_EACH: Duration = Duration::from_secs(15);

pub async fn sessions_at_once_leave_nothing_behind(mode: Mode) {
    let count = asked_for();
    let patience = MODEL_PATIENCE + PATIENCE_EACH * count;
    let folder = tempfile::tempdir().unwrap();
    let (gate, marks) = (folder.path().join("open"), folder.path().join("marks"));
    std::fs::create_dir(&marks).unwrap();
    let wait = format!(
        "echo > {}/$ORCHESTRATOR_JOB_ID; until [ -e {} ]; do sleep 0.2; done",
        marks.display(),
        gate.display()
    );
    let plan = Plan {
        concurrency: count,
        ..small()
    };
    let own = OpenCodeStand::own(mode, plan, json!({}), move |question| {
        match question.results() {
            0 => write_hello("First this."),
            1 => {
                let input = json!({"command": wait, "description": "waits", "timeout": 600_000});
                Reply::Tool("", "bash", input)
            }
            _ => Reply::Say("Done.".to_owned()),
        }
    })
    .await;
    let quota = Quota {
        sessions: count,
        ..Quota::default()
    };
    let tenant = own.stand.tenant_with(quota).await;
    let repo = own.stand.repo();
    let mut jobs = Vec::new();
    for _ in 0..count {
        let limit = json!({"max_duration_seconds": 900});
        jobs.push(ask(&tenant, repo.path(), limit).await);
    }
    eventually("all of them work", patience, async || {
        (entries(&marks).len() == jobs.len()).then_some(())
    })
    .await;
    let pids: BTreeSet<i32> = jobs.iter().flat_map(processes_of).collect();
    let ports: BTreeSet<u16> = pids.iter().filter_map(|pid| port_of(*pid)).collect();
    assert_eq!(ports.len(), jobs.len(), "each has a port of its own");

    std::fs::write(&gate, "").unwrap();
    for job in &jobs {
        let done = job.reaches_within("completed", patience).await;
        assert_eq!(done["result"]["diff"]["files"], json!(["HELLO.txt"]));
        assert_eq!(job.outcomes().await, ["completed"]);
    }
    for job in &jobs {
        let left = processes_of(job);
        assert!(left.is_empty(), "processes are left: {left:?}");
    }
    for port in ports {
        eventually(&format!("port {port} is free"), MODEL_PATIENCE, async || {
            let taken = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            taken.is_err().then_some(())
        })
        .await;
    }
    let work = own.stand.data_dir().join("work");
    for part in ["runs", "opencode"] {
        let left = entries(&work.join(part));
        assert!(left.is_empty(), "folders are left: {left:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the stories says how much the machine can do"
)]
fn asked_for() -> u32 {
    let asked = std::env::var("ORCHESTRATOR_STORY_SESSIONS").ok();
    asked.map_or(SESSIONS, |text| text.parse().unwrap())
}

/// A process of a run knows its job.
fn processes_of(job: &Job) -> Vec<i32> {
    processes_with(&format!("ORCHESTRATOR_JOB_ID={}", job.id))
}

/// That on which a server was told to listen.
fn port_of(pid: i32) -> Option<u16> {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&str> = command.split('\0').collect();
    // The guard has the server's command behind its own.
    if !words.first()?.ends_with("opencode") {
        return None;
    }
    let place = words.iter().position(|word| *word == "--port")?;
    words.get(place + 1)?.parse().ok()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
