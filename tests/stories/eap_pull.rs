//! Agents that register themselves and ask for their tasks: the sample agent, as a process of its own, which nobody calls.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Answer, Cli, Job, Mode, PATIENCE, Plan, PullingAgent, Repo, Stand, Tenant, eventually, instant,
};

/// A lease of 30 seconds runs out, and then the next agent works.
const LEASE_PATIENCE: Duration = Duration::from_mins(2);
/// The session itself stops at once; the rest is a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A session for whoever writes documentation, on a repository, which has to live as long as the job.
async fn ask(tenant: &Tenant, repo: &Repo) -> Job {
    let body = json!({
        "title": "routed",
        "prompt": "Read by the sample.",
        "capabilities": ["documentation"],
        "repository": {"path": repo.path()},
        "keep": ["AGENT.md"],
        "files": ["README"],
    });
    let made = tenant.api.post("/api/v1/sessions", &body).await;
    tenant.job(made.expect(201).json()["id"].as_str().expect("an id"))
}

async fn agents_of(job: &Job) -> Vec<String> {
    let attempts = job.attempts().await;
    let name = |attempt: &Value| attempt["agent"].as_str().unwrap_or("nobody").to_owned();
    attempts.iter().map(name).collect()
}

async fn own(mode: Mode, plan: Plan) -> (Stand, Tenant, Repo) {
    let stand = Stand::own(mode, plan.with_registered_agents()).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    (stand, tenant, repo)
}

/// One that the story itself speaks for.
struct Spoken<'a> {
    tenant: &'a Tenant,
    id: String,
    token: String,
}

impl<'a> Spoken<'a> {
    async fn register(tenant: &'a Tenant, name: &str) -> Self {
        let said = json!({
            "protocol_version": "1.0", "name": name, "version": "1", "agent_type": "spoken",
            "capabilities": ["documentation"], "max_concurrent_tasks": 1,
        });
        let register = "/api/v1/agents/external/register";
        let made = tenant.api.post(register, &said).await.expect(201).json();
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        Self {
            tenant,
            id: text("agent_id"),
            token: text("auth_token"),
        }
    }

    async fn says(&self, what: &str, body: &Value) -> Answer {
        let api = self.tenant.api.with_key(None);
        let path = format!("/api/v1/agents/external/{}/{what}", self.id);
        let ask = api.request(reqwest::Method::POST, &path);
        api.send(ask.header("x-agent-token", &self.token).json(body))
            .await
    }

    async fn beats(&self) {
        let beat = json!({"status": "healthy", "current_load": 0, "tasks_in_progress": 0});
        self.says("heartbeat", &beat).await.expect(204);
    }

    /// The next task's lease.
    async fn leases(&self) -> Value {
        eventually("a task comes", PATIENCE, async || {
            let answer = self.says("tasks/lease", &json!({"wait_seconds": 5})).await;
            (answer.status == 200).then(|| answer.json()["lease"]["id"].clone())
        })
        .await
    }
}

pub async fn an_agents_own_token_is_shown_nowhere(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = Spoken::register(&tenant, "ECHOING").await;
    agent.beats().await;
    let token = &agent.token;
    let job = ask(&tenant, &repo).await;
    let lease = agent.leases().await;
    let task = format!("tasks/{}", job.id);
    let progress =
        json!({"message": format!("I am {token}"), "data": {"header": [token], "seen": 3}});
    let report = json!({"lease_id": lease, "progress": progress});
    agent
        .says(&format!("{task}/progress"), &report)
        .await
        .expect(200);
    let shown = eventually("its words are shown", PATIENCE, async || {
        let shown = job.get().await["progress"].clone();
        (shown["data"]["seen"] == 3).then_some(shown)
    })
    .await;
    assert_eq!(shown["message"], "I am [redacted]");
    assert_eq!(shown["data"]["header"], json!(["[redacted]"]));
    let result = json!({
        "lease_id": lease, "status": "failed", "error_message": format!("nobody takes {token}"),
        "output_data": {"told": token},
    });
    agent
        .says(&format!("{task}/result"), &result)
        .await
        .expect(204);
    let failed = job.reaches("failed").await;
    let words = failed["error"]["message"].as_str().expect("words");
    assert!(words.contains("nobody takes [redacted]"), "{words}");
    let log = job.log().await;
    assert!(log.contains("I am [redacted]"), "{log}");
    let attempts = json!(job.attempts().await).to_string();
    let texts = [failed.to_string(), log, attempts];
    for text in texts
        .into_iter()
        .chain(stand.logs().into_iter().map(|(_, text)| text))
    {
        assert!(!text.contains(token.as_str()), "the token is shown: {text}");
    }
}

