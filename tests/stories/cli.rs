//! The command line, as a person at a terminal and a script use it.

use serde_json::{Value, json};

use crate::harness::{Cli, Mode, PATIENCE, Quota, Stand, Tenant, eventually};

/// A member's key, which knows its tenant by itself.
async fn member_key(tenant: &Tenant) -> String {
    let body = json!({"name": "cli", "role": "member"});
    let key = tenant.api.post("/api/v1/keys", &body).await.expect(201).json();
    key["key"].as_str().unwrap().to_owned()
}

fn json_of(cli: &Cli) -> Value {
    serde_json::from_str(&cli.stdout).unwrap_or_else(|error| panic!("{error}: {}", cli.stdout))
}

pub async fn a_session_is_run_listed_and_read(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let key = &member_key(&tenant).await;
    let repo = stand.repo();
    let path = repo.path().display().to_string();

    let run = ["session", "run", "--run", "echo from the session; echo x > new.txt", "--repo", &path];
    let done = Cli::run(&stand, key, &run).await.expect(0);
    assert_eq!(done.stdout, "from the session\n", "data, and nothing else, on stdout: {}", done.stderr);
    assert!(done.stderr.contains("completed"), "{}", done.stderr);

    let list = Cli::run(&stand, key, &["session", "list", "-o", "json"]).await.expect(0);
    let listed = json_of(&list);
    let items = listed.as_array().or_else(|| listed["items"].as_array()).unwrap();
    assert_eq!(items.len(), 1);
    let id = items[0]["id"].as_str().unwrap();
    let table = Cli::run(&stand, key, &["session", "list"]).await.expect(0);
    assert!(table.stdout.contains(id) && table.stdout.contains("completed"), "{}", table.stdout);

    let logs = Cli::run(&stand, key, &["session", "logs", id]).await.expect(0);
    assert_eq!(logs.stdout, "from the session\n");
    let diff = Cli::run(&stand, key, &["session", "diff", id]).await.expect(0);
    assert!(diff.stdout.contains("+++ b/new.txt"), "{}", diff.stdout);
    let got = Cli::run(&stand, key, &["session", "get", id, "-o", "json"]).await.expect(0);
    assert_eq!(json_of(&got)["status"], "completed");
    Cli::run(&stand, key, &["session", "watch", id]).await.expect(0);

    let queues = Cli::run(&stand, key, &["queue", "list", "-o", "json"]).await.expect(0);
    assert!(queues.stdout.contains(&tenant.slug), "{}", queues.stdout);
    let queues = Cli::run(&stand, key, &["queue", "list"]).await.expect(0);
    assert!(queues.stdout.contains("session"), "{}", queues.stdout);
}

pub async fn exit_codes_say_how_it_ended(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let key = &member_key(&tenant).await;
    let run = async |more: &[&str]| {
        let arguments: Vec<&str> = ["session", "run"].iter().chain(more).copied().collect();
        Cli::run(&stand, key, &arguments).await
    };
    run(&["--", "sh", "-c", "exit 0"]).await.expect(0);
    run(&["--run", "exit 4"]).await.expect(1);
    run(&["--run", "while :; do sleep 0.1; done", "--max-duration", "1"]).await.expect(6);
    // It waits for whoever follows it, so the following ends.
    let line = r#"echo '{"progress": {"data": {"input_tokens": 90.0}}}' > "$ORCHESTRATOR_PROGRESS"; sleep 100"#;
    let paused = run(&["--run", line, "--budget-tokens", "50"]).await.expect(1);
    assert!(paused.stderr.contains("90 of 50 tokens; resume it"), "{}", paused.stderr);
    // Usage: unknown flags, and what the server finds wrong.
    run(&["--no-such-flag"]).await.expect(2);
    let wrong = run(&["--run", "true", "--max-attempts", "0"]).await.expect(2);
    assert!(wrong.stderr.contains("/max_attempts"), "{}", wrong.stderr);
    // Who asks?
    let list = &["session", "list"];
    Cli::run(&stand, "orc_nonsense", list).await.expect(3);
    Cli::run(&stand, key, &["tenant", "create", "not-mine"]).await.expect(3);
    // Nothing there.
    let unknown = "01900000-0000-7000-8000-000000000000";
    Cli::run(&stand, key, &["session", "get", unknown]).await.expect(4);
    // No room.
    let quota = Quota {
        waiting: 1,
        ..Quota::default()
    };
    let small = stand.tenant_with(quota).await;
    small.session(json!({"kind": "echo"}), json!({"start": false})).await;
    let key = &member_key(&small).await;
    Cli::run(&stand, key, &["session", "run", "--title", "one more", "--detach"]).await.expect(5);
}

