//! External agents work, by the protocol of docs/eap.md: the sample agent, as a process of its own, and others that are
//! no good.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    AGENT_TOKEN, Cli, Job, Mode, PATIENCE, Plan, Repo, SampleAgent, Stand, Tenant, eventually,
};

/// A farewell takes 300 milliseconds at most; the rest is a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(5);

fn agent(name: &str) -> Value {
    json!({"kind": "eap", "name": name})
}

async fn stand_of(mode: Mode, sample: &SampleAgent) -> Stand {
    let plan = Plan::default().with_agents(&[("sample", &sample.url())]);
    Stand::own(mode, plan).await
}

/// On a repository, which has to live as long as the job.
async fn ask(tenant: &Tenant, repo: &Repo) -> Job {
    let more = json!({"prompt": "Read by the sample.", "repository": {"path": repo.path()}});
    tenant.session(agent("sample"), more).await
}

/// Its error, after one attempt.
async fn refused(tenant: &Tenant, name: &str) -> (String, String) {
    let job = tenant.session(agent(name), json!({"prompt": "work"})).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["attempt"], 1, "{failed}");
    let text = |field: &str| failed["error"][field].as_str().unwrap().to_owned();
    let message = text("message");
    assert!(!message.contains(AGENT_TOKEN), "{message}");
    (text("code"), message)
}

async fn begins(sample: &SampleAgent) {
    eventually("the agent begins", PATIENCE, async || {
        (sample.count("begin") > 0).then_some(())
    })
    .await;
}

pub async fn an_external_agent_edits_a_repository_while_it_is_watched(mode: Mode) {
    let sample = SampleAgent::start(&["--later", "--slow", "3"]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let before = repo.fingerprint();
    let spec =
        json!({"kind": "eap", "name": "sample", "files": ["README"], "input_data": {"a": [1]}});
    let body = json!({
        "prompt": "Read by the sample.",
        "repository": {"path": repo.path()},
        "keep": ["AGENT.md"],
    });
    let job = tenant.session(spec.clone(), body).await;
    eventually("its words are in the log", PATIENCE, async || {
        job.log().await.contains(" of 12\n").then_some(())
    })
    .await;
    assert_eq!(job.get().await["status"], "running");

    let done = job.reaches("completed").await;
    assert_eq!(done["agent"], spec);
    assert_eq!(done["result"]["summary"], "files written: 2");
    let mut files = done["result"]["diff"]["files"].as_array().unwrap().clone();
    files.sort_by_key(ToString::to_string);
    assert_eq!(files, ["AGENT.md", "README"]);
    let diff = job.diff().await;
    assert!(
        diff.contains("+Read by the sample.") && diff.contains("+# a story's session"),
        "{diff}"
    );
    assert_eq!(repo.fingerprint(), before);
    // Its prices are 3 and 15 for a million words; it read the prompt and README, and wrote them once more.
    let usage = &done["result"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(9), &json!(17))
    );
    assert_eq!(
        format!("{:.6}", usage["cost"].as_f64().unwrap()),
        "0.000282"
    );
    assert_eq!(done["progress"]["data"]["input_tokens"], 9);

    let kept = job.artifacts().await;
    let id_of = |name: &str| {
        let found = kept.iter().find(|artifact| artifact["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {kept:?}"));
        found["id"].as_str().unwrap().to_owned()
    };
    let output = job.artifact(&id_of("eap-output.json")).await.json();
    assert_eq!(output["input_data"], json!({"a": [1]}));
    let note = job.artifact(&id_of("AGENT.md")).await.text();
    assert_eq!(note, "# a story's session\n\nRead by the sample.\n");
    assert_eq!((sample.count("POST"), sample.count("begin")), (1, 1));
    let texts = stand.logs().into_iter().map(|(_, text)| text);
    for text in texts.chain([job.log().await, done.to_string()]) {
        assert!(!text.contains(AGENT_TOKEN), "the token is shown: {text}");
    }
}

pub async fn an_agent_that_refuses_twice_does_the_work_once(mode: Mode) {
    let sample = SampleAgent::start(&["--fail-first", "2"]).await;
    let stand = stand_of(mode, &sample).await;
    let repo = stand.repo();
    let job = ask(&stand.tenant().await, &repo).await;
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["completed"]);
    assert_eq!((sample.count("POST"), sample.count("begin")), (3, 1));
    let log = job.log().await;
    assert!(log.contains("try 2 of 6: it answered 503"), "{log}");
    assert!(!log.contains("try 3 of 6"), "{log}");
}

pub async fn an_agent_that_is_away_is_asked_again(mode: Mode) {
    let mut sample = SampleAgent::start(&["--later", "--slow", "2"]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    sample.kill();
    let repo = stand.repo();
    let job = ask(&tenant, &repo).await;
    eventually("nobody answers", PATIENCE, async || {
        job.log().await.contains("try 1 of 6").then_some(())
    })
    .await;
    sample.start_again().await;
    begins(&sample).await;
    // Once the worker knows that it was taken, the agent forgets it.
    eventually("its words are in the log", PATIENCE, async || {
        job.log().await.contains("begun\n").then_some(())
    })
    .await;
    sample.kill();
    sample.start_again().await;
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["completed"]);
    assert_eq!((sample.count("begin"), sample.count("end")), (2, 1));
    let log = job.log().await;
    assert!(log.contains("is given it again"), "{log}");
}