/// It never beats: that it asks and reports is enough to be given a task, and to keep it.
pub async fn an_agent_that_asks_need_not_beat(mode: Mode) {
    let (_stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = Spoken::register(&tenant, "ASKING").await;
    let job = ask(&tenant, &repo).await;
    let lease = agent.leases().await;
    let shown = tenant.api.get("/api/v1/agents/ASKING").await;
    let shown = shown.expect(200).json();
    assert_eq!(shown["heartbeat"]["status"], "healthy", "{shown}");
    let result =
        json!({"lease_id": lease, "status": "completed", "output_data": {"summary": "done"}});
    let path = format!("tasks/{}/result", job.id);
    agent.says(&path, &result).await.expect(204);
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "done");
}

pub async fn an_agent_without_an_address_does_a_session(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = PullingAgent::start(&stand, &tenant, "WRITER", &["--slow", "3"]).await;
    let before = repo.fingerprint();
    let job = ask(&tenant, &repo).await;
    eventually("its words are in the log", PATIENCE, async || {
        job.log().await.contains(" of 12\n").then_some(())
    })
    .await;
    assert_eq!(job.get().await["status"], "running");
    let done = job.reaches("completed").await;
    assert_eq!(agents_of(&job).await, ["WRITER"]);
    assert_eq!(done["result"]["summary"], "files written: 2");
    let mut files = done["result"]["diff"]["files"]
        .as_array()
        .expect("files")
        .clone();
    files.sort_by_key(ToString::to_string);
    assert_eq!(files, ["AGENT.md", "README"]);
    let diff = job.diff().await;
    assert!(diff.contains("+Read by the sample."), "{diff}");
    assert_eq!(repo.fingerprint(), before);
    // It read the prompt and README, and wrote them once more, the prompt below a title of two words.
    let usage = &done["result"]["usage"];
    let tokens = (&usage["input_tokens"], &usage["output_tokens"]);
    assert_eq!(tokens, (&json!(9), &json!(15)));
    assert_eq!(done["progress"]["data"]["input_tokens"], 9);
    let cost = usage["cost"].as_f64().expect("a number");
    assert_eq!(format!("{cost:.6}"), "0.000252");
    let kept = job.artifacts().await;
    let names: Vec<&str> = kept.iter().filter_map(|it| it["name"].as_str()).collect();
    for name in ["AGENT.md", "eap-output.json", "session.diff"] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    assert_eq!((agent.count("LEASE"), agent.count("begin")), (1, 1));
    let shown = tenant.agent("WRITER").await;
    assert_eq!(
        (&shown["in_use"], &shown["tasks"]),
        (&json!(0), &json!(1)),
        "{shown}"
    );
}

pub async fn the_task_of_an_agent_that_dies_is_done_by_another(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let mut first = PullingAgent::start(&stand, &tenant, "FIRST", &["--slow", "1000"]).await;
    let job = ask(&tenant, &repo).await;
    first.does("begin").await;
    let second = PullingAgent::start(&stand, &tenant, "SECOND", &[]).await;
    first.kill();
    job.reaches_within("completed", LEASE_PATIENCE).await;
    assert_eq!(agents_of(&job).await, ["FIRST", "SECOND"]);
    assert_eq!(job.outcomes().await, ["failed", "completed"]);
    let words = silence(&job).await;
    assert!(words.contains("`FIRST`"), "{words}");
    assert_eq!(second.count("begin"), 1);
    let shown = tenant.agent("FIRST").await;
    assert_eq!(shown["in_use"], 0, "{shown}");
}

/// What the first run's error says of its agent.
async fn silence(job: &Job) -> String {
    let error = job.attempts().await[0]["error"].clone();
    assert_eq!(error["code"], "EAP_SILENT", "{error}");
    error["message"].as_str().expect("words").to_owned()
}

