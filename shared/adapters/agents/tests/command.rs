//! What a command's run shows, hands over, and means.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use adapter_agents::output::OutputLimits;
use adapter_agents::{CommandAgent, EchoAgent};
use application::ports::{Agent, HandlerError, Interruption};
use common::{Run, agent, environment, error_of, guard_command};
use domain::{AgentSpec, LogStream};
use serde_json::json;

#[tokio::test]
async fn output_is_seen_while_the_command_still_runs() {
    let run =
        Run::shell("echo first; echo oops >&2; printf 'ready? '; read answer < go; echo done");
    nix::unistd::mkfifo(&run.directory().join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let story = async {
        run.context
            .wait_until(|said| {
                said.text(LogStream::Stdout) == "first\nready? "
                    && said.text(LogStream::Stderr) == "oops\n"
            })
            .await;
        let go = run.directory().join("go");
        tokio::task::spawn_blocking(|| fs::write(go, "yes\n").unwrap())
            .await
            .unwrap();
    };
    let (report, ()) = tokio::join!(run.run(), story);
    let report = report.unwrap();
    assert_eq!(report.exit_code, Some(0));
    assert_eq!(report.summary.as_deref(), Some("ready? done"));
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "first\nready? done\n"
    );
}

#[tokio::test]
async fn exit_codes_are_decisions() {
    let failed = Run::shell("echo one >&2; echo the reason >&2; exit 3");
    let failed = failed.run().await.unwrap_err();
    let HandlerError::Fail(error) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(
        (error.code.as_str(), error.exit_code),
        ("COMMAND_FAILED", Some(3))
    );
    assert!(error.message.contains("one\nthe reason"), "{error}");

    let again = Run::shell("exit 75").run().await.unwrap_err();
    let HandlerError::Retry(error) = again else {
        panic!("{again:?}")
    };
    assert_eq!(
        (error.code.as_str(), error.exit_code),
        ("COMMAND_TRY_AGAIN", Some(75))
    );

    let killed = error_of(Run::shell("kill -SEGV $$").run().await);
    assert_eq!(killed.code, "COMMAND_KILLED");
    assert!(killed.message.contains("SIGSEGV"), "{killed}");

    let not_a_signal = error_of(Run::shell("exit 137").run().await);
    assert_eq!(
        (not_a_signal.code.as_str(), not_a_signal.exit_code),
        ("COMMAND_FAILED", Some(137))
    );

    let full = error_of(Run::shell("cat /etc/passwd > /dev/full").run().await);
    assert_eq!(full.code, "DISK_FULL");
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_says_why() {
    let missing = error_of(Run::argv(&["no-such-program-here"]).run().await);
    assert_eq!(missing.code, "COMMAND_NOT_FOUND");
    assert!(
        missing.message.contains("`no-such-program-here`"),
        "{missing}"
    );

    let run = Run::argv(&["./not-executable"]);
    let path = run.directory().join("not-executable");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = error_of(run.run().await);
    assert_eq!(refused.code, "COMMAND_NOT_STARTED");
    assert!(refused.message.contains("may not be executed"), "{refused}");

    let long = "x".repeat(200 * 1024);
    let too_long = error_of(Run::argv(&["true", &long]).run().await);
    assert_eq!(too_long.code, "COMMAND_NOT_STARTED");
    assert!(too_long.message.contains("too long"), "{too_long}");
}

#[tokio::test]
async fn arguments_arrive_as_they_were_given() {
    let run = Run::argv(&[
        "printf", "%s|", "--", "a b", "", "-x", "--help", "$HOME", "ünï",
    ]);
    run.run().await.unwrap();
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "--|a b||-x|--help|$HOME|ünï|"
    );
}

#[tokio::test]
async fn the_environment_is_scrubbed() {
    let more = [
        ("WORKER_SECRET", "do-not-tell"),
        ("MODEL_URL", "http://model"),
        ("LC_TIME", "C"),
    ];
    let agent = CommandAgent::new(
        guard_command(),
        environment(&more, &["MODEL_URL"], &[]),
        OutputLimits::default(),
    );
    let run = Run::argv(&["env"]);
    run.by(&agent).await.unwrap();
    let seen = run.context.recorded().text(LogStream::Stdout);
    let mut names: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.retain(|name| !name.starts_with("LC_") && !["LANG", "LANGUAGE", "TZ"].contains(name));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "HOME",
            "MODEL_URL",
            "ORCHESTRATOR_ATTEMPT",
            "ORCHESTRATOR_JOB_ID",
            "ORCHESTRATOR_PROGRESS",
            "ORCHESTRATOR_PROMPT",
            "ORCHESTRATOR_PROMPT_FILE",
            "ORCHESTRATOR_WORKER",
            "PATH",
            "TERM",
            "TMPDIR",
        ]
    );
    assert!(seen.contains(&format!("ORCHESTRATOR_JOB_ID={}\n", run.task.job)));
    assert!(seen.contains("LC_TIME=C\n") && seen.contains("TERM=dumb\n"));
    assert!(seen.contains(&format!(
        "HOME={}\n",
        run.folder.path().join("private/home").display()
    )));
}

#[tokio::test]
async fn the_command_has_no_input_and_no_files_of_ours() {
    let run = Run::shell("cat; ls /proc/self/fd | wc -l; touch \"$HOME/h\" \"$TMPDIR/t\"");
    run.run().await.unwrap();
    // Its three streams, the folder that ls itself reads, and what whoever started this test left open for all.
    let expected = 4 + left_open_for_children();
    let seen = run.context.recorded().text(LogStream::Stdout);
    assert_eq!(seen.trim(), expected.to_string());
    assert_eq!(fs::read_dir(run.directory()).unwrap().count(), 0);
}

