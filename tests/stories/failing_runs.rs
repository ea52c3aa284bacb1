//! Runs that cannot succeed say why, and take nothing down with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Mode, Plan, Repo, Stand, Tenant};

/// The error of a session that must fail for good at its first run.
async fn failure(tenant: &Tenant, agent: Value, extra: Value) -> (String, String) {
    let job = tenant.session(agent, extra).await;
    let failed = job.reaches("failed").await;
    assert_eq!(job.outcomes().await, ["failed"], "trying again would not help");
    let error = &failed["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

/// The worker is still there, and works.
async fn works(tenant: &Tenant, repo: &Repo) {
    let extra = json!({"repository": {"path": repo.path()}});
    let job = tenant.command_with("cat README", extra).await;
    job.reaches("completed").await;
}

pub async fn a_repository_that_cannot_be_had_fails_the_session(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let no_repo = stand.scratch();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = Repo::new(elsewhere.path());
    let link = stand.work().join(format!("link-{}", tenant.slug));
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let missing = stand.work().join("missing");
    let cases: [(&Path, &str, &[&str]); 5] = [
        (&missing, "HEAD", &["missing"]),
        (&no_repo, "HEAD", &["git"]),
        (repo.path(), "no-such-branch", &["no-such-branch"]),
        // Real repositories, but none that this installation was told to use.
        (outside.path(), "HEAD", &["ORCHESTRATOR_ROOTS"]),
        (&link, "HEAD", &["ORCHESTRATOR_ROOTS"]),
    ];
    for (path, reference, words) in cases {
        let extra = json!({"repository": {"path": path, "ref": reference}});
        let agent = json!({"kind": "command", "run": "cat README"});
        let (code, message) = failure(&tenant, agent, extra).await;
        assert!(!code.is_empty());
        let place = path.display().to_string();
        assert!(message.contains(&place), "{place} is not named in {code}: {message}");
        for word in words {
            assert!(message.contains(word), "no `{word}` in {code}: {message}");
        }
    }
    works(&tenant, &repo).await;
}

pub async fn a_command_that_fails_fails_the_session_with_its_words(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let argv = json!({"kind": "command", "argv": ["no-such-program", "--help"]});
    let (code, message) = failure(&tenant, argv, json!({})).await;
    assert_eq!(code, "COMMAND_NOT_FOUND", "{message}");
    assert!(message.contains("no-such-program"), "{message}");

    let job = tenant.command("echo 'that went wrong' >&2; exit 3").await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "COMMAND_FAILED");
    assert_eq!(failed["error"]["exit_code"], 3);
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("that went wrong"), "{message}");
    assert_eq!(job.outcomes().await, ["failed"]);

    let (code, _) = failure(&tenant, json!({"kind": "command", "run": "kill -9 $$"}), json!({})).await;
    assert_eq!(code, "COMMAND_KILLED");
    works(&tenant, &stand.repo()).await;
}

pub async fn exit_75_asks_for_another_attempt(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let twice = r#"[ "$ORCHESTRATOR_ATTEMPT" -ge 3 ] || exit 75; echo third"#;
    let job = tenant.command(twice).await;
    let finished = job.reaches("completed").await;
    assert_eq!(finished["attempt"], 3);
    assert_eq!(finished["failures"], 2);
    assert_eq!(job.outcomes().await, ["failed", "failed", "completed"]);
    let kinds = job.event_kinds().await;
    let expected = [
        "created",
        "queued",
        "started",
        "retry_scheduled",
        "started",
        "retry_scheduled",
        "started",
        "completed",
    ];
    assert_eq!(kinds, expected);

    let job = tenant.command_with("exit 75", json!({"max_attempts": 2})).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "COMMAND_TRY_AGAIN");
    assert_eq!(job.outcomes().await, ["failed", "failed"]);
}

pub async fn a_deadline_ends_a_session_that_does_not(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let extra = json!({"max_duration_seconds": 1, "repository": {"path": repo.path()}});
    // It does not even listen to SIGTERM.
    let line = "trap '' TERM; echo half > half.txt; while :; do sleep 0.1; done";
    let job = tenant.command_with(line, extra).await;
    let ended = job.reaches("timeout").await;
    assert_eq!(ended["error"]["code"], "DEADLINE_EXCEEDED");
    assert_eq!(job.outcomes().await, ["timeout"]);
    assert!(job.diff().await.contains("half.txt"), "what it did so far is kept");
    assert_eq!(job.event_kinds().await.last().unwrap(), "timed_out");
    works(&tenant, &repo).await;
}

pub async fn a_command_on_a_full_disk_fails_with_that_reason(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let agent = json!({"kind": "command", "run": "head --bytes=100000 /dev/zero > /dev/full"});
    let (code, message) = failure(&tenant, agent, json!({})).await;
    assert_eq!(code, "DISK_FULL", "{message}");
    works(&tenant, &stand.repo()).await;
}

/// A file system of one megabyte, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Takes root. A story that told nothing must not pass, so it fails for everybody else.
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&at)
            .output()
            .expect("mount can be started");
        assert!(
            mount.status.success(),
            "this story needs a small disk, and mounting one takes root: run the stories as root, or leave this one \
             out with `-- --skip a_full_disk_under_a_worker`; mount said: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the worker may still stand in it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The disk on which a worker makes its worktrees is full: the session that needs the room fails, the small one after
/// it does not. Takes root.
pub async fn a_full_disk_under_a_worker_fails_the_session_and_not_the_worker(mode: Mode) {
    let plan = Plan {
        workers: 0,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let disk = SmallDisk::mount(stand.scratch().join("disk"));
    stand.start_worker_in(&disk.0);
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let large = stand.repo();
    large.write("large.bin", &vec![7; 4 * 1024 * 1024]);
    large.commit("too large for that disk");

    let extra = json!({"repository": {"path": large.path()}});
    let agent = json!({"kind": "command", "run": "true"});
    let (code, message) = failure(&tenant, agent, extra).await;
    assert_eq!(code, "DISK_FULL", "{message}");
    let fills = "dd if=/dev/zero of=big bs=64k count=64";
    let (code, message) = failure(&tenant, json!({"kind": "command", "run": fills}), json!({})).await;
    assert_eq!(code, "DISK_FULL", "{message}");
    works(&tenant, &repo).await;
}
