//! Sessions that name what an agent must be able to do, and the registered agents that do it.

use serde_json::{Value, json};

use crate::harness::{Cli, Job, Mode, PATIENCE, Plan, Quota, Stand, Tenant, eventually, lines_of};

const AGENTS: &str = "/api/v1/agents";
const SESSIONS: &str = "/api/v1/sessions";

async fn register(tenant: &Tenant, name: &str, line: &str, more: Value) -> String {
    let mut body = json!({
        "name": name, "agent": {"kind": "command", "run": line}, "capabilities": ["testing"], "capacity": 9,
    });
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    let made = tenant.api.post(AGENTS, &body).await.expect(201).json();
    made["id"].as_str().expect("an id").to_owned()
}

async fn session(tenant: &Tenant, more: Value) -> Job {
    let mut body = json!({"title": "routed", "capabilities": ["testing"], "max_duration_seconds": 60});
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    let made = tenant.api.post(SESSIONS, &body).await.expect(201).json();
    tenant.job(made["id"].as_str().expect("an id"))
}

async fn agent(tenant: &Tenant, name: &str) -> Value {
    tenant.api.get(&format!("{AGENTS}/{name}")).await.expect(200).json()
}

/// Who did the work, run by run.
async fn workers_of(job: &Job) -> Vec<String> {
    let attempts = job.attempts().await;
    let name = |attempt: &Value| attempt["agent"].as_str().unwrap_or("nobody").to_owned();
    attempts.iter().map(name).collect()
}

/// An agent of tier 4 that is free goes before one of tier 3, and after it when it is three quarters full: 0.4 for the tier
/// and 0.2 for the load, as the documentation says.
pub async fn agents_are_chosen_by_tier_and_load(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let gate = stand.scratch().join("gate");
    let line = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    register(&tenant, "high", &line, json!({"tier": 4, "capacity": 4})).await;
    register(&tenant, "middle", &line, json!({"tier": 3, "capacity": 4})).await;
    register(&tenant, "unable", &line, json!({"tier": 5, "capabilities": ["web"]})).await;
    let mut jobs = Vec::new();
    for (name, score) in [("high", 0.92), ("high", 0.87), ("middle", 0.84), ("high", 0.82)] {
        let asked = json!({"capabilities": ["testing"]});
        let routing = tenant.api.post("/api/v1/agents/route", &asked).await.expect(200).json();
        assert_eq!(routing["choice"]["name"], name, "{routing}");
        let told = routing["choice"]["score"].as_f64().expect("a number");
        assert!((told - score).abs() < 1e-9, "{routing}");
        assert_eq!(routing["alternatives"].as_array().expect("a list").len(), 1);
        let job = session(&tenant, json!({})).await;
        job.reaches("running").await;
        assert_eq!(workers_of(&job).await, [name]);
        jobs.push(job);
    }
    assert_eq!(agent(&tenant, "high").await["in_use"], 3);
    std::fs::write(&gate, "").expect("the gate opens");
    for job in &jobs {
        job.reaches("completed").await;
    }
    for (name, tasks) in [("high", 3), ("middle", 1)] {
        let shown = agent(&tenant, name).await;
        assert_eq!((&shown["in_use"], &shown["tasks"]), (&json!(0), &json!(tasks)), "{shown}");
    }
}