pub async fn an_agent_that_stays_away_ends_the_attempt(mode: Mode) {
    let mut sample = SampleAgent::start(&[]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    sample.kill();
    let once = json!({"prompt": "work", "max_attempts": 1});
    let job = tenant.session(agent("sample"), once).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "EAP_UNAVAILABLE");
    let words = failed["error"]["message"].as_str().unwrap();
    assert!(
        words.contains("`sample` did not answer in 6 tries"),
        "{words}"
    );
}

pub async fn a_stop_ends_the_work_of_an_external_agent(mode: Mode) {
    let slow = SampleAgent::start(&["--slow", "1000"]).await;
    let silent = SampleAgent::start(&["--silent"]).await;
    let plan = Plan::default().with_agents(&[("slow", &slow.url()), ("silent", &silent.url())]);
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;

    let job = tenant
        .session(agent("slow"), json!({"prompt": "work"}))
        .await;
    begins(&slow).await;
    stop(&job).await;
    eventually("the work has ended", PATIENCE, async || {
        (slow.count("end") == 1).then_some(())
    })
    .await;
    assert_eq!(slow.count("DELETE"), 1);

    let job = tenant
        .session(agent("silent"), json!({"prompt": "work"}))
        .await;
    eventually("the agent is asked", PATIENCE, async || {
        (silent.count("POST") == 1).then_some(())
    })
    .await;
    stop(&job).await;
}

async fn stop(job: &Job) {
    let began = Instant::now();
    job.act("stop").await.expect(200);
    job.reaches("stopped").await;
    let took = began.elapsed();
    eprintln!("stopped after {took:?}");
    assert!(took < STOP_LIMIT, "it took {took:?}");
}

pub async fn work_goes_on_when_the_worker_dies_and_is_done_once(mode: Mode) {
    let sample = SampleAgent::start(&["--later", "--slow", "5"]).await;
    let plan = Plan::noticing_crashes().with_agents(&[("sample", &sample.url())]);
    let stand = Stand::own(mode, plan).await;
    let repo = stand.repo();
    let job = ask(&stand.tenant().await, &repo).await;
    begins(&sample).await;
    stand.crash(async || {}).await;
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert_eq!((sample.count("POST"), sample.count("begin")), (2, 1));
    assert!(job.diff().await.contains("+Read by the sample."));
}

pub async fn an_external_agent_is_chosen_by_what_it_can_do(mode: Mode) {
    let sample = SampleAgent::start(&[]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    let words = "agent register critic --can code_review --eap sample --as-tenant";
    let words: Vec<&str> = words.split(' ').chain([tenant.slug.as_str()]).collect();
    Cli::run(&stand, &stand.admin_key(), &words).await.expect(0);
    let body = json!({
        "title": "routed", "prompt": "Read by the sample.", "capabilities": ["code_review"],
    });
    let created = tenant
        .api
        .post("/api/v1/sessions", &body)
        .await
        .expect(201)
        .json();
    let job = tenant.job(created["id"].as_str().unwrap());
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "files written: 1");
    assert_eq!(sample.count("begin"), 1);
    assert_eq!(
        job.attempts().await[0]["agent"],
        "critic",
        "{:?}",
        job.attempts().await
    );
    // Nothing judged the work, so its own word counts.
    let critic = tenant.api.get("/api/v1/agents/critic").await.expect(200);
    assert_eq!(critic.json()["quality"], 0.9);
}

/// Each round adds a line to README, and is a task of its own.
pub async fn an_external_agent_mends_what_its_work_lacks(mode: Mode) {
    let sample = SampleAgent::start(&[]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let spec = json!({"kind": "eap", "name": "sample", "files": ["README"]});
    let body = json!({
        "prompt": "Read by the sample.",
        "repository": {"path": repo.path()},
        "verify": {"run": lines_check(3), "rounds": 3},
    });
    let job = tenant.session(spec, body).await;
    let done = job.reaches("completed").await;
    let result = &done["result"];
    let verified = json!({"exit_code": 0, "rounds": 2, "passed": true});
    assert_eq!(result["verify"], verified, "{done:#}");
    let quality = result["quality"].as_f64().unwrap();
    assert!((quality - 1.0 / 3.0).abs() < 1e-9, "{quality}");
    assert_eq!(result["confidence"], 0.9);
    let diff = job.diff().await;
    assert!(diff.contains("+too few lines"), "it was not told: {diff}");
    let rounds = |job: &Job, last: u32| {
        let later = (1..=last).map(|round| format!("{}-{round}", job.id));
        std::iter::once(job.id.clone()).chain(later).collect::<Vec<_>>()
    };
    assert_eq!(sample.tasks("begin"), rounds(&job, 2));
    // The prompt has four words, README five, and four more with each round.
    let usage = &result["usage"];
    assert_eq!(usage["input_tokens"], 39, "{usage}");
    assert_eq!(done["progress"]["data"]["input_tokens"], 39);

    let demand = |rounds: u32| {
        let schema = json!({"properties": {"mended": {"const": true}}, "required": ["mended"]});
        json!({"prompt": "work", "output_schema": schema, "output_rounds": rounds})
    };
    let told = tenant.session(agent("sample"), demand(1)).await;
    let done = told.reaches("completed").await;
    assert_eq!(done["result"]["output"], json!({"files": 1, "mended": true}));
    assert_eq!(sample.tasks("begin")[3..], rounds(&told, 1));
    let untold = tenant.session(agent("sample"), demand(0)).await;
    let failed = untold.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "OUTPUT_INVALID", "{failed:#}");
    assert_eq!(failed["result"]["quality"], Value::Null);
    assert_eq!(sample.tasks("begin")[5..], rounds(&untold, 0));
}