/// A file's name. As long as the file is there, an agent that was told of it hangs with its task: its process lives, and
/// beats.
fn hold(stand: &Stand) -> String {
    let file = stand.scratch().join("hold");
    std::fs::write(&file, "").expect("a file");
    file.display().to_string()
}

/// What agents handed over beside files, by id.
async fn outputs(job: &Job) -> Vec<String> {
    let kept = job.artifacts().await;
    let outputs = kept.iter().filter(|it| it["name"] == "eap-output.json");
    outputs.map(|it| it["id"].as_str().expect("an id").to_owned()).collect()
}

/// The only one.
async fn output_of(job: &Job) -> Value {
    let outputs = outputs(job).await;
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    job.artifact(&outputs[0]).await.json()
}

/// The first hands its result over while the second works: nobody wants it any more.
pub async fn the_task_of_an_agent_that_hangs_is_done_by_another(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let hang = (hold(&stand), hold(&stand));
    let first = PullingAgent::start(&stand, &tenant, "FIRST", &["--hold", &hang.0]).await;
    let job = ask(&tenant, &repo).await;
    first.does("begin").await;
    let second = PullingAgent::start(&stand, &tenant, "SECOND", &["--hold", &hang.1]).await;
    eventually("the other one begins", LEASE_PATIENCE, async || {
        (second.count("begin") > 0).then_some(())
    })
    .await;
    let words = silence(&job).await;
    assert!(words.contains("`FIRST` said nothing of its task"), "{words}");
    let shown = tenant.agent("FIRST").await;
    assert_eq!((&shown["available"], &shown["in_use"]), (&json!(true), &json!(0)), "it beats: {shown}");

    std::fs::remove_file(&hang.0).expect("the first goes on");
    first.does("LOST").await;
    assert_eq!(first.count("end"), 1, "it has a result");
    let lost = format!("LOST {} TASK_LEASE_LOST", job.id);
    assert!(first.journal().contains(&lost), "{:?}", first.journal());
    assert_eq!(job.get().await["status"], "running");
    assert_eq!(outputs(&job).await, [""; 0], "what the first made is not kept");

    std::fs::remove_file(&hang.1).expect("the second goes on");
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "files written: 2");
    assert_eq!(agents_of(&job).await, ["FIRST", "SECOND"]);
    assert_eq!(job.outcomes().await, ["failed", "completed"]);
    let leases = [first.count("LEASE"), second.count("LEASE")];
    assert_eq!(leases, [1, 1], "each had it once");
    let output = output_of(&job).await;
    let second_run = instant(&job.attempts().await[1]["started_at"]).timestamp();
    let second_run = u32::try_from(second_run).expect("seconds");
    let began = output["began"].as_f64().expect("seconds");
    assert!(began >= f64::from(second_run), "it is the first one's: {output}");
    for (name, rate) in [("FIRST", 0.9), ("SECOND", 1.0)] {
        let shown = tenant.agent(name).await;
        assert_eq!((&shown["tasks"], &shown["success_rate"]), (&json!(1), &json!(rate)), "{shown}");
    }
}

/// Its operator removes it in the middle of its work: it is told so, and the session waits for another one.
pub async fn the_task_of_an_agent_that_is_removed_is_done_by_another(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let gone = PullingAgent::start(&stand, &tenant, "GONE", &["--slow", "1000"]).await;
    let job = ask(&tenant, &repo).await;
    gone.does("begin").await;
    gone.remove(&tenant).await;
    gone.does("LOST").await;
    gone.does("end").await;
    let lost = format!("LOST {} AGENT_NOT_FOUND", job.id);
    assert!(gone.journal().contains(&lost), "{:?}", gone.journal());
    job.waits_for_an_agent().await;
    let words = silence(&job).await;
    assert!(words.contains("`GONE` was removed"), "{words}");
    assert_eq!(job.outcomes().await, ["failed"]);

    let next = PullingAgent::start(&stand, &tenant, "NEXT", &[]).await;
    job.reaches("completed").await;
    assert_eq!(agents_of(&job).await, ["GONE", "NEXT"]);
    assert_eq!(job.outcomes().await, ["failed", "completed"]);
    assert_eq!((gone.count("begin"), next.count("begin")), (1, 1));
}

