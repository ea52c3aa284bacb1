//! Bad input gets the place and the reason, and changes nothing.

use serde_json::{Value, json};

use crate::site::Site;

fn session_with(field: &str, value: Value) -> Value {
    let mut body = json!({"title": "fine", "agent": {"kind": "echo"}});
    body[field] = value;
    body
}

type Table = Vec<(Value, &'static str, &'static str)>;

/// Each body is refused at this pointer, with these words, and nothing is stored.
async fn refused(address: &str, table: Table) {
    let site = Site::start().await;
    for (body, pointer, words) in table {
        let answer = site.post(address).json(&body).send().await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains(words), "{body}: {detail}");
    }
    let listed = site.get("/api/v1/jobs").send().await.json();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_sessions_text_and_numbers() {
    let with = session_with;
    let table = vec![
        (
            with("title", json!("x".repeat(10_000))),
            "/title",
            "at most 200",
        ),
        (with("title", json!("")), "/title", "empty"),
        (with("title", json!("a\u{0}b")), "/title", "control"),
        (with("title", json!(7)), "/title", "expected a string"),
        (with("title", Value::Null), "/title", "expected a string"),
        (json!({"agent": {"kind": "echo"}}), "/title", "required"),
        (with("priority", json!("urgent")), "/priority", "critical"),
        (with("max_attempts", json!(0)), "/max_attempts", "between 1"),
        (
            with("max_attempts", json!(-1)),
            "/max_attempts",
            "whole number",
        ),
        (
            with("max_attempts", json!("3")),
            "/max_attempts",
            "whole number",
        ),
        (
            with("max_duration_seconds", json!(0)),
            "/max_duration_seconds",
            "between 1",
        ),
        (
            with("run_after", json!("tomorrow")),
            "/run_after",
            "as 2026-12-24T18:00:00Z",
        ),
        (with("deadline", json!(7)), "/deadline", "expected a string"),
        (
            with("title", json!("exe\u{202E}txt.pdf")),
            "/title",
            "direction",
        ),
        (with("name", json!("build")), "/name", "bulk"),
        (with("parent_id", json!("x")), "/parent_id", "UUID"),
        (with("colour", json!("red")), "/colour", "unknown field"),
        (json!(["a title"]), "", "expected an object"),
    ];
    refused("/api/v1/sessions", table).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_sessions_tags_and_metadata() {
    let with = session_with;
    let long = "x".repeat(20_000);
    let table = vec![
        (with("tags", json!("demo")), "/tags", "a list"),
        (with("tags", json!(["ok", ""])), "/tags/1", "empty"),
        (
            with("tags", json!(["ok", 3])),
            "/tags/1",
            "expected a string",
        ),
        (with("metadata", json!([1])), "/metadata", "an object"),
        (
            with("metadata", json!({"a": {"b/c": ["x\u{0}"]}})),
            "/metadata/a/b~1c/0",
            "NUL",
        ),
        (
            with("metadata", json!({"a": long})),
            "/metadata",
            "at most 16384",
        ),
    ];
    refused("/api/v1/sessions", table).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_sessions_agent_and_repository() {
    let agent = |value| session_with("agent", value);
    let with = session_with;
    let both = json!({"kind": "command", "run": "a", "argv": ["a"]});
    let option = json!({"path": "/a", "ref": "--upload-pack=x"});
    let table = vec![
        (json!({"title": "a"}), "/agent", "required"),
        (agent(json!("echo")), "/agent", "expected an object"),
        (agent(json!({})), "/agent/kind", "required"),
        (
            agent(json!({"kind": "wizard"})),
            "/agent/kind",
            "echo, command, opencode, eap or external",
        ),
        (
            agent(json!({"kind": "echo", "wand": 1})),
            "/agent/wand",
            "unknown field",
        ),
        (
            agent(json!({"kind": "echo", "run": "ls"})),
            "/agent/run",
            "not for the agent echo",
        ),
        (
            agent(json!({"kind": "echo", "delay_seconds": 3601})),
            "/agent/delay_seconds",
            "3600",
        ),
        (
            agent(json!({"kind": "command", "run": "ls", "delay_seconds": 1})),
            "/agent/delay_seconds",
            "echo only",
        ),
        (
            agent(json!({"kind": "command"})),
            "/agent",
            "neither argv nor run",
        ),
        (agent(both), "/agent", "both argv and run"),
        (
            agent(json!({"kind": "command", "argv": []})),
            "/agent/argv",
            "program",
        ),
        (
            agent(json!({"kind": "command", "run": ""})),
            "/agent/run",
            "empty",
        ),
        (
            with("repository", json!({"path": "relative"})),
            "/repository/path",
            "absolute",
        ),
        (with("repository", option), "/repository/ref", "branch"),
        (
            with("keep", json!(["../../etc/passwd"])),
            "/keep/0",
            "inside",
        ),
    ];
    refused("/api/v1/sessions", table).await;
}

#[tokio::test]
async fn a_label_that_is_asked_for_twice_is_refused() {
    let site = Site::start().await;
    let rest =
        r#""agent": {"kind": "echo"}, "title": "a", "requires": {"a": "1", "b": "2", "a": "3"}"#;
    for (address, body, pointer) in [
        ("sessions", format!("{{{rest}}}"), "/requires"),
        (
            "sessions/bulk",
            format!("{{\"sessions\": [{{{rest}}}]}}"),
            "/sessions/0/requires",
        ),
    ] {
        let ask = site.post(&format!("/api/v1/{address}"));
        let answer = ask.raw("application/json", body).send().await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains("`a` is given twice"), "{detail}");
    }
    let listed = site.get("/api/v1/jobs").send().await.json();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn several_mistakes_are_told_at_once() {
    let site = Site::start().await;
    let body = json!({"title": " ", "agent": {"kind": "echo"}, "max_attempts": 0, "tags": [""]});
    let answer = site.post("/api/v1/sessions").json(&body).send().await;
    let problem = answer.problem(422, "VALIDATION_ERROR");
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/max_attempts", "/tags/0", "/title"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_training_job() {
    let with = |field: &str, value: Value| {
        let mut body = json!({
            "base_model": "tiny", "target_model_name": "mine", "dataset": {"path": "/srv/data.jsonl"},
        });
        body[field] = value;
        body
    };
    let table = vec![
        (with("provider", json!("cloud")), "/provider", "subprocess"),
        (
            with("dataset", json!({"path": "data.jsonl"})),
            "/dataset/path",
            "absolute",
        ),
        (with("dataset", json!({})), "/dataset/path", "required"),
        (with("base_model", json!("")), "/base_model", "empty"),
        (
            with("parameters", json!({"note": "\u{0}"})),
            "/parameters/note",
            "NUL",
        ),
        (with("prompt", json!("hello")), "/prompt", "unknown field"),
        (with("name", json!("build")), "/name", "unknown field"),
        (
            with("deadline", json!("soon")),
            "/deadline",
            "as 2026-12-24T18:00:00Z",
        ),
    ];
    refused("/api/v1/fine-tuning/jobs", table).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_query() {
    let site = Site::start().await;
    let table = [
        ("state=done", "/state", "completed"),
        ("state=queued,done", "/state", "completed"),
        ("priority=urgent", "/priority", "critical"),
        ("limit=0", "/limit", "1 to 200"),
        ("limit=201", "/limit", "1 to 200"),
        ("limit=ten", "/limit", "1 to 200"),
        ("limit=10&limit=20", "/limit", "more than once"),
        ("q=a%00b", "/q", "control"),
        ("tag=a%00b", "/tag", "control"),
        ("sort=title", "/sort", "not a parameter"),
        ("cursor=hello", "/cursor", "not a cursor"),
    ];
    for (query, pointer, words) in table {
        let answer = site.get(&format!("/api/v1/sessions?{query}")).send().await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains(words), "{query}: {detail}");
    }
    let id = site.session("a").await;
    for (address, pointer) in [
        (format!("{id}/events?after=-1"), "/after"),
        (format!("{id}/logs?tail=0"), "/tail"),
        (format!("{id}/logs?follow=yes"), "/follow"),
    ] {
        let answer = site
            .get(&format!("/api/v1/sessions/{address}"))
            .send()
            .await;
        answer.invalid_at(pointer);
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_external_agent() {
    let agent = |value| session_with("agent", value);
    let table = vec![
        (
            agent(json!({"kind": "eap"})),
            "/agent/name",
            "must name an agent",
        ),
        (
            agent(json!({"kind": "eap", "name": "http://10.0.0.1/"})),
            "/agent/name",
            "must name an agent",
        ),
        (
            agent(json!({"kind": "eap", "name": "a", "input_data": {"a": "\u{0}"}})),
            "/agent/input_data/a",
            "NUL",
        ),
        (
            agent(json!({"kind": "echo", "name": "a"})),
            "/agent/name",
            "eap only",
        ),
    ];
    refused("/api/v1/sessions", table).await;
}
