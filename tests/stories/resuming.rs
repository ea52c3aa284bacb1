//! A session is paused while it runs, and goes on where it was; one that used up its budget pauses by itself.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Cli, MODEL_PATIENCE, Mode, OpenCodeStand, PATIENCE, Plan, Quota, Reply, Stand, eventually,
    is_alive, lines_of, number_in,
};

pub async fn a_paused_session_goes_on_with_its_changes(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 1,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let repo = stand.repo();
    let mark = stand.scratch().join("child");
    let line = format!(
        r#"if [ -n "$ORCHESTRATOR_CHECKPOINT" ]; then
               cat "$ORCHESTRATOR_CHECKPOINT"; cat half.txt; echo rest > rest.txt; exit 0
           fi
           echo half > half.txt; printf 'a\000b' > blob.bin; rm old.txt
           printf '{{"checkpoint": {{"at": 7}}}}\n' > "$ORCHESTRATOR_PROGRESS"
           setsid sleep 1000 & echo $! > {}; wait"#,
        mark.display()
    );
    let job = tenant.command_with(&line, json!({"repository": {"path": repo.path()}})).await;
    let child = eventually("it works", PATIENCE, async || number_in(&mark)).await;
    eventually("its checkpoint is kept", PATIENCE, async || {
        let list = job.part("checkpoints").await.expect(200).json();
        (list["items"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let problem = job.act("resume").await.expect_problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["stop", "pause"]));
    let asked = job.act("pause").await.expect(200).json();
    assert_eq!(asked["pause_requested"], true, "{asked:#}");
    job.act("pause").await;
    let paused = job.reaches("paused").await;
    assert!(!is_alive(child), "what it started outlived its pause");
    assert_eq!(
        (&paused["error"], &paused["finished_at"], &paused["failures"]),
        (&Value::Null, &Value::Null, &json!(0))
    );
    assert!(job.diff().await.contains("+half"));
    // Its slot is free, and the repository goes on meanwhile.
    tenant.echo().await.reaches("completed").await;
    repo.write("README", b"Quite another text.\n");
    repo.commit("meanwhile");

    let resumed = job.act("resume").await.expect(200).json();
    assert_eq!(resumed["status"], "queued");
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["paused", "completed"]);
    let log = job.log().await;
    assert!(log.contains("{\"at\":7}half\n"), "{log}");
    let diff = job.diff().await;
    for part in ["+half", "+rest", "deleted file", "GIT binary patch"] {
        assert!(diff.contains(part), "no `{part}` in {diff}");
    }
    assert!(!diff.contains("another text"), "it goes on from where it began: {diff}");
    let kinds = job.event_kinds().await;
    let expected = ["pause_requested", "paused", "queued", "started", "completed"];
    assert_eq!(kinds[kinds.len() - 5..], expected, "{kinds:?}");
}

pub async fn a_paused_session_can_be_stopped(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let mark = stand.scratch().join("child");
    let line = format!("echo $$ > {}; while :; do sleep 0.1; done", mark.display());
    let job = tenant.command(&line).await;
    eventually("it works", PATIENCE, async || number_in(&mark)).await;
    job.act("pause").await.expect(200);
    job.reaches("paused").await;
    let problem = job.act("pause").await.expect_problem(409, "INVALID_TRANSITION");
    assert_eq!(problem["allowed"], json!(["cancel", "stop", "resume"]));
    let stopped = job.act("stop").await.expect(200).json();
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(job.outcomes().await, ["paused"]);
}

/// Says that it has used ever more, from nothing on in each run.
const SPENDER: &str = r#"i=0
    while :; do
        i=$((i+10))
        printf '{"progress": {"data": {"input_tokens": %d, "cost": 0.5}}}\n' $i > "$ORCHESTRATOR_PROGRESS"
        sleep 0.05
    done"#;

pub async fn a_budget_pauses_or_stops_what_uses_too_much(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let stops = json!({"budget": {"tokens": 100, "on_limit": "stop"}});
    let job = tenant.command_with(SPENDER, stops).await;
    let stopped = job.reaches("stopped").await;
    assert_eq!(stopped["error"]["code"], "BUDGET_EXCEEDED", "{stopped:#}");
    assert_eq!(job.outcomes().await, ["stopped"]);
    job.act("retry").await.expect_problem(409, "BUDGET_EXCEEDED");

    let asks = json!({"budget": {"tokens": 100, "cost": 9.5}});
    let job = tenant.command_with(SPENDER, asks).await;
    let used = |job: &Value| job["progress"]["data"]["input_tokens"].as_u64().unwrap();
    let paused = job.reaches("paused").await;
    let words = paused["error"]["message"].as_str().unwrap();
    assert!(words.contains("of 100 tokens"), "{words}");
    assert_eq!(job.why().await, ["BUDGET_EXCEEDED"]);
    let before = used(&paused);
    assert!(before >= 100, "{paused:#}");
    // Granted once more: what both runs used counts.
    job.act("resume").await.expect(200);
    eventually("it goes on", PATIENCE, async || {
        (job.outcomes().await.len() == 2).then_some(())
    })
    .await;
    let again = job.reaches("paused").await;
    assert!(used(&again) >= 200 && used(&again) > before, "{again:#}");
    assert_eq!(job.outcomes().await, ["paused", "paused"]);
    job.act("stop").await.expect(200);

    let problem = json!({"title": "t", "agent": {"kind": "echo"}, "budget": {}});
    let problem = tenant.api.post("/api/v1/sessions", &problem).await;
    let problem = problem.expect_problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], "/budget");
}