/// Each run counts those that run with it, at its beginning and at its end.
pub async fn an_agent_of_capacity_one_takes_one_of_twenty(mode: Mode) {
    let plan = Plan {
        workers: 3,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let quota = Quota {
        sessions: 50,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let scratch = stand.scratch();
    let line = format!(
        "cd {} && touch run.$$ && ls | grep -c '^run' >> counts && sleep 0.1 && ls | grep -c '^run' >> counts && rm run.$$",
        scratch.display()
    );
    register(&tenant, "single", &line, json!({"capacity": 1})).await;
    let body = json!({"sessions": vec![json!({"title": "one of twenty", "capabilities": ["testing"]}); 20]});
    let created = tenant.api.post("/api/v1/sessions/bulk", &body).await.expect(201).json();
    let ids: Vec<String> = serde_json::from_value(created["ids"].clone()).expect("ids");
    let last = tenant.job(&ids[19]);
    let why = eventually("the agent is taken", PATIENCE, async || {
        let why = last.why().await;
        why.contains(&"NO_AGENT".to_owned()).then_some(why)
    })
    .await;
    assert_eq!(why[0], "NO_AGENT", "the decisive first");
    for id in &ids {
        let job = tenant.job(id);
        job.reaches("completed").await;
        assert_eq!(workers_of(&job).await, ["single"], "no run was begun in vain");
    }
    assert_eq!(lines_of(&scratch.join("counts")), ["1"; 40], "each was alone");
}

/// Whoever wants no waiting is told at once; whoever waits is told why, and begins when an agent comes.
pub async fn a_session_waits_for_an_agent_or_is_refused(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let impatient = json!({"title": "now", "capabilities": ["testing"], "wait": false});
    let refused = tenant.api.post(SESSIONS, &impatient).await;
    refused.expect_problem(503, "AGENT_UNAVAILABLE");
    let patient = session(&tenant, json!({})).await;
    assert_eq!(patient.why().await, ["NO_AGENT"]);
    register(&tenant, "late", "true", json!({})).await;
    patient.reaches("completed").await;
    tenant.api.post(SESSIONS, &impatient).await.expect(201);
}

/// The agent of the highest tier fails every task: each session is done by the other one, with the first error kept. After
/// three failures, all seen by one worker, nobody is sent to it any more, also not by a worker that came later.
pub async fn an_agent_that_fails_is_left_alone_and_its_sessions_fail_over(mode: Mode) {
    let plan = Plan {
        workers: 1,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let first = stand.bring_worker_with("seat=one").await;
    register(&tenant, "broken", "echo no luck >&2; exit 3", json!({"tier": 5})).await;
    register(&tenant, "sound", "echo done", json!({"tier": 1})).await;
    for n in 0..3 {
        let job = session(&tenant, json!({"requires": {"seat": "one"}})).await;
        job.reaches("completed").await;
        assert_eq!(workers_of(&job).await, ["broken", "sound"], "session {n}");
        let attempts = job.attempts().await;
        assert_eq!(attempts[0]["worker_id"], first);
        assert_eq!(attempts[0]["outcome"], "failed");
        assert_eq!(attempts[0]["error"]["code"], "COMMAND_FAILED", "{attempts:?}");
        assert_eq!(attempts[1]["error"], Value::Null);
    }
    let shown = agent(&tenant, "broken").await;
    assert_eq!(shown["breaker"]["state"], "open", "{shown}");
    assert_eq!((&shown["available"], &shown["tasks"]), (&json!(false), &json!(3)));
    let second = stand.bring_worker_with("seat=two").await;
    let mut spared = Vec::new();
    for _ in 0..6 {
        spared.push(session(&tenant, json!({"requires": {"seat": "two"}})).await);
    }
    for job in &spared {
        job.reaches("completed").await;
        assert_eq!(workers_of(job).await, ["sound"]);
        assert_eq!(job.attempts().await[0]["worker_id"], second);
    }
}

/// Whoever submits chooses it, and nobody is to take an agent from others by it: three failures in a row would open its
/// breaker.
pub async fn a_time_limit_that_a_session_chose_is_not_held_against_its_agent(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    register(&tenant, "sleeper", "sleep 1000", json!({})).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(session(&tenant, json!({"max_duration_seconds": 1, "max_attempts": 1})).await);
    }
    for job in &jobs {
        job.reaches("timeout").await;
        assert_eq!(workers_of(job).await, ["sleeper"]);
    }
    let shown = agent(&tenant, "sleeper").await;
    assert_eq!(shown["breaker"]["state"], "closed", "{shown}");
    let fares = (&shown["available"], &shown["tasks"], &shown["success_rate"]);
    assert_eq!(fares, (&json!(true), &json!(0), &json!(1.0)), "{shown}");
}

/// What the only agent that suits fails for good is not given to it again, whatever attempts are left.
pub async fn a_session_that_its_only_agent_failed_is_not_tried_again(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    register(&tenant, "only", "echo no luck >&2; exit 3", json!({})).await;
    register(&tenant, "unable", "true", json!({"capabilities": ["web"]})).await;
    let job = session(&tenant, json!({"max_attempts": 3})).await;
    let failed = job.reaches("failed").await;
    assert_eq!(workers_of(&job).await, ["only"]);
    let error = &failed["error"];
    assert_eq!((&error["code"], &error["exit_code"]), (&json!("COMMAND_FAILED"), &json!(3)));
    let words = error["message"].as_str().expect("words");
    assert!(words.contains("no luck") || words.contains("exit code 3"), "{words}");
    assert!(words.contains("no other agent that suits"), "{words}");
    assert_eq!(agent(&tenant, "only").await["tasks"], 1);
    // What says that another run may go better is tried again with the same one.
    register(&tenant, "tired", "exit 75", json!({"capabilities": ["planning"]})).await;
    let job = session(&tenant, json!({"capabilities": ["planning"], "max_attempts": 2})).await;
    job.reaches("failed").await;
    assert_eq!(workers_of(&job).await, ["tired", "tired"]);
}

/// A check rates what an agent did; where there is none, the agent's own word counts, and where it says nothing, nothing.
pub async fn an_agent_is_rated_by_what_its_work_was_worth(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let mends = r#"[ -n "$ORCHESTRATOR_FEEDBACK" ] && echo fixed > state || echo broken > state"#;
    register(&tenant, "mender", mends, json!({})).await;
    assert_eq!(agent(&tenant, "mender").await["quality"], Value::Null);
    let verify = |run: &str| json!({"verify": {"run": run, "rounds": 1}});
    for (more, status, quality, then) in [
        (json!({}), "completed", Value::Null, Value::Null),
        (verify("grep -q fixed state"), "completed", json!(0.5), json!(0.5)),
        (json!({}), "completed", Value::Null, json!(0.5)),
        (verify("false"), "failed", json!(0.0), json!(0.45)),
        (verify("true"), "completed", json!(1.0), json!(0.505)),
    ] {
        let job = session(&tenant, more.clone()).await;
        let ended = job.reaches(status).await;
        assert_eq!(ended["result"]["quality"], quality, "{more}: {ended:#}");
        assert_eq!(rounded(&agent(&tenant, "mender").await["quality"]), then, "after {more}");
    }
    let shown = agent(&tenant, "mender").await;
    assert_eq!((&shown["success_rate"], &shown["tasks"]), (&json!(1.0), &json!(4)), "{shown}");

    let says = r#"echo '{"quality": 0.8, "confidence": 0.25}' > "$ORCHESTRATOR_OUTPUT""#;
    register(&tenant, "proud", says, json!({"capabilities": ["planning"]})).await;
    let asks = json!({"capabilities": ["planning"], "output_schema": {"type": "object"}});
    let job = session(&tenant, asks).await;
    let done = job.reaches("completed").await;
    let result = &done["result"];
    assert_eq!((&result["quality"], &result["confidence"]), (&json!(0.8), &json!(0.25)));
    assert_eq!(agent(&tenant, "proud").await["quality"], 0.8);

    let words = ["agent", "list", "--as-tenant", tenant.slug.as_str()];
    let listed = Cli::run(&stand, &stand.admin_key(), &words).await.expect(0).stdout;
    for (name, quality) in [("mender", "0.5"), ("proud", "0.80")] {
        let line = listed.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(quality)), "{listed}");
    }
}

