//! Agents that registered themselves with an address, and are given sessions there: the sample agent, as a process of its
//! own.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    AGENT_SECRET, Job, Mode, PATIENCE, Plan, SampleAgent, Stand, Tenant, eventually,
};

const SESSIONS: &str = "/api/v1/sessions";
/// Three missed beats, or six tries at an agent that is gone, and the run of the next agent.
const FAIL_OVER_LIMIT: Duration = Duration::from_mins(2);

async fn stand_of(mode: Mode) -> Stand {
    let plan = Plan {
        workers: 2,
        ..Plan::default()
    };
    Stand::own(mode, plan.with_external_agents(mode)).await
}

async fn session(tenant: &Tenant, more: Value) -> Job {
    let mut body = json!({
        "title": "routed", "prompt": "Read by the sample.", "capabilities": ["code_review"], "keep": ["AGENT.md"],
    });
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    let made = tenant.api.post(SESSIONS, &body).await.expect(201).json();
    tenant.job(made["id"].as_str().expect("an id"))
}

async fn begins(sample: &SampleAgent) {
    eventually("the agent begins", PATIENCE, async || {
        (sample.count("begin") > 0).then_some(())
    })
    .await;
}

pub async fn a_session_is_pushed_to_an_agent_that_registered_itself(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let flags = ["--can", "code_review", "--later", "--slow", "1"];
    let sample = SampleAgent::register(&stand, &tenant, "REVIEWER", &flags).await;
    let repo = stand.repo();
    let job = session(&tenant, json!({"repository": {"path": repo.path()}})).await;
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "files written: 1");
    let usage = &done["result"]["usage"];
    // It read the prompt, and wrote it once more below the title.
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(4), &json!(6))
    );
    assert!(job.diff().await.contains("+Read by the sample."));
    let kept = job.artifacts().await;
    let note = kept.iter().find(|it| it["name"] == "AGENT.md");
    let note = note.unwrap_or_else(|| panic!("no AGENT.md in {kept:?}"));
    let note = job.artifact(note["id"].as_str().unwrap()).await.text();
    assert_eq!(note, "# routed\n\nRead by the sample.\n");
    assert_eq!(job.attempts().await[0]["agent"], "REVIEWER");
    assert_eq!((sample.count("POST"), sample.count("begin")), (1, 1));
    let after = tenant.agent("REVIEWER").await;
    assert_eq!((&after["tasks"], &after["in_use"]), (&json!(1), &json!(0)));

    let texts = stand.logs().into_iter().map(|(_, text)| text);
    for text in texts.chain([job.log().await, done.to_string(), after.to_string()]) {
        let is_shown = text.contains("ora_") || text.contains(AGENT_SECRET);
        assert!(!is_shown, "a token or its secret is shown: {text}");
    }
    if mode == Mode::Embedded {
        let file = stand.data_dir().join("agent.secret");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// It says nothing by itself: the server asks it, finds it well, and gives it work.
pub async fn an_agent_that_does_not_beat_is_asked_how_it_is(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let flags = ["--can", "code_review", "--no-beat", "--fail-first", "2"];
    let sample = SampleAgent::register(&stand, &tenant, "SILENT", &flags).await;
    let heartbeat = &tenant.agent("SILENT").await["heartbeat"];
    assert_eq!(
        (&heartbeat["probed"], &heartbeat["status"]),
        (&json!(true), &json!("healthy"))
    );
    let job = session(&tenant, json!({})).await;
    job.reaches("completed").await;
    assert_eq!(
        job.outcomes().await,
        ["completed"],
        "503 twice is no failure"
    );
    assert_eq!((sample.count("POST"), sample.count("begin")), (3, 1));
}

/// Its error, and that the other agent did the work.
async fn done_by_the_other(job: &Job, first: &str) -> String {
    job.reaches_within("completed", FAIL_OVER_LIMIT).await;
    let attempts = job.attempts().await;
    let names: Vec<&Value> = attempts.iter().map(|it| &it["agent"]).collect();
    assert_eq!(names, [first, "SOUND"], "{attempts:?}");
    let error = &attempts[0]["error"];
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(first), "it names the agent: {error}");
    error["code"].as_str().unwrap_or_default().to_owned()
}

pub async fn the_task_of_an_agent_that_falls_silent_is_done_by_another(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let slow = ["--can", "code_review", "--later", "--slow", "1000"];
    let frozen = SampleAgent::register(&stand, &tenant, "FROZEN", &slow).await;
    let sound = ["--can", "code_review"];
    let sound = SampleAgent::register(&stand, &tenant, "SOUND", &sound).await;
    let job = session(&tenant, json!({"preferred_agent": "FROZEN"})).await;
    begins(&frozen).await;
    frozen.freeze();
    let code = done_by_the_other(&job, "FROZEN").await;
    assert_eq!(code, "EAP_SILENT");
    assert_eq!(sound.count("begin"), 1);
    let why = tenant.agent("FROZEN").await["unavailable_because"].to_string();
    assert!(why.contains("was last heard of"), "{why}");
}

