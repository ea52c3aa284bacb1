//! A model works, by way of the real OpenCode; the model itself is played by the story.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    INPUT_TOKENS, Job, KEY, MODEL_PATIENCE, Mode, OUTPUT_TOKENS, OpenCodeStand, Plan, Question,
    Quota, Reply, Tenant, eventually, is_alive, number_in,
};

/// An abort takes a tenth of a second; the rest is a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// As well as this machine can.
fn isolated() -> Plan {
    let isolation = ("ORCHESTRATOR_ISOLATION".to_owned(), "auto".to_owned());
    Plan {
        variables: vec![isolation],
        ..small()
    }
}

pub(crate) fn small() -> Plan {
    Plan {
        workers: 1,
        ..Plan::default()
    }
}

pub(crate) async fn ask(tenant: &Tenant, repo: &Path, more: Value) -> Job {
    let mut body = json!({
        "prompt": "Write a greeting into HELLO.txt.",
        "repository": {"path": repo},
        "max_duration_seconds": 600,
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    tenant.session(json!({"kind": "opencode"}), body).await
}

pub(crate) fn write_hello(text: &'static str) -> Reply {
    let file = json!({"filePath": "HELLO.txt", "content": "Hello, model!\n"});
    Reply::Tool(text, "write", file)
}

pub(crate) fn shell(text: &'static str, line: &str) -> Reply {
    Reply::Tool(
        text,
        "bash",
        json!({"command": line, "description": "a command"}),
    )
}

pub async fn a_model_edits_a_repository_while_it_is_watched(mode: Mode) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let own = OpenCodeStand::own(mode, isolated(), json!({}), move |question| {
        match question.results() {
            0 => write_hello("I will write it."),
            // Until the story has seen the first part in the log.
            _ if !gate.load(Ordering::SeqCst) => shell("", "sleep 0.2"),
            _ => Reply::Say(format!("Written, with {KEY}.")),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let before = repo.fingerprint();
    let job = ask(&tenant, repo.path(), json!({})).await;

    eventually(
        "the log shows the work while it goes on",
        MODEL_PATIENCE,
        async || {
            let log = job.log().await;
            (log.contains("I will write it.\nwrite: HELLO.txt\nwrite: done\n")).then_some(())
        },
    )
    .await;
    assert_eq!(job.get().await["status"], "running");
    let progress = eventually("progress is shown", MODEL_PATIENCE, async || {
        let data = job.get().await["progress"]["data"].clone();
        (data["input_tokens"].as_u64()? >= INPUT_TOKENS).then_some(data)
    })
    .await;
    assert!(progress["cost"].as_f64().unwrap() > 0.0, "{progress}");
    open.store(true, Ordering::SeqCst);

    let done = job.reaches_within("completed", MODEL_PATIENCE).await;
    let diff = job.diff().await;
    assert!(
        diff.contains("+++ b/HELLO.txt") && diff.contains("+Hello, model!"),
        "{diff}"
    );
    assert_eq!(done["result"]["diff"]["files"], json!(["HELLO.txt"]));
    assert_eq!(repo.fingerprint(), before);

    let answers = own.model.questions().len() as u64;
    let usage = &done["result"]["usage"];
    assert_eq!(usage["input_tokens"], answers * INPUT_TOKENS);
    assert_eq!(usage["output_tokens"], answers * OUTPUT_TOKENS);
    // By the prices of the stand's configuration, in millionths.
    let millionths = (INPUT_TOKENS * 3 + OUTPUT_TOKENS * 15) * answers;
    let cost = usage["cost"].as_f64().unwrap();
    assert_eq!(format!("{cost:.6}"), format!("0.{millionths:06}"));

    assert_eq!(done["result"]["summary"], "Written, with [redacted].");
    let log = job.log().await;
    assert!(log.contains("Written, with [redacted]."), "{log}");
    for question in own.model.questions() {
        assert_eq!(question.key, format!("Bearer {KEY}"));
    }
    for text in own
        .stand
        .logs()
        .into_iter()
        .map(|(_, text)| text)
        .chain([log, done.to_string()])
    {
        assert!(!text.contains(KEY), "the key is shown: {text}");
    }
    let kept = own.stand.data_dir().join("work/opencode");
    let left = std::fs::read_dir(kept).unwrap().count();
    assert_eq!(left, 0, "the conversation is over and is still kept");
}

/// What it started has an id that stands in `file`.
pub(crate) fn start_child(file: &Path) -> Reply {
    let file = file.display();
    shell(
        "It will take a while.",
        &format!("setsid sleep 1000 & echo $! > {file}; wait"),
    )
}

pub async fn a_stop_ends_a_model_and_all_that_it_started(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("child");
    let child = mark.clone();
    let own = OpenCodeStand::own(mode, small(), json!({}), move |question| {
        if question.user_said("talk") {
            return Reply::Forever;
        }
        match question.results() {
            0 => write_hello("First this."),
            _ => start_child(&child),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();

    let working = ask(&tenant, repo.path(), json!({})).await;
    let pid = eventually("its command runs", MODEL_PATIENCE, async || {
        number_in(&mark)
    })
    .await;
    stop(&working).await;
    assert!(!is_alive(pid), "its command is still alive");
    // What it did until then is not lost.
    assert!(working.diff().await.contains("+Hello, model!"));

    let talking = ask(&tenant, repo.path(), json!({"prompt": "talk"})).await;
    eventually("it talks", MODEL_PATIENCE, async || {
        talking.log().await.contains("word 9\n").then_some(())
    })
    .await;
    stop(&talking).await;
}

async fn stop(job: &Job) {
    let began = Instant::now();
    job.act("stop").await.expect(200);
    job.reaches_within("stopped", MODEL_PATIENCE).await;
    let took = began.elapsed();
    eprintln!("stopped after {took:?}");
    assert!(took < STOP_LIMIT, "it took {took:?}");
}

pub async fn what_rules_deny_is_not_done_and_is_told(mode: Mode) {
    // The operator wants to be asked, and nobody is there.
    let operator = json!({"webfetch": "ask", "bash": {"cat *": "deny"}});
    let own = OpenCodeStand::own(mode, small(), operator, |question| {
        match question.results() {
            0 => shell("I tidy up.", "rm README"),
            1 => shell("I look.", "cat README"),
            2 => Reply::Tool(
                "I ask.",
                "webfetch",
                json!({"url": "http://127.0.0.1:9/", "format": "text"}),
            ),
            3 => write_hello("I write."),
            _ => Reply::Say("I may not.".to_owned()),
        }
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let rules = json!([
        {"permission": "bash", "pattern": "rm *", "action": "deny"},
        {"permission": "bash", "pattern": "cat *", "action": "allow"},
        // The tool's name, as people write it; OpenCode asks for `edit`.
        {"permission": "Write", "pattern": "*.txt", "action": "deny"},
        {"permission": "nosuch", "pattern": "*", "action": "deny"},
    ]);
    let agent = json!({"kind": "opencode", "model": "local/m", "permissions": rules});
    let job = ask(&tenant, repo.path(), json!({"agent": agent})).await;
    let done = job.reaches_within("completed", MODEL_PATIENCE).await;
    assert_eq!(done["agent"]["permissions"], rules);
    assert_eq!(done["result"]["diff"]["files"], json!([]));
    let log = job.log().await;
    let denied = "denied by the rules of the session or its worker";
    for words in [
        &format!("bash: rm README\nbash: {denied}\n"),
        &format!("bash: cat README\nbash: {denied}\n"),
        "webfetch: denied, since no rule allows it: http://127.0.0.1:9/",
        &format!("write: HELLO.txt\nwrite: {denied}\n"),
        "the rule for `nosuch` holds for tools of that very name only",
    ] {
        assert!(log.contains(words), "no `{words}` in {log}");
    }
    let last = own.model.questions().pop().unwrap();
    assert_eq!(last.results(), 4, "the model was not told of all refusals");
}

pub async fn a_provider_that_refuses_fails_the_session_with_its_words(mode: Mode) {
    let own = OpenCodeStand::own(mode, small(), json!({}), |_| {
        Reply::Refuse(401, format!("the key {KEY} is not known"))
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let failed = ask(&tenant, repo.path(), json!({}))
        .await
        .reaches_within("failed", MODEL_PATIENCE)
        .await;
    assert_eq!(failed["attempt"], 1);
    assert_eq!(failed["error"]["code"], "PROVIDER_REFUSED");
    let words = failed["error"]["message"].as_str().unwrap();
    assert!(
        words.contains("answered 401: the key [redacted] is not known"),
        "{words}"
    );

    let unknown = json!({"agent": {"kind": "opencode", "model": "local/other"}});
    let failed = ask(&tenant, repo.path(), unknown)
        .await
        .reaches_within("failed", MODEL_PATIENCE)
        .await;
    assert_eq!(failed["error"]["code"], "MODEL_UNKNOWN");
    let words = failed["error"]["message"].as_str().unwrap();
    assert!(
        words.contains("local/other") && words.contains("local/m"),
        "{words}"
    );
}

pub async fn a_provider_that_is_down_is_not_asked_for_ever(mode: Mode) {
    let own = OpenCodeStand::own(mode, small(), json!({}), |_| {
        Reply::Refuse(500, "out of order".to_owned())
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({"max_attempts": 1})).await;
    // OpenCode itself waits 2, 4, 8 and 16 seconds.
    let failed = job.reaches_within("failed", MODEL_PATIENCE).await;
    assert_eq!(failed["error"]["code"], "PROVIDER_UNAVAILABLE");
    let log = job.log().await;
    assert!(
        log.contains("the provider failed, try 1 of 5: out of order"),
        "{log}"
    );
    assert_eq!(own.model.questions().len(), 5);
}

/// Something is at the provider's address, and it is no model.
pub async fn what_answers_with_nothing_is_not_asked_for_ever(mode: Mode) {
    let own = OpenCodeStand::own(mode, small(), json!({}), |_| {
        Reply::Refuse(200, "Welcome to our home page".to_owned())
    })
    .await;
    let tenant = own.stand.tenant().await;
    let repo = own.stand.repo();
    let job = ask(&tenant, repo.path(), json!({"max_attempts": 1})).await;
    let failed = job.reaches_within("failed", MODEL_PATIENCE).await;
    assert_eq!(failed["error"]["code"], "PROVIDER_UNAVAILABLE", "{failed}");
    let asked = own.model.questions().len();
    assert!((10..=30).contains(&asked), "it was asked {asked} times");
}

/// Each by the key of its own account: what a session names, else its tenant's own, else what is for all.
pub async fn each_tenant_works_by_its_own_providers(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    let [own_file, open_file] = ["own", "open"].map(|name| folder.path().join(name));
    let mut plan = small();
    plan.config = format!(
        "[providers.own]\nfile = \"{}\"\ntenants = [\"owner\"]\n[providers.open]\nfile = \"{}\"\n",
        own_file.display(),
        open_file.display()
    );
    let done = |_: &Question| Reply::Say("done".to_owned());
    let own = OpenCodeStand::own(mode, plan, json!({}), done).await;
    own.write_providers(&own_file, "key-of-the-owner");
    own.write_providers(&open_file, "key-for-who-asks");
    let owner = Tenant::named(&own.stand.admin(), "owner".to_owned(), Quota::default()).await;
    let other = own.stand.tenant().await;
    let repo = own.stand.repo();
    let with = |providers: Option<&str>| match providers {
        Some(name) => json!({"agent": {"kind": "opencode", "providers": name}}),
        None => json!({}),
    };
    for (tenant, providers, key) in [
        (&owner, None, "key-of-the-owner"),
        (&owner, Some("open"), "key-for-who-asks"),
        (&other, None, KEY),
        (&other, Some("open"), "key-for-who-asks"),
    ] {
        let before = own.model.questions().len();
        ask(tenant, repo.path(), with(providers))
            .await
            .reaches_within("completed", MODEL_PATIENCE)
            .await;
        for question in &own.model.questions()[before..] {
            assert_eq!(question.key, format!("Bearer {key}"), "{providers:?}");
        }
    }
    let asked = own.model.questions().len();
    // That it is there is nothing to others: the answer is the same.
    for name in ["own", "none"] {
        let failed = ask(&other, repo.path(), with(Some(name)))
            .await
            .reaches_within("failed", MODEL_PATIENCE)
            .await;
        assert_eq!(failed["error"]["code"], "OPENCODE_NOT_CONFIGURED");
        let words = failed["error"]["message"].as_str().unwrap();
        assert!(
            words.starts_with(&format!("the worker has no providers `{name}` for this tenant")),
            "{words}"
        );
    }
    assert_eq!(own.model.questions().len(), asked);
}