pub async fn sessions_are_steered_from_the_command_line(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let key = &member_key(&tenant).await;
    let line = "while :; do sleep 0.1; done";
    let detached = Cli::run(&stand, key, &["session", "run", "--run", line, "--detach"]).await.expect(0);
    let id = detached.stdout.trim();
    let job = tenant.job(id);
    job.reaches("running").await;
    let timed_out = Cli::run(&stand, key, &["session", "watch", id, "--timeout", "1"]).await;
    timed_out.expect(6);
    Cli::run(&stand, key, &["session", "stop", id]).await.expect(0);
    job.reaches("stopped").await;
    Cli::run(&stand, key, &["session", "watch", id]).await.expect(1);
    let again = Cli::run(&stand, key, &["session", "stop", id]).await.expect(1);
    assert!(again.stderr.contains("INVALID_TRANSITION") || again.stderr.contains("stopped"), "{}", again.stderr);
    Cli::run(&stand, key, &["session", "retry", id]).await.expect(0);
    job.reaches_again("running").await;
    Cli::run(&stand, key, &["session", "stop", id]).await.expect(0);
    job.reaches_again("stopped").await;
}

pub async fn a_session_is_paused_and_goes_back_to_a_checkpoint(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let key = &member_key(&tenant).await;
    let line = r#"[ -z "$ORCHESTRATOR_CHECKPOINT" ] || { cat "$ORCHESTRATOR_CHECKPOINT"; exit 0; }
        for n in 1 2 3; do printf '{"checkpoint": {"step": %d}}\n' $n > "$ORCHESTRATOR_PROGRESS"; done
        while :; do sleep 0.1; done"#;
    let detached = Cli::run(&stand, key, &["session", "run", "--run", line, "--detach"]).await.expect(0);
    let id = detached.stdout.trim();
    let job = tenant.job(id);
    eventually("it has kept three checkpoints", PATIENCE, async || {
        let list = job.part("checkpoints").await.expect(200).json();
        (list["items"].as_array()?.len() == 3).then_some(())
    })
    .await;
    let running = Cli::run(&stand, key, &["session", "restore", id, "1"]).await.expect(1);
    assert!(running.stderr.contains("pause or stop it first"), "{}", running.stderr);
    Cli::run(&stand, key, &["session", "pause", id]).await.expect(0);
    job.reaches("paused").await;
    Cli::run(&stand, key, &["session", "restore", id, "9"]).await.expect(4);
    let restored = Cli::run(&stand, key, &["session", "restore", id, "1"]).await.expect(0);
    assert!(restored.stdout.starts_with("checkpoint 4 is 1 again"), "{}", restored.stdout);
    let list = Cli::run(&stand, key, &["session", "checkpoints", id]).await.expect(0);
    assert_eq!(list.stdout.lines().count(), 5, "a head and four: {}", list.stdout);
    Cli::run(&stand, key, &["session", "resume", id]).await.expect(0);
    job.reaches("completed").await;
    assert!(job.log().await.contains("{\"step\":1}"));
    // Nobody else's business.
    let other = stand.tenant().await;
    let stranger = other.job(id).part("checkpoints").await;
    stranger.expect_problem(404, "SESSION_NOT_FOUND");
}

