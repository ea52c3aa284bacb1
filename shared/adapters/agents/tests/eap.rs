//! Stories of runs that an external agent does: the sample agent where it is about time and processes, a played one where
//! it is about what may be answered.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_agents::eap::{ConfiguredEndpoints, EapAgent, TokenSource};
use application::ports::{Agent as _, AgentReport, HandlerError, Interruption};
use application::testing::run_context::RecordingContext;
use common::played::Played;
use common::{Run, environment, error_of, eventually};
use domain::{AgentSpec, Eap, LogStream, Usage};
use serde_json::json;

const TOKEN: &str = "secret-of-a-story";

fn agent(url: &str) -> EapAgent {
    let source = TokenSource::Variable("TOKEN".to_owned());
    let agents = [("played".to_owned(), url.to_owned(), source)];
    let known = ConfiguredEndpoints::new(agents, [("TOKEN".into(), TOKEN.into())]).unwrap();
    EapAgent::new(Arc::new(known), &environment(&[], &[], &[]))
}

fn run() -> Run {
    let mut run = Run::shell("true");
    run.task.agent = AgentSpec::Eap(Eap {
        name: "played".to_owned(),
        ..Eap::default()
    });
    run
}

async fn by(run: &Run, agent: &EapAgent) -> Result<AgentReport, HandlerError> {
    agent.run(run.task.clone(), run.context.clone()).await
}

/// The real one, ended with the story.
struct Sample {
    process: Child,
    url: String,
    journal: tempfile::TempDir,
}

impl Sample {
    fn start(flags: &[&str]) -> Self {
        let journal = tempfile::tempdir().unwrap();
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/agent/agent.py");
        let mut process = Command::new(program)
            .args(["--port", "0", "--journal"])
            .arg(journal.path().join("journal"))
            .args(flags)
            .env("EAP_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sample agent needs python3");
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self {
            process,
            url,
            journal,
        }
    }