pub async fn what_an_agent_works_on_outlives_the_worker(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::noticing_crashes()).await;
    let agent = PullingAgent::start(&stand, &tenant, "STEADY", &["--slow", "8"]).await;
    let job = ask(&tenant, &repo).await;
    agent.does("begin").await;
    stand.crash(async || {}).await;
    let done = job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    assert_eq!((agent.count("LEASE"), agent.count("begin")), (1, 1));
    assert_eq!(done["result"]["summary"], "files written: 2");
    assert!(job.diff().await.contains("+Read by the sample."));
    let log = job.log().await;
    assert!(log.contains("has the task already"), "{log}");
}

pub async fn a_stop_takes_the_task_from_its_agent(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = PullingAgent::start(&stand, &tenant, "SLOW", &["--slow", "1000"]).await;
    let job = ask(&tenant, &repo).await;
    agent.does("begin").await;
    let began = Instant::now();
    job.act("stop").await.expect(200);
    job.reaches("stopped").await;
    let took = began.elapsed();
    assert!(took < STOP_LIMIT, "it took {took:?}");
    agent.does("LOST").await;
    agent.does("end").await;
    let journal = agent.journal();
    let lost = format!("LOST {} TASK_CANCELLED", job.id);
    assert!(journal.contains(&lost), "{journal:?}");
}

/// The session named them, so no agent would do better, and none is to lose work by it: three such in a row would open its
/// breaker.
pub async fn files_that_cannot_be_handed_over_are_not_held_against_the_agent(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = PullingAgent::start(&stand, &tenant, "ABLE", &[]).await;
    for _ in 0..3 {
        let body = json!({
            "title": "routed", "capabilities": ["documentation"], "repository": {"path": repo.path()},
            "files": ["nowhere"],
        });
        let answer = tenant.api.post("/api/v1/sessions", &body).await.expect(201).json();
        let job = tenant.job(answer["id"].as_str().expect("an id"));
        let failed = job.reaches("failed").await;
        assert_eq!((&failed["error"]["code"], &failed["attempt"]), (&json!("EAP_FILES"), &json!(1)));
        assert_eq!(agents_of(&job).await, ["ABLE"]);
    }
    let shown = tenant.agent("ABLE").await;
    assert_eq!(shown["breaker"]["state"], "closed", "{shown}");
    let fares = (&shown["available"], &shown["tasks"], &shown["success_rate"]);
    assert_eq!(fares, (&json!(true), &json!(0), &json!(1.0)), "{shown}");
    assert_eq!(agent.count("LEASE"), 0, "it was never told of them");
    ask(&tenant, &repo).await.reaches("completed").await;
}

/// In the words of the command line and of the API: an agent that was chosen is told as much as one that is named.
pub async fn an_agent_that_was_chosen_is_handed_a_type_and_data(mode: Mode) {
    let (stand, tenant, repo) = own(mode, Plan::default()).await;
    let agent = PullingAgent::start(&stand, &tenant, "ABLE", &[]).await;
    let words = [
        "session", "run", "--can", "documentation", "--prompt", "Read by the sample.", "--task-type", "review",
        "--input-data", r#"{"depth": [2]}"#, "--as-tenant", &tenant.slug, "--detach",
    ];
    let said = Cli::run(&stand, &stand.admin_key(), &words).await.expect(0);
    let by_words = tenant.job(said.stdout.trim());
    let body = json!({
        "title": "routed", "prompt": "Read by the sample.", "capabilities": ["documentation"],
        "task_type": "review", "input_data": {"depth": [2]},
    });
    let answer = tenant.api.post("/api/v1/sessions", &body).await.expect(201).json();
    let by_body = tenant.job(answer["id"].as_str().expect("an id"));
    for job in [by_words, by_body] {
        let done = job.reaches("completed").await;
        assert_eq!(done["agent"]["route"]["task_type"], "review", "{done}");
        let output = output_of(&job).await;
        let told = (&output["task_type"], &output["input_data"]);
        assert_eq!(told, (&json!("review"), &json!({"depth": [2]})));
    }
    let plain = ask(&tenant, &repo).await;
    plain.reaches("completed").await;
    let output = output_of(&plain).await;
    assert_eq!((&output["task_type"], &output["input_data"]), (&json!("coding"), &json!({})));
    assert_eq!(agent.count("begin"), 3);
}
