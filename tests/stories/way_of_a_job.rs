//! The main job: a command works on a real repository, is watched live, and leaves its log and its diff.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Event, Job, Mode, PATIENCE, Repo, Stand, git, instant};

/// Touches everything that a diff can hold, and leaves a file that is asked for.
const WORK: &str = r"
set -e
echo 'counting'
echo 'A line more.' >> README
printf 'one\ntwo\n' > 'new file.txt'
mkdir -p deep/er && echo deep > deep/er/file
rm old.txt
printf '\000\001\377\376' > blob.bin
chmod +x README
ls | wc -l > REPORT.txt
echo 'a warning' >&2
echo 'done counting'
";

pub async fn a_session_is_followed_from_its_creation_to_its_diff(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let before = repo.fingerprint();

    let extra = json!({
        "title": "count things",
        "priority": "high",
        "tags": ["story"],
        "repository": {"path": repo.path(), "ref": "HEAD"},
        "keep": ["REPORT.txt"],
    });
    let (job, answer) = tenant.offer(json!({"kind": "command", "run": WORK}), extra).await;
    let location = format!("/api/v1/sessions/{}", job.id);
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let created = answer.json();
    assert_eq!(created["status"], "queued");
    assert_eq!(created["tenant_id"], tenant.id.as_str());
    assert_eq!(created["title"], "count things");
    assert_eq!(created["priority"], "high");
    assert_eq!(created["attempt"], 0);

    let events = job.stream(None).await.rest(PATIENCE).await;
    check_events(&job, &events).await;

    let finished = job.reaches("completed").await;
    check_result(&finished);
    check_log(&job).await;
    check_runs(&job).await;
    check_artifacts(&job).await;
    check_diff(&job, &repo).await;
    assert_eq!(repo.fingerprint(), before, "the user's repository is untouched");
    assert_eq!(tenant.queue().await["running"], 0);
}

async fn check_events(job: &Job, events: &[Event]) {
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["created", "queued", "started", "completed"]);
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    for event in events {
        assert_eq!(event.data["seq"], event.id);
        assert_eq!(event.data["kind"], event.kind.as_str());
        assert_eq!(event.data["job_id"], job.id.as_str());
    }
    let times: Vec<_> = events.iter().map(|event| instant(&event.data["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");

    // Whoever comes back in the middle gets the rest, and who has seen everything is told not to come again.
    let rest = job.stream(Some(2)).await.rest(PATIENCE).await;
    let ids: Vec<i64> = rest.iter().map(|event| event.id).collect();
    assert_eq!(ids, [3, 4]);
    let over = job.part("events?after=4").await;
    assert_eq!(over.status, 204, "{}", over.text());
}

fn check_result(job: &Value) {
    let result = &job["result"];
    assert_eq!(result["exit_code"], 0, "{job:#}");
    let files = result["diff"]["files"].as_array().expect("a list of files");
    for name in ["README", "new file.txt", "deep/er/file", "old.txt", "blob.bin", "REPORT.txt"] {
        assert!(files.contains(&json!(name)), "{name} is not in {files:?}");
    }
    assert_eq!(files.len(), 6, "{files:?}");
    assert!(job["error"].is_null(), "{job:#}");
    assert_eq!(job["attempt"], 1);
    assert_eq!(job["failures"], 0);
    let times = ["created_at", "started_at", "finished_at"].map(|name| instant(&job[name]));
    assert!(times.is_sorted(), "{job:#}");
}

async fn check_log(job: &Job) {
    let log = job.log().await;
    for line in ["counting", "a warning", "done counting"] {
        assert!(log.lines().any(|other| other == line), "no `{line}` in: {log}");
    }
    let tail = job.part("logs?tail=1").await.expect(200).text();
    assert_eq!(tail.lines().count(), 1, "{tail}");
}

async fn check_runs(job: &Job) {
    let attempts = job.attempts().await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0]["number"], 1);
    assert_eq!(attempts[0]["outcome"], "completed");
    assert!(attempts[0]["worker_id"].is_string());
    assert!(instant(&attempts[0]["started_at"]) <= instant(&attempts[0]["finished_at"]));
}

async fn check_artifacts(job: &Job) {
    let artifacts = job.artifacts().await;
    let named = |name: &str| artifacts.iter().find(|artifact| artifact["name"] == name);
    let report = named("REPORT.txt").unwrap_or_else(|| panic!("no report in {artifacts:?}"));
    assert!(named("session.diff").is_some(), "{artifacts:?}");
    let bytes = job.artifact(report["id"].as_str().unwrap()).await;
    assert_eq!(report["bytes"], bytes.bytes().len());
    assert_eq!(hex::encode(Sha256::digest(bytes.bytes())), report["sha256"]);
}

