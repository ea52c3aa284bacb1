//! A command decides whether the agent's work is good, and the agent may mend it.

use serde_json::{Value, json};

use crate::harness::{
    Mode, OpenCodeStand, PATIENCE, Plan, Reply, Stand, eventually, is_alive, number_in,
};

/// Breaks at first; does what it is told to when it is told.
const MENDER: &str = r#"
    if [ -n "$ORCHESTRATOR_FEEDBACK" ]; then
        echo fixed > state
        cp "$ORCHESTRATOR_FEEDBACK_FILE" told
    else
        echo broken > state
        printf '{"checkpoint": {"round": 1}}\n' > "$ORCHESTRATOR_PROGRESS"
    fi
    cat "${ORCHESTRATOR_CHECKPOINT:-/dev/null}""#;

const CHECK: &str = r#"grep -q fixed state || { echo "state is $(cat state)"; exit 3; }"#;

pub async fn a_failed_check_is_told_to_the_agent_who_mends_it(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let extra = json!({
        "repository": {"path": repo.path()},
        "verify": {"run": CHECK, "rounds": 2},
    });
    let job = tenant.command_with(MENDER, extra).await;
    let done = job.reaches("completed").await;
    let verified = json!({"exit_code": 0, "rounds": 1, "passed": true});
    assert_eq!(done["result"]["verify"], verified, "{done:#}");
    assert_eq!(done["result"]["success"], true);
    assert_eq!(done["verify"]["timeout_seconds"], 600);
    assert_eq!(job.outcomes().await, ["completed"], "all rounds are one run");
    let diff = job.diff().await;
    for line in ["+fixed", "+state is broken"] {
        assert!(diff.contains(line), "no `{line}` in {diff}");
    }
    let log = job.log().await;
    for words in [
        &format!("verify: {CHECK}\nstate is broken\nverify: ended with exit code 3\n"),
        "round 1 of 2",
        // Its own checkpoint of the round before.
        "{\"round\":1}",
        "verify: passed\n",
    ] {
        assert!(log.contains(words), "no `{words}` in {log}");
    }
}

pub async fn work_that_never_passes_fails_and_is_kept(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let extra = |verify: Value| {
        json!({"repository": {"path": repo.path()}, "keep": ["made"], "verify": verify})
    };
    let verify = json!({"run": "echo 'that is not it' >&2; exit 4", "rounds": 1});
    let job = tenant.command_with("echo it >> made", extra(verify)).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "VERIFY_FAILED");
    assert_eq!(failed["error"]["exit_code"], 4);
    let words = failed["error"]["message"].as_str().unwrap();
    assert!(words.contains("told once") && words.contains("that is not it"), "{words}");
    let result = &failed["result"];
    assert_eq!(result["verify"], json!({"exit_code": 4, "rounds": 1, "passed": false}));
    assert_eq!(result["success"], false);
    assert_eq!(result["diff"]["files"], json!(["made"]));
    assert_eq!(job.outcomes().await, ["failed"], "trying again would not help");
    let kept = job.artifacts().await;
    let file = kept.iter().find(|it| it["name"] == "made").expect("the file is kept");
    let text = job.artifact(file["id"].as_str().unwrap()).await.text();
    assert_eq!(text, "it\nit\n", "two rounds in one worktree");

    // One that does not end is ended, with all that it started.
    let mark = stand.scratch().join("stray");
    let line = format!("setsid sleep 1000 & echo $! > {}; wait", mark.display());
    let verify = json!({"run": line, "timeout_seconds": 2});
    let job = tenant.command_with("touch made", extra(verify)).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "VERIFY_FAILED");
    let words = failed["error"]["message"].as_str().unwrap();
    assert!(words.contains("did not end within 2 s"), "{words}");
    assert!(!is_alive(number_in(&mark).unwrap()), "what it started is alive");
}

pub async fn a_check_runs_only_where_the_operator_allows_commands(mode: Mode) {
    let plan = Plan {
        workers: 1,
        agents: "echo",
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let mark = stand.scratch().join("ran");
    let verify = json!({"verify": {"run": format!("touch {}", mark.display())}});
    let job = tenant.session(json!({"kind": "echo"}), verify).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "VERIFY_NOT_ALLOWED");
    assert!(!mark.exists());
}

pub async fn a_model_mends_in_the_same_conversation(mode: Mode) {
    let small = Plan {
        workers: 1,
        ..Plan::default()
    };
    let write = |text: &str| {
        let file = json!({"filePath": "state", "content": text});
        Reply::Tool("I write.", "write", file)
    };
    let own = OpenCodeStand::own(mode, small, json!({}), move |question| {
        let told = question.user_said("state is broken");
        match (question.results(), told) {
            (0, _) => write("broken\n"),
            (1, false) => Reply::Say("Done.".to_owned()),
            (1, true) => {
                let line = json!({"command": "echo fixed > state", "description": "mend"});
                Reply::Tool("I mend.", "bash", line)
            }
            _ => Reply::Say("Mended.".to_owned()),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let body = json!({
        "prompt": "Write the state.",
        "repository": {"path": repo.path()},
        "verify": {"run": CHECK, "rounds": 1},
    });
    let job = tenant.session(json!({"kind": "opencode"}), body).await;
    eventually("it is told", PATIENCE, async || {
        job.log().await.contains("round 1 of 1").then_some(())
    })
    .await;
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "Mended.");
    assert_eq!(done["result"]["verify"]["rounds"], 1);
    let last = own.model.questions().pop().unwrap();
    assert!(last.user_said("Write the state.") && last.results() == 2, "{:?}", last.messages);
    let kept = own.stand.data_dir().join("work/opencode");
    let left = std::fs::read_dir(kept).unwrap().count();
    assert_eq!(left, 0, "the conversation is over and is still kept");
}