pub async fn an_operator_makes_tenants_and_keys(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let admin = stand.admin_key();
    let slug = format!("cli-{:x}", fastrand::u32(..));
    let create = ["tenant", "create", &slug, "--sessions", "3", "--weight", "2", "-o", "json"];
    let created = Cli::run(&stand, &admin, &create).await.expect(0);
    assert_eq!(json_of(&created)["quotas"]["session"], 3);
    Cli::run(&stand, &admin, &["tenant", "create", &slug]).await.expect(1);
    Cli::run(&stand, &admin, &["tenant", "set-quota", &slug, "--sessions", "5"]).await.expect(0);
    let list = Cli::run(&stand, &admin, &["tenant", "list"]).await.expect(0);
    assert!(list.stdout.contains(&slug), "{}", list.stdout);
    let path = format!("/api/v1/tenants/{slug}");
    assert_eq!(stand.admin().get(&path).await.expect(200).json()["quotas"]["session"], 5);

    // Over the API, with a key that may.
    let over_api = ["key", "create", "--tenant", &slug, "--role", "viewer"];
    let key = Cli::run(&stand, &admin, &over_api).await.expect(0);
    works_alone(&stand, &key.stdout).await;
    // Straight on the store, with no server asked and no key needed.
    let data_dir = stand.data_dir().display().to_string();
    let on_store = async |tenant: &str| {
        let mut arguments = vec!["key", "create", "--tenant", tenant, "--role", "viewer"];
        if mode == Mode::Embedded {
            arguments.extend(["--data-dir", &data_dir]);
        }
        Cli::operator(&stand, &arguments).await
    };
    let key = on_store(&slug).await.expect(0);
    works_alone(&stand, &key.stdout).await;
    on_store("no-such-tenant").await.expect(4);
}

/// A key, alone on standard output, that opens the door.
async fn works_alone(stand: &Stand, stdout: &str) {
    let key = stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("orc_") && !key.contains(char::is_whitespace), "{stdout}");
    let api = stand.admin().with_key(Some(key));
    api.get("/api/v1/sessions").await.expect(200);
}

/// The first key of an installation is made before any server runs. With services, every installation of these stories
/// begins like that.
pub async fn the_first_key_needs_no_server(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let folder = stand.scratch().join("new");
    let folder = folder.display().to_string();
    let create = ["key", "create", "--data-dir", &folder, "--role", "admin"];
    let first = Cli::bare(&stand, &create).await.expect(0);
    assert!(first.stdout.starts_with("orc_"), "{}", first.stdout);
    assert!(first.stderr.contains("acts for EVERY tenant"), "{}", first.stderr);
    assert_eq!(first.stdout.lines().count(), 1, "{}", first.stdout);
}

/// The first thing that anybody runs. It brings its own installation.
pub async fn the_demo_shows_what_it_promises(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let repo = stand.repo();
    repo.write("lib.rs", b"pub fn one()   {}\npub fn two() {}\n");
    repo.commit("something to count");
    let before = repo.fingerprint();
    let path = repo.path().display().to_string();
    let shown = Cli::bare(&stand, &["demo", "--repo", &path]).await.expect(0);
    for outcome in ["completed", "failed", "timeout", "stopped"] {
        assert!(shown.stdout.contains(outcome), "no {outcome} in {}", shown.stdout);
    }
    assert_eq!(repo.fingerprint(), before, "the repository is untouched");
}

pub async fn doctor_tells_what_is_configured_and_no_secret(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let data_dir = stand.data_dir().display().to_string();
    let found = Cli::operator(&stand, &["doctor", "--data-dir", &data_dir]).await.expect(0);
    assert!(found.stdout.contains("lease_seconds"), "{}", found.stdout);
    for password in stand.passwords() {
        let shown = [&found.stdout, &found.stderr];
        assert!(!shown.iter().any(|text| text.contains(&password)), "{}", found.stdout);
    }
}
