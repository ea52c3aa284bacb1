//! External agents ask for their tasks, report, and hand over what they made.

use std::time::{Duration, Instant};

use application::ports::{Offered, TaskOffer, TaskWatch};
use axum::http::StatusCode;
use domain::{Job, Labels, RegisteredKind, RoutedOffer, TaskKey};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::Site;

const REGISTER: &str = "/api/v1/agents/external/register";
const OF: &str = "/api/v1/agents/external";
const NOBODY: &str = "0198c5a2-7e1b-7cc0-8000-0123456789ab";

struct Agent {
    id: String,
    token: String,
}

impl Agent {
    /// Registered, and heard of.
    async fn new(site: &Site, name: &str) -> Self {
        let body = json!({
            "protocol_version": "1.0", "name": name, "version": "1", "agent_type": "test",
            "capabilities": ["testing"], "max_concurrent_tasks": 1,
        });
        let made = site.post(REGISTER).key(&site.lead).json(&body).send().await;
        let made = made.json();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        let agent = Self {
            id: text("agent_id"),
            token: text("auth_token"),
        };
        let beat = json!({"status": "healthy", "current_load": 0, "tasks_in_progress": 0});
        let heard = agent.ask(site, "heartbeat", &beat).await;
        assert_eq!(heard.status, StatusCode::NO_CONTENT);
        agent
    }

    async fn ask(&self, site: &Site, what: &str, body: &Value) -> Answer {
        let path = format!("{OF}/{}/{what}", self.id);
        let ask = site.post(&path).no_key();
        ask.header("x-agent-token", &self.token)
            .json(body)
            .send()
            .await
    }

    async fn lease(&self, site: &Site) -> Answer {
        self.ask(site, "tasks/lease", &json!({})).await
    }
}

/// A session that runs with an agent, and its task, which the agent has.
struct Leased {
    agent: Agent,
    job: Job,
    lease: Value,
}

impl Leased {
    async fn new(site: &Site) -> Self {
        let agent = Agent::new(site, "EXT-1").await;
        let job = run(site).await;
        let offered = offer(site, &agent, &job).await;
        assert_eq!(offered, Offered::Anew);
        let answer = agent.lease(site).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let told = answer.json();
        assert_eq!(told["task"], json!({"task_id": job.id.to_string()}));
        assert_eq!(told["lease"]["renew_within"], 10);
        let lease = told["lease"]["id"].clone();
        Self { agent, job, lease }
    }

    async fn says(&self, site: &Site, what: &str, more: Value) -> Answer {
        let mut body = json!({"lease_id": self.lease});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        let what = format!("tasks/{}/{what}", self.job.id);
        self.agent.ask(site, &what, &body).await
    }
}

/// A session that was claimed with its agent.
async fn run(site: &Site) -> Job {
    let body = json!({"title": "routed", "capabilities": ["testing"]});
    let made = site.post("/api/v1/sessions").json(&body).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let worker = site.worker().await;
    let now = site.ports.clock.now();
    let offer = RoutedOffer {
        kinds: vec![RegisteredKind::External],
        labels: Labels::default(),
        most: 1,
        by_lot: false,
    };
    let claimed = site.ports.agents.claim_routed(worker, offer, now);
    let jobs = claimed.await.unwrap().jobs;
    jobs.into_iter().next().expect("a session")
}

fn watch(agent: &Agent, job: &Job) -> TaskWatch {
    TaskWatch {
        tenant: job.tenant,
        key: TaskKey {
            job: job.id,
            round: 0,
        },
        agent: agent.id.parse().unwrap(),
        fence: job.fence,
    }
}

async fn offer(site: &Site, agent: &Agent, job: &Job) -> Offered {
    let watch = watch(agent, job);
    let body = json!({"task_id": watch.key.to_string()}).to_string();
    let offer = TaskOffer {
        watch,
        attempt: job.attempt,
        body,
    };
    let tasks = &site.ports.agent_tasks;
    tasks
        .offer_task(offer, site.ports.clock.now())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_task_is_had_reported_and_handed_over() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let empty = leased.agent.lease(&site).await;
    assert_eq!(empty.status, StatusCode::NO_CONTENT, "it is had once");
    let report = json!({
        "progress": {"fraction": 0.5, "message": "half", "data": {"files": 3}},
        "tokens_used": 10, "input_tokens": 7, "cost_usd": 0.5, "of_a_later_version": true,
    });
    let renewed = leased.says(&site, "progress", report).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
    assert_eq!(renewed.json()["lease"]["id"], leased.lease);
    let bare = leased.says(&site, "progress", json!({})).await;
    assert_eq!(bare.status, StatusCode::OK, "{}", bare.text());
    let result = || json!({"status": "completed", "artifacts": [{"path": "a", "content": "b"}]});
    for _ in 0..2 {
        let ended = leased.says(&site, "result", result()).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text());
    }
    let late = leased.says(&site, "progress", json!({})).await;
    late.problem(409, "TASK_LEASE_LOST");
}

