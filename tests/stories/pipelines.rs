//! Sessions that wait for others: in order where all goes well, and not at all where it does not.

use serde_json::{Value, json};

use crate::harness::{Cli, Job, Mode, Stand, Tenant, instant, lines_of};

/// A session by name, after others by name, that runs a line.
fn link(name: &str, after: &[&str], line: &str) -> Value {
    Tenant::line(line, json!({"name": name, "depends_on": after}))
}

pub async fn a_pipeline_runs_in_order(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let marks = stand.scratch().join("marks");
    let line = |name: &str| format!("echo begin {name} >> {0}; echo end {name} >> {0}", marks.display());
    // Named last to first, so that it is not the order of the request that is kept.
    let jobs = tenant
        .bulk(&[
            link("c", &["b"], &line("c")),
            link("b", &["a"], &line("b")),
            link("a", &[], &line("a")),
        ])
        .await;
    let mut ended = Vec::new();
    for job in jobs.iter().rev() {
        ended.push(job.reaches("completed").await);
    }
    assert_eq!(lines_of(&marks), ["begin a", "end a", "begin b", "end b", "begin c", "end c"]);
    for (before, after) in ended.iter().zip(&ended[1..]) {
        assert!(instant(&before["finished_at"]) <= instant(&after["started_at"]), "{before:#}\n{after:#}");
        assert_eq!(after["depends_on"], json!([before["id"]]));
    }
    let kinds = jobs[0].event_kinds().await;
    assert_eq!(kinds, ["created", "queued", "started", "completed"]);
}

async fn ended_as(job: &Job, status: &str) -> Value {
    let ended = job.finished().await;
    assert_eq!(ended["status"], status, "{ended:#}");
    assert_eq!(ended["attempt"], 0, "it never ran: {ended:#}");
    ended
}

/// Down the chain, by what each one asked for; what does not hang on it goes on.
pub async fn a_failed_prerequisite_ends_those_after_it(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let ran = stand.scratch().join("ran");
    let mark = format!("echo ran >> {}", ran.display());
    let mut skips = link("skips", &["fails"], &mark);
    skips["if_prerequisite_fails"] = json!("skip");
    let jobs = tenant
        .bulk(&[
            link("first", &[], "exit 3"),
            link("fails", &["first"], &mark),
            skips,
            link("last", &["skips", "other"], &mark),
            link("other", &[], "true"),
        ])
        .await;
    let [first, fails, skips, last, other] = jobs.as_slice() else {
        panic!("{} jobs", jobs.len())
    };
    assert_eq!(first.finished().await["status"], "failed");
    let failed = ended_as(fails, "failed").await;
    assert_eq!(failed["error"]["code"], "PREREQUISITE_FAILED");
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains(&first.id) && message.contains("failed"), "{message}");

    ended_as(skips, "cancelled").await;
    let events = skips.events().await;
    let said = events.last().unwrap().data["data"]["reason"].as_str().unwrap_or_default();
    assert!(said.contains(&fails.id), "it says why: {events:?}");

    let failed = ended_as(last, "failed").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains(&skips.id) && message.contains("cancelled"), "{message}");
    other.reaches("completed").await;
    assert_eq!(lines_of(&ran), [""; 0], "none of them ran");
}

pub async fn a_session_waits_for_another_from_the_command_line(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let admin = &stand.admin_key();
    let run = async |words: &[&str]| {
        let words = [words, &["--as-tenant", tenant.slug.as_str()]].concat();
        Cli::run(&stand, admin, &words).await
    };
    let gate = stand.scratch().join("gate");
    let line = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let first = run(&["session", "run", "--run", &line, "--detach"]).await.expect(0);
    let first = first.stdout.trim();
    let second = ["session", "run", "--run", "echo second", "--after", first, "--detach"];
    let second = run(&second).await.expect(0);
    let second = second.stdout.trim();
    tenant.job(first).reaches("running").await;
    let why = run(&["session", "why", second]).await.expect(0);
    assert!(why.stdout.contains(first) && why.stdout.contains("running"), "{}", why.stdout);
    let shown = run(&["session", "get", second]).await.expect(0);
    assert!(shown.stdout.contains("pending") && shown.stdout.contains(first), "{}", shown.stdout);
    std::fs::write(&gate, "").unwrap();
    let watched = run(&["session", "watch", second]).await.expect(0);
    assert!(watched.stdout.contains("completed") || watched.stderr.contains("completed"));
    let why = run(&["session", "why", second]).await.expect(0);
    assert!(why.stdout.contains("does not wait"), "{}", why.stdout);
    let nobody = "0198c5a2-7e1b-7cc0-8000-0123456789ab";
    let refused = run(&["session", "run", "--run", "true", "--after", nobody]).await.expect(2);
    assert!(refused.stderr.contains(nobody), "{}", refused.stderr);
}