pub async fn the_task_of_an_agent_that_dies_is_done_by_another(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let slow = ["--can", "code_review", "--slow", "1000"];
    let mut dead = SampleAgent::register(&stand, &tenant, "DEAD", &slow).await;
    let sound = ["--can", "code_review"];
    let sound = SampleAgent::register(&stand, &tenant, "SOUND", &sound).await;
    let job = session(&tenant, json!({"preferred_agent": "DEAD"})).await;
    begins(&dead).await;
    dead.kill();
    let code = done_by_the_other(&job, "DEAD").await;
    assert_eq!(code, "EAP_UNAVAILABLE");
    assert_eq!(sound.count("begin"), 1);
}

/// A file's name. As long as the file is there, an agent that was told of it keeps what it made to itself.
fn hold(stand: &Stand) -> String {
    let file = stand.scratch().join("hold");
    std::fs::write(&file, "").expect("a file");
    file.display().to_string()
}

/// It is removed in the middle of its work, and goes on; nothing new comes to it.
pub async fn an_agent_that_is_removed_ends_what_it_was_called_for(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let hold = hold(&stand);
    let flags = ["--can", "code_review", "--later", "--hold", &hold];
    let gone = SampleAgent::register(&stand, &tenant, "GONE", &flags).await;
    let job = session(&tenant, json!({})).await;
    begins(&gone).await;
    gone.remove(&tenant).await;
    eventually("it is told that it is gone", PATIENCE, async || {
        gone.says("not registered").then_some(())
    })
    .await;
    let next = session(&tenant, json!({})).await;
    next.waits_for_an_agent().await;
    assert_eq!(job.get().await["status"], "running");

    std::fs::remove_file(&hold).expect("it goes on");
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["completed"]);
    assert_eq!(job.attempts().await[0]["agent"], "GONE");
    assert_eq!((gone.count("POST"), gone.count("begin")), (1, 1));
    assert_eq!(next.why().await[0], "NO_AGENT");
    assert!(next.attempts().await.is_empty());
}

/// It is removed, and then the worker that waited for it dies: the next run cannot have it. What it made is nobody's.
pub async fn what_a_removed_agent_was_called_for_is_done_by_another_after_a_crash(mode: Mode) {
    let plan = Plan::noticing_crashes().with_external_agents(mode);
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let hold = hold(&stand);
    let flags = ["--can", "code_review", "--later", "--hold", &hold];
    let gone = SampleAgent::register(&stand, &tenant, "GONE", &flags).await;
    let job = session(&tenant, json!({})).await;
    begins(&gone).await;
    gone.remove(&tenant).await;
    stand.crash(async || {}).await;
    job.waits_for_an_agent().await;
    assert_eq!(job.outcomes().await, ["lease_lost"]);

    let flags = ["--can", "code_review"];
    let next = SampleAgent::register(&stand, &tenant, "NEXT", &flags).await;
    let done = job.reaches("completed").await;
    std::fs::remove_file(&hold).expect("it goes on");
    eventually("it ends its work too", PATIENCE, async || {
        (gone.count("end") == 1).then_some(())
    })
    .await;
    assert_eq!(job.get().await, done, "and that changes nothing");
    let attempts = job.attempts().await;
    let names: Vec<&Value> = attempts.iter().map(|it| &it["agent"]).collect();
    assert_eq!(names, ["GONE", "NEXT"], "{attempts:?}");
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert_eq!((gone.count("POST"), next.count("POST")), (1, 1));
}

/// Somebody else takes its name, so its token is worth nothing from then on; it notices, registers again, and is the one
/// that works.
pub async fn an_agent_that_registers_again_is_called_with_its_new_token(mode: Mode) {
    let stand = stand_of(mode).await;
    let tenant = stand.tenant().await;
    let flags = ["--can", "code_review"];
    let sample = SampleAgent::register(&stand, &tenant, "TWICE", &flags).await;
    session(&tenant, json!({})).await.reaches("completed").await;
    let said = json!({
        "protocol_version": "1.0", "name": "TWICE", "version": "2", "agent_type": "other",
        "capabilities": ["code_review"], "endpoint_url": sample.url(), "max_concurrent_tasks": 1,
    });
    let register = "/api/v1/agents/external/register";
    let other = tenant.api.post(register, &said).await.expect(201).json();
    let token = other["auth_token"].as_str().unwrap();
    let heartbeat = format!(
        "/api/v1/agents/external/{}/heartbeat",
        other["agent_id"].as_str().unwrap()
    );
    let beat = async || {
        let beat = json!({"status": "healthy", "current_load": 0, "tasks_in_progress": 0});
        let ask = tenant
            .api
            .with_key(None)
            .request(reqwest::Method::POST, &heartbeat);
        let ask = ask.header("x-agent-token", token).json(&beat);
        tenant.api.send(ask).await
    };
    beat().await.expect(204);
    eventually("the sample registers again", PATIENCE, async || {
        (sample.count("registered") == 2).then_some(())
    })
    .await;
    beat().await.expect_problem(401, "UNAUTHENTICATED");
    session(&tenant, json!({})).await.reaches("completed").await;
    assert_eq!(sample.count("begin"), 2);
}