/// Files of this process beyond the three streams that are not closed when it executes another program.
fn left_open_for_children() -> usize {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let open = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    open.filter(|entry| {
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        number > 2 && flags.is_some_and(|flags| flags & O_CLOEXEC == 0)
    })
    .count()
}

#[tokio::test]
async fn progress_and_checkpoints_come_through_the_pipe() {
    let run = Run::shell(
        r#"echo '{"progress":{"fraction":0.5,"message":"half","data":{"files":3}}}' > "$ORCHESTRATOR_PROGRESS"
        echo 'not json' >> "$ORCHESTRATOR_PROGRESS"
        echo '{"checkpoint":{"done":["a","b"]}}' >> "$ORCHESTRATOR_PROGRESS"
        printf '{"progress":{"fraction":7}}' > "$ORCHESTRATOR_PROGRESS""#,
    );
    run.run().await.unwrap();
    let said = run.context.recorded();
    assert_eq!(said.progress.len(), 1);
    assert_eq!(said.progress[0].fraction, Some(0.5));
    assert_eq!(said.progress[0].message.as_deref(), Some("half"));
    assert_eq!(said.progress[0].data["files"], 3);
    let log = said.text(LogStream::System);
    assert!(
        log.contains("`fraction` is 7 and must be from 0 to 1"),
        "{log}"
    );
    assert_eq!(said.checkpoints, [json!({"done": ["a", "b"]})]);
    assert!(said.text(LogStream::System).contains("not understood"));
    assert_eq!(said.text(LogStream::Stdout), "");
}

#[tokio::test]
async fn the_last_checkpoint_is_handed_back() {
    let line = r#"if [ -n "$ORCHESTRATOR_CHECKPOINT" ]; then cat "$ORCHESTRATOR_CHECKPOINT"; else echo none; fi"#;
    let first = Run::shell(line);
    first.run().await.unwrap();
    assert_eq!(first.context.recorded().text(LogStream::Stdout), "none\n");
    let second = Run::shell(line).with_checkpoint(json!({"step": 7}));
    second.run().await.unwrap();
    assert_eq!(
        second.context.recorded().text(LogStream::Stdout),
        "{\"step\":7}"
    );
}

#[tokio::test]
async fn a_long_prompt_is_handed_over_in_its_file() {
    let mut run =
        Run::shell("wc -c < \"$ORCHESTRATOR_PROMPT_FILE\"; echo \"${ORCHESTRATOR_PROMPT-unset}\"");
    run.task.prompt = "p".repeat(250_000);
    run.run().await.unwrap();
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "250000\nunset\n"
    );
}

#[tokio::test]
async fn secrets_do_not_reach_logs_or_errors() {
    let agent = agent(
        &[("DATABASE_URL", "postgres://secret-place")],
        &["DATABASE_URL"],
    );
    let run = Run::shell(
        "printf 'at postgres://sec'; sleep 0.5; echo ret-place; echo ghp_0123456789abcdefghijklmnop >&2; exit 1",
    );
    let error = error_of(run.by(&agent).await);
    let said = run.context.recorded();
    assert_eq!(said.text(LogStream::Stdout), "at [redacted]\n");
    assert_eq!(said.text(LogStream::Stderr), "[redacted]\n");
    assert!(!error.message.contains("0123456789"), "{error}");
}

#[tokio::test]
async fn a_run_that_prints_without_end_is_killed_and_its_log_stays_small() {
    let limits = OutputLimits {
        shown_bytes: 10_000,
        killed_bytes: 1_000_000,
    };
    let agent = CommandAgent::new(guard_command(), environment(&[], &[], &[]), limits);
    let run = Run::argv(&["yes"]);
    let error = error_of(run.by(&agent).await);
    assert_eq!(error.code, "OUTPUT_LIMIT");
    let said = run.context.recorded();
    assert_eq!(said.text(LogStream::Stdout).len(), 10_000);
    assert!(said.text(LogStream::System).contains("not kept"));
}

#[tokio::test]
async fn bytes_that_are_no_text_become_text() {
    let run = Run::shell(r"printf 'a\000b\377c\n'");
    run.run().await.unwrap();
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "a\u{fffd}b\u{fffd}c\n"
    );
}

#[tokio::test]
async fn the_echo_agent_answers_at_once() {
    let mut run = Run::shell("unused");
    run.task.agent = AgentSpec::ECHO;
    let report = EchoAgent
        .run(run.task.clone(), run.context.clone())
        .await
        .unwrap();
    assert_eq!(report.summary.as_deref(), Some("a story"));
    assert_eq!(
        run.context.recorded().text(LogStream::Stdout),
        "echo: a story\n"
    );
}

#[tokio::test]
async fn the_echo_agent_waits_as_long_as_it_is_told() {
    let mut run = Run::shell("unused");
    run.task.agent = AgentSpec::Echo { delay_seconds: 1 };
    let began = Instant::now();
    let report = EchoAgent.run(run.task.clone(), run.context.clone()).await;
    assert_eq!(report.unwrap().summary.as_deref(), Some("a story"));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_waiting_echo_agent_can_be_interrupted() {
    let mut run = Run::shell("unused");
    run.task.agent = AgentSpec::Echo {
        delay_seconds: 3600,
    };
    run.context.interrupt(Interruption::Stop);
    let answer = EchoAgent.run(run.task.clone(), run.context.clone());
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
    let error = answer.expect("long before the delay is over").unwrap_err();
    assert!(
        matches!(error, HandlerError::Interrupted(Interruption::Stop)),
        "{error:?}"
    );
    assert_eq!(run.context.recorded().text(LogStream::Stdout), "");
}