    fn count(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.journal.path().join("journal")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(what)).count()
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn only_work_that_nobody_wants_is_ended() {
    for (why, deletes) in [
        (Interruption::Stop, 1),
        (Interruption::Deadline, 1),
        (Interruption::LockLost, 1),
        (Interruption::Drain, 0),
        (Interruption::LeaseLost, 0),
    ] {
        let sample = Sample::start(&["--slow", "2"]);
        let agent = agent(&sample.url);
        let mut run = run();
        let context = Arc::clone(&run.context);
        let interrupting = async {
            let begins = || (sample.count("begin") == 1).then_some(());
            eventually("the agent begins", begins).await;
            context.interrupt(why);
            Instant::now()
        };
        let (result, told) = tokio::join!(
            async { (by(&run, &agent).await, Instant::now()) },
            interrupting
        );
        let (result, ended) = result;
        assert!(
            matches!(result, Err(HandlerError::Interrupted(said)) if said == why),
            "{result:?}"
        );
        let took = ended.saturating_duration_since(told);
        assert!(took < Duration::from_secs(1), "{why:?}: {took:?}");
        assert_eq!(sample.count("DELETE"), deletes, "{why:?}");

        // The next run joins what goes on, and begins anew what was ended.
        run.context = Arc::new(RecordingContext::default());
        let report = by(&run, &agent).await.unwrap();
        assert_eq!(report.summary.as_deref(), Some("files written: 1"));
        assert_eq!(sample.count("begin"), 1 + deletes, "{why:?}");
        assert!(run.directory().join("AGENT.md").is_file());
    }
}

fn id(run: &Run) -> String {
    run.task.job.to_string()
}

#[tokio::test]
async fn a_task_says_what_the_protocol_wants() {
    let run = run();
    let result = json!({"task_id": id(&run), "status": "completed"}).to_string();
    let played = Played::start(move |_, _| (200, "", result.clone())).await;
    let report = by(&run, &agent(&played.url)).await.unwrap();
    assert_eq!(report, AgentReport::default());
    let call = played.calls.lock().unwrap()[0].clone();
    let (head, body) = call.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /task HTTP/1.1"), "{head}");
    assert!(head.contains(&format!("x-agent-token: {TOKEN}")), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "task_id": id(&run), "session_id": id(&run), "task_type": "coding",
        "context": {
            "title": "a story", "prompt": "do it", "attempt": 1, "repository": false, "files": [],
        },
        "input_data": {},
        "requirements": {
            "max_artifacts": 200, "max_artifact_bytes": 4 * 1024 * 1024,
            "max_answer_bytes": 16 * 1024 * 1024,
        },
        "timeout_seconds": 60,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_passes_is_waited_for_as_long_as_the_agent_says() {
    let run = run();
    let result = json!({"task_id": id(&run), "status": "completed"}).to_string();
    let played = Played::start(move |number, _| match number {
        1 => (429, "retry-after: 1\r\n", "busy".to_owned()),
        2 => (408, "", String::new()),
        3 => (202, "retry-after: 0\r\n", String::new()),
        4 => (500, "", String::new()),
        _ => (200, "", result.clone()),
    })
    .await;
    let began = Instant::now();
    by(&run, &agent(&played.url)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(played.methods(), ["POST", "POST", "POST", "GET", "GET"]);
    let log = run.context.recorded().text(LogStream::System);
    assert!(log.contains("try 1 of 6: it answered 429"), "{log}");
    // It had answered in between.
    assert!(log.contains("try 1 of 6: it answered 500"), "{log}");
}

#[tokio::test]
async fn an_agent_that_always_forgets_is_given_up() {
    let played = Played::start(|_, call| {
        let status = if call.starts_with("POST") { 202 } else { 404 };
        (status, "retry-after: 0\r\n", String::new())
    })
    .await;
    let error = by(&run(), &agent(&played.url)).await;
    assert!(matches!(error, Err(HandlerError::Retry(_))), "{error:?}");
    assert_eq!(error_of(error).code, "EAP_UNAVAILABLE");
    assert_eq!(played.methods().len(), 8);
}

#[tokio::test]
async fn a_failed_task_fails_for_good_and_its_cost_is_shown() {
    let run = run();
    let result = json!({
        "task_id": id(&run), "status": "failed", "error_message": format!("I lost {TOKEN}"),
        "tokens_used": 5, "cost_usd": 0.25, "artifacts": [{"path": "a", "content": "b"}],
    });
    let played = Played::start(move |_, _| (200, "", result.to_string())).await;
    let failed = by(&run, &agent(&played.url)).await;
    assert!(matches!(failed, Err(HandlerError::Fail(_))), "{failed:?}");
    let error = error_of(failed);
    assert_eq!(error.code, "AGENT_FAILED");
    assert_eq!(error.message, "the agent `played` says: I lost [redacted]");
    let shown = run.context.recorded().progress.pop().unwrap();
    assert_eq!(shown.data["output_tokens"], 5);
    assert_eq!(shown.data["cost"], 0.25);
    assert!(!run.directory().join("a").exists());
}

#[tokio::test]
async fn an_agents_token_is_shown_nowhere_however_it_repeats_it() {
    let run = run();
    let running = json!({
        "task_id": id(&run), "progress": {"message": format!("at {TOKEN}"), "data": {"seen": [{"token": TOKEN}]}},
    });
    let result = json!({
        "task_id": id(&run), "status": "completed",
        "output_data": {"summary": format!("with {TOKEN}"), "told": TOKEN},
        "artifacts": [{"path": format!("../{TOKEN}"), "content": ""}],
    });
    let played = Played::start(move |number, _| match number {
        1 => (202, "retry-after: 0\r\n", running.to_string()),
        2 => (503, "retry-after: 0\r\n", format!("busy with {TOKEN}")),
        _ => (200, "", result.to_string()),
    })
    .await;
    let error = error_of(by(&run, &agent(&played.url)).await);
    assert_eq!(error.code, "EAP_BAD_ARTIFACT");
    let recorded = run.context.recorded();
    let shown = &recorded.progress[0];
    assert_eq!(shown.message.as_deref(), Some("at [redacted]"));
    assert_eq!(shown.data["seen"], json!([{"token": "[redacted]"}]));
    for text in [format!("{recorded:?}"), format!("{error:?}")] {
        assert!(
            text.contains("[redacted]") && !text.contains(TOKEN),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_it_says_of_its_work_is_reported_and_rounds_add_up() {
    let mut run = run();
    run.task.round = 1;
    run.task.used = Some(Usage {
        input_tokens: 3,
        output_tokens: 4,
        cost: 0.5,
    });
    let task = format!("{}-1", id(&run));
    let result = json!({
        "task_id": task, "status": "completed", "tokens_used": 5, "input_tokens": 2, "cost_usd": 0.25,
        "output_data": {"quality": 0.75, "confidence": "high"},
    });
    let running = json!({"task_id": task, "progress": {"data": {"input_tokens": 1, "seen": 2}}});
    let played = Played::start(move |number, _| match number {
        1 => (202, "retry-after: 0\r\n", running.to_string()),
        _ => (200, "", result.to_string()),
    })
    .await;
    let report = by(&run, &agent(&played.url)).await.unwrap();
    assert_eq!(report.rating.quality, Some(0.75));
    assert_eq!(report.rating.confidence, None, "it is no number");
    let used = report.usage.unwrap();
    assert_eq!((used.input_tokens, used.output_tokens), (5, 7));
    let shown = run.context.recorded().progress;
    let shown: Vec<_> = shown.into_iter().map(|it| it.data).collect();
    assert_eq!(shown[0]["input_tokens"], 4);
    assert_eq!((&shown[0]["seen"], shown[0].get("cost")), (&json!(2), None));
    assert_eq!(
        (&shown[1]["input_tokens"], &shown[1]["cost"]),
        (&json!(5), &json!(0.75))
    );
}