/// So many lines of the sample in README.
fn lines_check(lines: u32) -> String {
    format!("[ $(grep -c 'Read by the sample' README) -ge {lines} ] || {{ echo too few lines; exit 1; }}")
}

/// It is paused while it mends: what was done is not done again, and what was cut off is begun anew.
pub async fn a_paused_external_agent_goes_on_where_it_was(mode: Mode) {
    let sample = SampleAgent::start(&["--later", "--slow", "2"]).await;
    let stand = stand_of(mode, &sample).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let spec = json!({"kind": "eap", "name": "sample", "files": ["README"]});
    let body = json!({
        "prompt": "Read by the sample.",
        "repository": {"path": repo.path()},
        "verify": {"run": lines_check(2), "rounds": 1},
    });
    let job = tenant.session(spec, body).await;
    eventually("it mends", PATIENCE, async || (sample.count("begin") == 2).then_some(())).await;
    job.act("pause").await.expect(200);
    let paused = job.reaches("paused").await;
    assert_eq!(paused["error"], Value::Null, "{paused:#}");
    eventually("the work has ended", PATIENCE, async || (sample.count("end") == 2).then_some(())).await;
    assert!(job.diff().await.contains("+Read by the sample."));
    let (first, second) = (job.id.clone(), format!("{}-1", job.id));
    assert_eq!(sample.tasks("DELETE"), std::slice::from_ref(&second));

    job.act("resume").await.expect(200);
    let done = job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["paused", "completed"]);
    assert_eq!(sample.tasks("begin"), [first, second.clone(), second]);
    assert_eq!(done["result"]["verify"]["rounds"], 1, "{done:#}");
    let diff = job.diff().await;
    assert_eq!(diff.matches("+Read by the sample.").count(), 3, "two in README: {diff}");
}

pub async fn what_is_wrong_with_an_agent_is_said(mode: Mode) {
    let escaping = SampleAgent::start(&["--misbehave", "escape"]).await;
    let confused = SampleAgent::start(&["--misbehave", "wrong-id"]).await;
    let others = serve(bad_agents(escaping.url())).await;
    let at = |path: &str| format!("{others}/{path}");
    let plan = Plan::default().with_agents(&[
        ("escaping", &escaping.url()),
        ("confused", &confused.url()),
        ("redirecting", &at("redirecting")),
        ("talkative", &at("talkative")),
        ("careless", &at("careless")),
        ("page", &at("page")),
        ("nowhere", &at("nowhere")),
    ]);
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    for (name, code, words) in [
        (
            "escaping",
            "EAP_BAD_ARTIFACT",
            "`../escaped.txt` must be a relative path",
        ),
        ("confused", "EAP_BAD_ANSWER", "`somebody-elses`"),
        ("redirecting", "EAP_REFUSED", "redirects are not followed"),
        (
            "talkative",
            "EAP_BAD_ANSWER",
            "has more than 16777216 bytes",
        ),
        (
            "careless",
            "EAP_UNAUTHORIZED",
            "does not take the worker's token",
        ),
        ("page", "EAP_BAD_ANSWER", "is not understood"),
        ("nowhere", "EAP_REFUSED", "is the address right?"),
        ("unknown", "EAP_UNKNOWN_AGENT", "[eap.unknown]"),
    ] {
        let (found, message) = refused(&tenant, name).await;
        assert_eq!(found, code, "{name}: {message}");
        assert!(message.contains(words), "{name}: {message}");
    }
    // The redirect led to one that would have worked.
    assert_eq!(escaping.count("POST"), 1);
}

/// Each below a path of its own.
fn bad_agents(elsewhere: String) -> Router {
    let large = vec![b' '; 17 * 1024 * 1024];
    let redirect = move || async move { Redirect::temporary(&format!("{elsewhere}/task")) };
    let repeat = |headers: HeaderMap| async move {
        let token = headers["x-agent-token"].to_str().unwrap().to_owned();
        (StatusCode::UNAUTHORIZED, format!("I do not like {token}")).into_response()
    };
    Router::new()
        .route("/redirecting/task", post(redirect))
        .route("/talkative/task", post(move || async move { large }))
        .route("/careless/task", post(repeat))
        .route("/page/task", post(async || "<html>Welcome</html>"))
}

/// Lives as long as the story.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
