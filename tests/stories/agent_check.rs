//! What the author of an external agent is told by `orchestrator agent check`.

use serde_json::Value;

use crate::harness::{AGENT_TOKEN, Cli, Mode, SampleAgent, Stand};

async fn check(stand: &Stand, url: &str, more: &[&str]) -> Cli {
    let words = ["agent", "check", url, "--token-env", "AUTHORS_TOKEN"];
    let words: Vec<&str> = words.iter().chain(more).copied().collect();
    Cli::told(stand, &[("AUTHORS_TOKEN", AGENT_TOKEN)], &words).await
}

/// The names of the checks with this outcome.
fn with(cli: &Cli, outcome: &str) -> Vec<String> {
    let findings: Value = serde_json::from_str(&cli.stdout).unwrap();
    let findings = findings.as_array().unwrap();
    let those = findings.iter().filter(|it| it["outcome"] == outcome);
    those
        .map(|it| it["check"].as_str().unwrap().to_owned())
        .collect()
}

pub async fn the_sample_agent_keeps_the_protocol(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quick = SampleAgent::start(&[]).await;
    let found = check(&stand, &quick.url(), &["-o", "json"]).await.expect(0);
    assert_eq!(with(&found, "skipped"), ["202 and later", "cancellation"]);
    assert_eq!(with(&found, "passed").len(), 13, "{}", found.stdout);

    let later = SampleAgent::start(&["--later", "--slow", "1"]).await;
    let found = check(&stand, &later.url(), &["-o", "json"]).await.expect(0);
    assert_eq!(with(&found, "passed").len(), 15, "{}", found.stdout);

    let shown = check(&stand, &quick.url(), &[]).await.expect(0);
    assert!(shown.stdout.contains("same task again"), "{}", shown.stdout);
    assert!(
        shown.stderr.contains("keeps the protocol"),
        "{}",
        shown.stderr
    );
    assert!(!shown.stdout.contains(AGENT_TOKEN), "{}", shown.stdout);
}

pub async fn agents_that_misbehave_are_told_what_to_do(mode: Mode) {
    let stand = Stand::shared(mode).await;
    for (how, failing, advice) in [
        (
            "no-auth",
            &["wrong token", "missing token"][..],
            "answer 401",
        ),
        (
            "twice",
            &["same task again", "same task at once"],
            "know tasks by their `task_id`",
        ),
        ("strict", &["unknown fields"], "ignore them"),
        ("bad-json", &["bad JSON"], "answer 400"),
        ("undying", &["cancellation"], "stop the work at DELETE"),
    ] {
        // Only what takes a while can be cancelled.
        let flags: &[&str] = if how == "undying" {
            &["--later", "--slow", "1"]
        } else {
            &[]
        };
        let misbehave = ["--misbehave", how];
        let flags: Vec<&str> = misbehave.iter().chain(flags).copied().collect();
        let sample = SampleAgent::start(&flags).await;
        let found = check(&stand, &sample.url(), &["-o", "json"])
            .await
            .expect(1);
        assert_eq!(with(&found, "failed"), failing, "{how}: {}", found.stdout);
        assert!(found.stdout.contains(advice), "{how}: {}", found.stdout);
    }
    let escaping = SampleAgent::start(&["--misbehave", "escape"]).await;
    let found = check(&stand, &escaping.url(), &["-o", "json"])
        .await
        .expect(1);
    assert_eq!(with(&found, "failed"), ["task"], "{}", found.stdout);
    let confused = SampleAgent::start(&["--misbehave", "wrong-id"]).await;
    let found = check(&stand, &confused.url(), &["-o", "json"])
        .await
        .expect(1);
    assert!(
        with(&found, "failed").contains(&"task".to_owned()),
        "{}",
        found.stdout
    );
}

pub async fn an_agent_that_is_not_there_is_said_at_once(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let mut sample = SampleAgent::start(&[]).await;
    sample.kill();
    let found = check(&stand, &sample.url(), &["-o", "json"])
        .await
        .expect(1);
    assert_eq!(with(&found, "failed"), ["health"], "{}", found.stdout);
    assert_eq!(with(&found, "passed").len(), 0, "{}", found.stdout);
    let sample = SampleAgent::start(&[]).await;
    let url = sample.url();
    let words = format!("agent check {url} -o json --token-env OTHERS_TOKEN");
    let words: Vec<&str> = words.split(' ').collect();
    let found = Cli::told(&stand, &[("OTHERS_TOKEN", "another")], &words).await;
    let found = found.expect(1);
    assert_eq!(with(&found, "failed"), ["token"], "{}", found.stdout);
    assert_eq!(with(&found, "passed"), ["health"], "{}", found.stdout);
    assert!(found.stdout.contains("401"), "{}", found.stdout);
    assert_eq!(sample.count("POST"), 0, "it was given no work");
    check(&stand, "ftp://x/", &[]).await.expect(2);
    let words = ["agent", "check", "http://127.0.0.1:9"];
    let untold = Cli::told(&stand, &[], &words).await.expect(2);
    assert!(untold.stderr.contains("set EAP_TOKEN"), "{}", untold.stderr);
}