/// Nowhere: whoever reads the store or a backup of it could speak as the agent.
#[tokio::test]
async fn an_agents_own_token_is_not_kept() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let token = &leased.agent.token;
    // At the length where messages are cut.
    let message = format!("{}{token}", "x".repeat(1980));
    let progress = json!({"message": message, "data": {"header": [token], "seen": 3}});
    let reported = leased.says(&site, "progress", json!({"progress": progress}));
    assert_eq!(reported.await.status, StatusCode::OK);
    let result = json!({
        "status": "failed", "error_message": format!("nobody takes {token}"), "output_data": {"told": token},
        "artifacts": [{"path": "token.txt", "content": token}],
    });
    let ended = leased.says(&site, "result", result).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text());
    let watch = watch(&leased.agent, &leased.job);
    let kept = site.ports.agent_tasks.watch_task(watch).await.unwrap();
    let kept = kept.expect("it is kept for its run");
    let said = kept.words.progress.as_ref().expect("it was said");
    assert_eq!(
        json!(said.data),
        json!({"header": ["[redacted]"], "seen": 3})
    );
    let kept = format!("{kept:?}");
    assert!(kept.contains("nobody takes [redacted]"), "{kept}");
    assert!(!kept.contains(&token[..10]), "{kept}");
}

#[tokio::test]
async fn only_the_agent_itself_has_its_tasks() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let result = json!({"lease_id": leased.lease, "status": "completed"});
    let task = format!("tasks/{}", leased.job.id);
    let whats = [
        ("tasks/lease".to_owned(), json!({})),
        (
            format!("{task}/progress"),
            json!({"lease_id": leased.lease}),
        ),
        (format!("{task}/result"), result),
    ];
    let other = Agent::new(&site, "EXT-2").await;
    for (what, body) in &whats {
        let thief = Agent {
            id: leased.agent.id.clone(),
            token: other.token.clone(),
        };
        let wrong = thief.ask(&site, what, body).await;
        wrong.problem(401, "UNAUTHENTICATED");
        let path = format!("{OF}/{}/{what}", leased.agent.id);
        let keyed = site.post(&path).key(&site.admin).json(body).send().await;
        keyed.problem(401, "UNAUTHENTICATED");
        let nobody = Agent {
            id: NOBODY.to_owned(),
            token: other.token.clone(),
        };
        let unknown = nobody.ask(&site, what, body).await;
        unknown.problem(404, "AGENT_NOT_FOUND");
    }
    for (what, body) in &whats[1..] {
        let others = other.ask(&site, what, body).await;
        others.problem(404, "TASK_NOT_FOUND");
    }
    for task in ["x", NOBODY] {
        let what = format!("tasks/{task}/progress");
        let body = json!({"lease_id": leased.lease});
        let unknown = leased.agent.ask(&site, &what, &body).await;
        unknown.problem(404, "TASK_NOT_FOUND");
    }
    let still = leased.says(&site, "progress", json!({})).await;
    assert_eq!(still.status, StatusCode::OK, "{}", still.text());
}

#[tokio::test]
async fn what_was_taken_away_is_refused() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let stop = format!("/api/v1/sessions/{}/stop", leased.job.id);
    let stopped = site.post(&stop).send().await;
    assert_eq!(stopped.status, StatusCode::OK, "{}", stopped.text());
    let done = json!({"status": "completed"});
    for (what, more) in [("progress", json!({})), ("result", done)] {
        let told = leased.says(&site, what, more).await;
        told.problem(409, "TASK_CANCELLED");
    }
}