fn rounded(number: &Value) -> Value {
    let number = number.as_f64().map(|it| (it * 1e9).round() / 1e9);
    json!(number)
}

/// While it is paused its agent works for others, and the pause says nothing of the agent.
pub async fn a_paused_session_gives_its_agent_back_and_goes_on(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let mark = stand.scratch().join("works");
    let line = format!(
        "[ -e .git ] || exit 0
        if [ -e half.txt ]; then echo rest > rest.txt; exit 0; fi
        echo half > half.txt; echo > {}; sleep 1000",
        mark.display()
    );
    register(&tenant, "single", &line, json!({"capacity": 1})).await;
    let job = session(&tenant, json!({"repository": {"path": repo.path()}})).await;
    eventually("it works", PATIENCE, async || mark.exists().then_some(())).await;
    let other = session(&tenant, json!({})).await;
    eventually("the agent is taken", PATIENCE, async || {
        other.why().await.contains(&"NO_AGENT".to_owned()).then_some(())
    })
    .await;
    job.act("pause").await.expect(200);
    job.reaches("paused").await;
    other.reaches("completed").await;
    let shown = agent(&tenant, "single").await;
    assert_eq!((&shown["in_use"], &shown["tasks"]), (&json!(0), &json!(1)), "{shown}");

    job.act("resume").await.expect(200);
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["paused", "completed"]);
    assert_eq!(workers_of(&job).await, ["single", "single"]);
    let diff = job.diff().await;
    assert!(diff.contains("+half") && diff.contains("+rest"), "{diff}");
    let shown = agent(&tenant, "single").await;
    assert_eq!((&shown["in_use"], &shown["tasks"]), (&json!(0), &json!(2)), "{shown}");
}