/// Says that it has used 10 tokens and then 40, in each run from nothing on, and waits to be ended.
const USES_40: &str = r#"for used in 10 40; do
        printf '{"progress": {"data": {"input_tokens": %d}}}\n' $used > "$ORCHESTRATOR_PROGRESS"
    done
    sleep 1000"#;

pub async fn a_family_draws_on_one_budget(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let budget = json!({"budget": {"tokens": 100}});
    let root = tenant.command_with(USES_40, budget).await;
    let of_root = |job: &Value| job["progress"]["data"]["input_tokens"] == 40;
    eventually("the first has said so", PATIENCE, async || {
        of_root(&root.get().await).then_some(())
    })
    .await;
    let parent = root.get().await["id"].clone();
    let below = |more: Value| {
        let mut body = json!({"parent_id": parent});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    // A child that is held to less than its family.
    let small = tenant.command_with(USES_40, below(json!({"budget": {"tokens": 30}}))).await;
    let paused = small.reaches("paused").await;
    let words = paused["error"]["message"].as_str().unwrap();
    assert!(words.contains("the session's budget is used up: 40 of 30 tokens"), "{words}");
    // One that names none, and meets the family's with what the others used.
    let child = tenant.command_with(USES_40, below(json!({}))).await;
    let paused = child.reaches("paused").await;
    assert_eq!(paused["error"]["code"], "BUDGET_EXCEEDED", "{paused:#}");
    let words = paused["error"]["message"].as_str().unwrap();
    let named = format!("the budget of session {}", parent.as_str().unwrap());
    assert!(words.contains(&named) && words.contains("120 of 100 tokens"), "{words}");
    let offer = json!({"title": "late", "agent": {"kind": "echo"}, "parent_id": parent});
    let late = tenant.api.post("/api/v1/sessions", &offer).await;
    late.expect_problem(409, "BUDGET_EXCEEDED");
    // Granted once more: 80 are left, of which its second run takes 40.
    child.act("resume").await.expect(200);
    eventually("the child's runs have used 80", PATIENCE, async || {
        let used = child.get().await["progress"]["data"]["input_tokens"].clone();
        (used == 80).then_some(())
    })
    .await;
    tenant.api.post("/api/v1/sessions", &offer).await.expect(201);
    for job in [&child, &root] {
        job.act("stop").await.expect(200);
        job.reaches("stopped").await;
    }
}

pub async fn a_tenants_month_holds_all_its_sessions(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let tenant_path = format!("/api/v1/tenants/{}", tenant.id);
    let limit = async |tokens: Value| {
        let body = json!({ "monthly_tokens": tokens });
        let changed = stand.admin().patch(&tenant_path, &body).await;
        changed.expect(200).json()["this_month"].clone()
    };
    limit(json!(100)).await;
    let line = format!(
        r#"if [ -n "$ORCHESTRATOR_CHECKPOINT" ]; then exit 0; fi
           printf '{{"checkpoint": {{"at": 1}}}}\n' > "$ORCHESTRATOR_PROGRESS"
           {SPENDER}"#
    );
    let spender = tenant.command(&line).await;
    let paused = spender.reaches("paused").await;
    assert_eq!(paused["error"]["code"], "BUDGET_EXCEEDED", "{paused:#}");
    let words = paused["error"]["message"].as_str().unwrap();
    assert!(words.contains("the tenant's budget of the month"), "{words}");

    let waits = tenant.echo().await;
    eventually("it says why it waits", PATIENCE, async || {
        waits.why().await.contains(&"TENANT_BUDGET".to_owned()).then_some(())
    })
    .await;
    let other = stand.tenant().await;
    other.echo().await.reaches("completed").await;
    assert_eq!(waits.get().await["status"], "queued");
    let refused = spender.act("resume").await;
    refused.expect_problem(429, "TENANT_BUDGET_EXCEEDED");
    let month = tenant.api.get(&tenant_path).await.expect(200).json();
    let month = &month["this_month"];
    assert_eq!(month["used_up"], true, "{month}");
    assert!(month["tokens"].as_u64().unwrap() >= 100, "{month}");
    let asked = ["tenant", "get", &tenant.slug, "-o", "json"];
    let shown = Cli::run(&stand, &stand.admin_key(), &asked).await.expect(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(&shown["this_month"], month);

    // A raised limit lets go at once what waits.
    assert_eq!(limit(json!(1_000_000)).await["used_up"], false);
    waits.reaches("completed").await;
    spender.act("resume").await.expect(200);
    spender.reaches("completed").await;
}

pub async fn a_model_that_loops_is_held_by_its_budget(mode: Mode) {
    let small = Plan {
        workers: 1,
        ..Plan::default()
    };
    let own = OpenCodeStand::own(mode, small, json!({}), |question| {
        let shell = |line: &str| Reply::Tool("", "bash", json!({"command": line, "description": "x"}));
        if question.user_said("You were paused") {
            return Reply::Say("Now I am done.".to_owned());
        }
        match question.results() {
            0 => shell("echo once > ONCE"),
            _ => shell("true"),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let body = json!({
        "prompt": "Go round in circles.",
        "repository": {"path": repo.path()},
        "budget": {"steps": 6},
    });
    let job = tenant.session(json!({"kind": "opencode"}), body).await;
    let paused = job.reaches("paused").await;
    assert_eq!(paused["error"]["code"], "BUDGET_EXCEEDED", "{paused:#}");
    // A model needs seconds for an answer, this one none: on a busy machine it is asked on until the pause has come.
    let asked = own.model.questions().len();
    assert!((6..=60).contains(&asked), "it was asked {asked} times");
    let used = &paused["progress"]["data"];
    assert!(used["cost"].as_f64().unwrap() > 0.0);
    // What it was asked beyond that counts now, and not against what a resume grants. One may be cut off by the pause.
    let steps = usize::try_from(used["steps"].as_u64().unwrap()).unwrap();
    assert!(steps.abs_diff(asked) <= 1, "asked {asked} times: {used}");
    job.act("resume").await.expect(200);
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["summary"], "Now I am done.");
    assert_eq!(done["result"]["diff"]["files"], json!(["ONCE"]));
    let log = job.log().await;
    assert!(log.contains("goes on with session"), "{log}");
}

/// Paused here and resumed elsewhere, on machines that share nothing but the services and where files are kept.
pub async fn a_paused_session_goes_on_on_another_machine(mode: Mode) {
    let plan = Plan {
        workers: 1,
        ..Plan::default()
    };
    let stand = Stand::own(mode, plan).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let mark = stand.scratch().join("rounds");
    // Each run finds what those before left.
    let line = format!(
        r#"n=$(cat count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > count
        cat "${{ORCHESTRATOR_CHECKPOINT:-/dev/null}}"; pwd >> {mark}
        [ $n = 3 ] && exit 0
        printf '{{"checkpoint": {{"at": %d}}}}\n' $n > "$ORCHESTRATOR_PROGRESS"; sleep 1000"#,
        mark = mark.display()
    );
    let body = json!({"repository": {"path": repo.path()}, "verify": {"run": "grep -q 3 count"}});
    let job = tenant.command_with(&line, body).await;
    for pauses in 1..=2 {
        eventually("its checkpoint is kept", PATIENCE, async || {
            let list = job.part("checkpoints").await.expect(200).json();
            (list["items"].as_array()?.len() == pauses).then_some(())
        })
        .await;
        job.act("pause").await.expect(200);
        job.reaches("paused").await;
        if pauses == 1 {
            stand.move_to_another_machine(Signal::SIGTERM).await;
        } else {
            stand.move_to_the_first_machine(Signal::SIGTERM).await;
        }
        job.act("resume").await.expect(200);
    }
    let done = job.reaches("completed").await;
    assert_eq!(done["result"]["success"], true, "{done:#}");
    assert_eq!(job.outcomes().await, ["paused", "paused", "completed"]);
    let log = job.log().await;
    assert!(log.contains("{\"at\":1}") && log.contains("{\"at\":2}"), "{log}");
    assert!(job.diff().await.contains("+3"));
    let places = lines_of(&mark);
    let data = stand.data_dir().display().to_string();
    let first: Vec<bool> = places.iter().map(|it| it.starts_with(&data)).collect();
    assert_eq!(first, [true, false, true], "{places:?}");
}

/// The conversation goes along, there and back: the model knows what it did on either machine.
pub async fn a_paused_conversation_goes_on_on_another_machine(mode: Mode) {
    let small = Plan {
        workers: 1,
        ..Plan::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let marks = ["one", "two"].map(|name| folder.path().join(name));
    let told = marks.clone();
    let own = OpenCodeStand::own(mode, small, json!({}), move |_| {
        let waits = |mark: &Path, what: &str| {
            let line = format!("echo {what} > {what}; echo $$ > {}; sleep 1000", mark.display());
            Reply::Tool("", "bash", json!({"command": line, "description": "x"}))
        };
        match told.iter().position(|mark| !mark.exists()) {
            Some(0) => waits(&told[0], "ONE"),
            Some(_) => waits(&told[1], "TWO"),
            None => Reply::Say("Now I am done.".to_owned()),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let body = json!({"prompt": "Do both.", "repository": {"path": repo.path()}});
    let job = tenant.session(json!({"kind": "opencode"}), body).await;
    for (index, mark) in marks.iter().enumerate() {
        eventually("its command runs", MODEL_PATIENCE, async || number_in(mark)).await;
        job.act("pause").await.expect(200);
        job.reaches_within("paused", MODEL_PATIENCE).await;
        if index == 0 {
            own.stand.move_to_another_machine(Signal::SIGTERM).await;
        } else {
            own.stand.move_to_the_first_machine(Signal::SIGTERM).await;
        }
        job.act("resume").await.expect(200);
    }
    let done = job.reaches_within("completed", MODEL_PATIENCE).await;
    assert_eq!(job.outcomes().await, ["paused", "paused", "completed"]);
    assert_eq!(done["result"]["summary"], "Now I am done.");
    let mut files = done["result"]["diff"]["files"].as_array().unwrap().clone();
    files.sort_by_key(ToString::to_string);
    assert_eq!(files, ["ONE", "TWO"]);
    let last = own.model.questions().pop().unwrap();
    assert!(last.results() >= 2, "it was not told of both commands: {:?}", last.messages);
    let log = job.log().await;
    assert_eq!(log.matches("goes on with session").count(), 2, "{log}");
}