#[tokio::test]
async fn a_lease_of_somebody_else_is_refused() {
    let site = Site::start().await;
    let mut leased = Leased::new(&site).await;
    leased.lease = json!(NOBODY);
    for (what, more) in [
        ("progress", json!({})),
        ("result", json!({"status": "failed"})),
    ] {
        let told = leased.says(&site, what, more).await;
        told.problem(409, "TASK_LEASE_LOST");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_said() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let asked = json!({"wait_seconds": 31});
    let wait = leased.agent.ask(&site, "tasks/lease", &asked).await;
    wait.invalid_at("/wait_seconds");
    let asked = json!({"seconds": 1});
    let unknown = leased.agent.ask(&site, "tasks/lease", &asked).await;
    unknown.invalid_at("/seconds");
    for (more, place) in [
        (json!({"cost_usd": -1}), "/cost_usd"),
        (json!({"cost_usd": 1e300}), "/cost_usd"),
        (json!({"tokens_used": u64::MAX}), "/tokens_used"),
        (json!({"tokens_used": -1}), "/tokens_used"),
        (
            json!({"tokens_used": 10, "input_tokens": 11}),
            "/input_tokens",
        ),
        (json!({"input_tokens": 1}), "/input_tokens"),
        (json!({"progress": {"fraction": 7}}), "/progress/fraction"),
        (
            json!({"progress": {"fraction": -0.1}}),
            "/progress/fraction",
        ),
        (
            json!({"progress": {"data": {"a": "\u{0}"}}}),
            "/progress/data/a",
        ),
        (
            json!({"progress": {"data": {"a": "x".repeat(17 * 1024)}}}),
            "/progress/data",
        ),
        (json!({"lease_id": 7}), "/lease_id"),
    ] {
        leased.says(&site, "progress", more).await.invalid_at(place);
    }
    for (more, place) in [
        (json!({}), "/status"),
        (json!({"status": "done"}), "/status"),
        (json!({"status": "failed", "cost_usd": -1}), "/cost_usd"),
        (
            json!({"status": "failed", "cost_usd": 1.7e308}),
            "/cost_usd",
        ),
        (
            json!({"status": "failed", "tokens_used": u64::MAX}),
            "/tokens_used",
        ),
        (
            json!({"status": "failed", "tokens_used": 10, "input_tokens": 11}),
            "/input_tokens",
        ),
        (
            json!({"status": "failed", "execution_time_ms": -1}),
            "/execution_time_ms",
        ),
        (json!({"status": "failed", "task_id": NOBODY}), "/task_id"),
        (
            json!({"status": "completed", "artifacts": [{"path": "a"}]}),
            "/artifacts/0/content",
        ),
    ] {
        leased.says(&site, "result", more).await.invalid_at(place);
    }
    let large = json!({"status": "completed", "error_message": "x".repeat(4 * 1024 * 1024)});
    let refused = leased.says(&site, "result", large).await;
    refused.problem(413, "BODY_TOO_LARGE");
    let fits = json!({"status": "completed", "error_message": "x".repeat(3 * 1024 * 1024)});
    let taken = leased.says(&site, "result", fits).await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT, "{}", taken.text());
}

/// The task goes on: the agent can hand over the same with a better path.
#[tokio::test]
async fn a_file_that_leads_out_of_the_worktree_is_refused_at_once() {
    let site = Site::start().await;
    let leased = Leased::new(&site).await;
    let with =
        |path: &str| json!({"status": "completed", "artifacts": [{"path": path, "content": "x"}]});
    for path in ["../a", "/a", ".git/config", ""] {
        let refused = leased.says(&site, "result", with(path)).await;
        refused.invalid_at("/artifacts/0/path");
    }
    let taken = leased.says(&site, "result", with("a")).await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT, "{}", taken.text());
}

#[tokio::test]
async fn who_waits_is_told_as_soon_as_there_is_a_task() {
    let site = Site::start().await;
    let agent = Agent::new(&site, "EXT-1").await;
    let job = run(&site).await;
    let began = Instant::now();
    let asked = json!({"wait_seconds": 20});
    let waits = agent.ask(&site, "tasks/lease", &asked);
    let (answer, offered) = tokio::join!(waits, offer(&site, &agent, &job));
    assert_eq!(offered, Offered::Anew);
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(began.elapsed() < Duration::from_secs(20));
    // Nobody waits for a server that leaves.
    site.draining.cancel();
    let left = agent.ask(&site, "tasks/lease", &asked).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT, "{}", left.text());
    assert!(began.elapsed() < Duration::from_secs(20));
}
