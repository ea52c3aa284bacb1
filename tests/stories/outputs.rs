//! A session asks for structured output, and gets what fits or is told what does not.

use serde_json::{Value, json};

use crate::harness::{Mode, OpenCodeStand, Plan, Reply, Stand};

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["count"],
        "properties": {"count": {"type": "integer"}},
        "additionalProperties": false,
    })
}

pub async fn a_command_hands_its_output_over(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let asks = |rounds: u32| {
        json!({"repository": {"path": repo.path()}, "output_schema": schema(), "output_rounds": rounds})
    };
    let line = r#"grep -q additionalProperties "$ORCHESTRATOR_OUTPUT_SCHEMA" && echo '{"count": 4}' > "$ORCHESTRATOR_OUTPUT""#;
    let done = tenant.command_with(line, asks(0)).await.reaches("completed").await;
    assert_eq!(done["result"]["output"], json!({"count": 4}), "{done:#}");
    assert_eq!(done["result"]["success"], true);
    assert_eq!(done["result"]["diff"]["files"], json!([]));
    assert_eq!(done["output_schema"], schema());

    // In the worktree, and mended when told.
    let line = r#"if [ -z "$ORCHESTRATOR_FEEDBACK" ]; then echo '{"count": "4"}' > output.json
                  else echo "$ORCHESTRATOR_FEEDBACK"; echo '{"count": 5}' > output.json; fi"#;
    let job = tenant.command_with(line, asks(1)).await;
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["output"], json!({"count": 5}));
    assert!(job.log().await.contains("does not fit its JSON schema: /count: "));

    let cases = [
        ("echo '{\"count\": 4, \"more\": 1}' > output.json", "more"),
        ("echo '{\"count\": []}' > output.json", "/count"),
        ("echo 4, > output.json", "not JSON"),
        ("ln -s /etc/hostname output.json", "none was given"),
        ("true", "none was given"),
    ];
    for (line, words) in cases {
        let job = tenant.command_with(line, asks(0)).await;
        let failed = job.reaches("failed").await;
        assert_eq!(failed["error"]["code"], "OUTPUT_INVALID", "{line}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{line}: {message}");
        assert_eq!(failed["result"]["success"], false);
        assert_eq!(job.outcomes().await, ["failed"]);
    }
}

pub async fn a_schema_that_cannot_be_used_is_refused_at_once(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let cases = [
        (json!({"output_schema": {"type": "text"}}), "/output_schema"),
        (json!({"output_schema": {"$ref": "http://127.0.0.1:9/s.json"}}), "/output_schema"),
        (json!({"output_schema": {"title": "x".repeat(70_000)}}), "/output_schema"),
        (json!({"output_schema": true}), "/output_schema"),
        (json!({"output_schema": {}, "output_rounds": 6}), "/output_rounds"),
        (json!({"output_rounds": 1}), "/output_rounds"),
    ];
    for (more, pointer) in cases {
        let mut body = json!({"title": "t", "agent": {"kind": "echo"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let problem = tenant.api.post("/api/v1/sessions", &body).await;
        let problem = problem.expect_problem(422, "VALIDATION_ERROR");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
}

pub async fn a_models_last_words_are_its_output(mode: Mode) {
    let small = Plan {
        workers: 1,
        ..Plan::default()
    };
    let own = OpenCodeStand::own(mode, small, json!({}), |question| {
        assert!(question.user_said("additionalProperties"), "it was not told of the schema");
        let count = if question.user_said("does not fit") { "7" } else { "\"seven\"" };
        Reply::Say(format!("I counted.\n```json\n{{\"count\": {count}}}\n```\n"))
    })
    .await;
    let tenant = own.stand.tenant().await;
    let body = json!({"prompt": "Count.", "output_schema": schema(), "output_rounds": 1});
    let job = tenant.session(json!({"kind": "opencode"}), body).await;
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["output"], json!({"count": 7}), "{done:#}");
}