/// The patch turns a clone into what the session had before it.
async fn check_diff(job: &Job, repo: &Repo) {
    let diff = job.part("diff").await.expect(200);
    let content_type = diff.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/x-diff"), "{content_type}");
    let clone = repo.cloned();
    let patch = clone.with_extension("patch");
    std::fs::write(&patch, diff.bytes()).unwrap();
    git(&clone, &["apply", &patch.display().to_string()]);
    let read = |name: &str| std::fs::read(clone.join(name)).unwrap();
    assert!(read("README").ends_with(b"A line more.\n"));
    assert_eq!(read("new file.txt"), b"one\ntwo\n");
    assert_eq!(read("deep/er/file"), b"deep\n");
    assert_eq!(read("blob.bin"), [0, 1, 0xff, 0xfe]);
    assert!(!clone.join("old.txt").exists());
    assert!(is_executable(&clone.join("README")));
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0
}

/// Events and logs come while the run goes on, not after it; a dropped stream goes on where it broke off.
pub async fn events_and_log_are_live(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let gate = stand.scratch().join("gate");
    let line = format!(
        "echo first; while [ ! -e {} ]; do sleep 0.05; done; echo second",
        gate.display()
    );
    let job = tenant.command(&line).await;

    let mut stream = job.stream(None).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &Event| event.kind != "started") {
        seen.push(stream.next(PATIENCE).await.expect("the job has not ended"));
    }
    drop(stream);
    let mut log = job.follow_log().await;
    log.until("first\n").await;
    assert_eq!(job.get().await["status"], "running", "the log came while it ran");
    let mut stream = job.stream(seen.last().map(|event| event.id)).await;
    std::fs::write(&gate, "").unwrap();
    seen.extend(stream.rest(PATIENCE).await);

    let ids: Vec<i64> = seen.iter().map(|event| event.id).collect();
    assert_eq!(ids, [1, 2, 3, 4], "no event is missing, none came twice: {seen:?}");
    assert_eq!(seen.last().unwrap().kind, "completed");
    assert_eq!(log.rest().await, "first\nsecond\n");
}

/// What a run said about itself is seen, and what it put aside is there for the next one.
pub async fn progress_is_shown_and_a_checkpoint_reaches_the_next_run(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let line = r#"
if [ -n "$ORCHESTRATOR_CHECKPOINT" ]; then
  echo "went on from $(cat "$ORCHESTRATOR_CHECKPOINT")"
  exit 0
fi
echo '{"progress": {"fraction": 0.25, "message": "a quarter"}}' > "$ORCHESTRATOR_PROGRESS"
echo '{"checkpoint": {"step": 7}}' > "$ORCHESTRATOR_PROGRESS"
exit 75
"#;
    let job = tenant.command(line).await;
    let finished = job.reaches("completed").await;
    assert_eq!(finished["attempt"], 2);
    let log = job.log().await;
    assert!(log.contains(r#"went on from {"step":7}"#), "{log}");

    let events = job.events().await;
    let data = |kind: &str| {
        let event = events.iter().find(|event| event.kind == kind);
        event.unwrap_or_else(|| panic!("no {kind} in {events:?}")).data["data"].clone()
    };
    let progress = data("progress");
    assert!(progress.to_string().contains("a quarter"), "{progress}");
    assert!(events.iter().any(|event| event.kind == "checkpoint"));
    assert_eq!(job.outcomes().await, ["failed", "completed"]);
}

/// A session that is not to start waits, holding no slot, until it is started.
pub async fn a_pending_session_waits_for_its_start(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let job = tenant.session(json!({"kind": "echo"}), json!({"start": false})).await;
    // Another one comes and goes meanwhile.
    tenant.echo().await.reaches("completed").await;
    assert_eq!(job.get().await["status"], "pending");
    job.act("start").await.expect(200);
    job.reaches("completed").await;
    assert_eq!(job.event_kinds().await, ["created", "queued", "started", "completed"]);
}

/// A session that is not due yet is not run before its time.
pub async fn a_session_is_not_run_before_its_time(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let first = tenant.echo().await.finished().await;
    let due = instant(&first["created_at"]) + chrono::TimeDelta::seconds(4);
    let extra = json!({"run_after": due.to_rfc3339()});
    let job = tenant.session(json!({"kind": "echo"}), extra).await;
    let finished = job.reaches("completed").await;
    assert!(instant(&finished["started_at"]) >= due, "{finished:#}");
}

/// What an installation shows of itself.
pub async fn an_installation_describes_itself(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let admin = stand.admin();
    let nobody = admin.with_key(None);
    nobody.get("/health/live").await.expect(200);
    let ready = nobody.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "ready", "{ready}");
    let document = nobody.get("/api/v1/openapi.json").await.expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(document["paths"]["/api/v1/sessions"]["post"].is_object(), "{}", document["paths"]);
    let page = admin.get("/").await.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let workers = admin.get("/api/v1/workers").await.expect(200).json();
    assert!(!workers["items"].as_array().unwrap().is_empty());
}
