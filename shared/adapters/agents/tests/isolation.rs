//! A run that means harm keeps it to itself, as far as this machine gives it; and a run that means none sees no
//! difference. What must hold depends on what the detection found, and is asserted either way.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test may panic as the test does, and says what it found"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adapter_agents::CommandAgent;
use adapter_agents::isolation::{Demand, Isolation, IsolationSetup, Limits};
use adapter_agents::output::OutputLimits;
use application::ports::{HandlerError, Interruption};
use common::{Run, environment, error_of, guard_command};
use domain::LogStream;

const MIB: u64 = 1024 * 1024;

struct Machine {
    isolation: Isolation,
    agent: CommandAgent,
}

impl Machine {
    fn with(change: impl FnOnce(&mut IsolationSetup)) -> Self {
        let environment = environment(&[], &[], &[]);
        let mut setup = IsolationSetup {
            path: environment.path().to_owned(),
            ..IsolationSetup::default()
        };
        change(&mut setup);
        let isolation = Isolation::detect(setup, false);
        let guard = guard_command().with_isolation(isolation.clone());
        let agent = CommandAgent::new(guard, environment, OutputLimits::default());
        Self { isolation, agent }
    }

    fn plain() -> Self {
        Self::with(|_| {})
    }

    fn gives(&self, name: &str) -> bool {
        let parts = self.isolation.parts();
        let part = parts.iter().find(|part| part.name == name);
        let part = part.unwrap_or_else(|| panic!("nothing is said about {name}"));
        eprintln!("{name}: {} ({})", part.works, part.finding);
        part.works
    }

    fn confines(&self) -> bool {
        self.gives("file system and processes")
    }
}

fn stdout(run: &Run) -> String {
    run.context.recorded().text(LogStream::Stdout)
}

#[tokio::test]
async fn a_run_that_means_no_harm_sees_no_difference() {
    let machine = Machine::plain();
    let run = Run::shell(
        "set -e; pwd; cat \"$ORCHESTRATOR_PROMPT_FILE\"; echo; echo x > file; echo y > ~/z; echo t > \"$TMPDIR/t\"
        echo t > /tmp/t; rm /tmp/t; echo '{\"checkpoint\":{\"at\":7}}' > \"$ORCHESTRATOR_PROGRESS\"
        (echo one; echo two) | sort -r; echo words >&2; : > /dev/null",
    );
    run.by(&machine.agent).await.unwrap();
    let place = run.directory().display();
    assert_eq!(stdout(&run), format!("{place}\ndo it\ntwo\none\n"));
    assert_eq!(run.context.recorded().text(LogStream::Stderr), "words\n");
    assert_eq!(run.context.recorded().checkpoints.len(), 1);
    assert_eq!(
        fs::read_to_string(run.directory().join("file")).unwrap(),
        "x\n"
    );
}

#[tokio::test]
async fn it_has_no_files_of_the_workers_and_cannot_look_into_its_guard() {
    let machine = Machine::plain();
    let run = Run::shell("ls /proc/self/fd | wc -l; readlink /proc/$PPID/exe || echo closed");
    run.by(&machine.agent).await.unwrap();
    let said = stdout(&run);
    // Whoever started this test may have left files open for all.
    let plain = Run::shell("ls /proc/self/fd | wc -l");
    plain.run().await.unwrap();
    assert!(said.starts_with(&stdout(&plain)), "{said}");
    if machine.confines() {
        assert!(said.ends_with("\nclosed\n"), "{said}");
    }
}

#[tokio::test]
async fn its_end_is_told_as_it_was() {
    let machine = Machine::plain();
    for (line, code) in [
        ("exit 3", "COMMAND_FAILED"),
        ("exit 75", "COMMAND_TRY_AGAIN"),
        ("kill -9 $$", "COMMAND_KILLED"),
        ("kill -SEGV $$", "COMMAND_KILLED"),
    ] {
        let result = Run::shell(line).by(&machine.agent).await;
        assert_eq!(error_of(result).code, code, "{line}");
    }
    let missing = Run::argv(&["no-such-program"]).by(&machine.agent).await;
    assert_eq!(error_of(missing).code, "COMMAND_NOT_FOUND");
}

#[tokio::test]
async fn a_stop_lets_it_wind_up() {
    let machine = Machine::plain();
    let run = Run::shell(
        "trap 'echo bye; exit 0' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.05; done",
    );
    let story = async {
        run.context
            .wait_until(|said| said.text(LogStream::Stdout).contains("ready\n"))
            .await;
        run.context.interrupt(Interruption::Stop);
    };
    let (result, ()) = tokio::join!(run.by(&machine.agent), story);
    assert!(
        matches!(result, Err(HandlerError::Interrupted(Interruption::Stop))),
        "{result:?}"
    );
    assert_eq!(stdout(&run), "ready\nbye\n");
    assert_eq!(marked(&run), 0);
}

#[tokio::test]
async fn nothing_is_written_outside_its_folders() {
    let machine = Machine::plain();
    let outside = tempfile::tempdir_in("/var").expect("these tests may write to /var");
    let target = outside.path().join("target");
    let run = Run::shell(&format!(
        "echo inside > inside; echo outside > {} || echo refused; echo k > /proc/sys/kernel/hostname || echo refused too",
        target.display()
    ));
    run.by(&machine.agent).await.unwrap();
    assert!(run.directory().join("inside").exists());
    if machine.confines() {
        assert_eq!(stdout(&run), "refused\nrefused too\n");
        assert!(!target.exists());
    } else {
        assert!(target.exists(), "nothing here keeps it from that");
    }
}

#[tokio::test]
async fn another_session_and_the_worker_are_not_seen() {
    let data = tempfile::tempdir_in("/var").expect("these tests may write to /var");
    let other = data.path().join("runs/other/tree");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("secret"), "of another").unwrap();
    let machine = Machine::with(|setup| setup.hidden = vec![data.path().to_owned()]);
    let run = Run::shell(&format!(
        "cat {0}/secret || echo unseen; ls /proc | grep -cx {1}; ls {2}",
        other.display(),
        std::process::id(),
        data.path().display()
    ));
    let _ = run.by(&machine.agent).await;
    let said = stdout(&run);
    if machine.confines() {
        assert_eq!(said, "unseen\n0\n");
    } else {
        assert_eq!(said, "of another1\nruns\n");
    }
}

#[tokio::test]
async fn a_daemon_does_not_stay() {
    let machine = Machine::plain();
    let run = Run::shell(
        "(setsid sh -c 'echo > a; exec sleep 1000' &) ; (setsid nohup sh -c '(echo > b; exec sleep 1000) & exit' >/dev/null 2>&1 &)
        env -i setsid sh -c 'echo > c; exec sleep 1000' & while [ ! -e a ] || [ ! -e b ] || [ ! -e c ]; do sleep 0.01; done",
    );
    run.by(&machine.agent).await.unwrap();
    assert_eq!(marked(&run), 0);
    let place = run.directory().to_owned();
    assert_eq!(
        working_in(&place),
        0,
        "one that has taken off its mark is alive"
    );
}

#[tokio::test]
async fn what_is_written_without_end_ends_the_run() {
    let limit = 8 * MIB;
    let machine = Machine::with(|setup| setup.limits.disk_bytes = Some(limit));
    assert!(machine.gives("disk"), "it takes nothing of the machine");
    // Files that are each within the limit, and one that is not.
    for line in [
        "n=0; while :; do n=$((n + 1)); head -c 1000000 /dev/zero > f$n; sleep 0.01; done",
        "head -c 100000000 /dev/zero > \"$TMPDIR/one\"; echo it ended >&2; exit 1",
    ] {
        let run = Run::shell(line);
        let error = error_of(run.by(&machine.agent).await);
        assert_eq!(error.code, "DISK_LIMIT", "{}", error.message);
        assert!(
            error.message.contains(&limit.to_string()),
            "{}",
            error.message
        );
        assert_eq!(marked(&run), 0);
    }
}

/// The number of processes in this story is limited by itself, so that it ends also where nothing else limits it.
#[tokio::test]
async fn one_that_forks_and_forks_is_held() {
    const LIMIT: u64 = 20;
    let machine = Machine::with(|setup| setup.limits.processes = Some(LIMIT));
    let run = Run::shell(
        "n=0; while [ $n -lt 60 ]; do n=$((n + 1)); sleep 1000 & done; echo all of them; exit 1",
    );
    let began = Instant::now();
    let error = error_of(run.by(&machine.agent).await);
    if machine.gives("processes") {
        assert!(!stdout(&run).contains("all of them"));
        // By control groups it is known what was refused; by the user's limit only the program knows.
        let by_user = machine
            .isolation
            .parts()
            .iter()
            .any(|it| it.finding.contains("RLIMIT_NPROC in"));
        let code = if by_user {
            "COMMAND_FAILED"
        } else {
            "PIDS_LIMIT"
        };
        assert_eq!(error.code, code, "{}", error.message);
        assert!(by_user || error.message.contains("20"), "{}", error.message);
    } else {
        assert!(stdout(&run).contains("all of them"));
        assert_eq!(error.code, "COMMAND_FAILED");
    }
    assert_eq!(marked(&run), 0, "cleaned up at any level");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn memory_without_end_is_refused() {
    let machine = Machine::with(|setup| {
        setup.limits = Limits {
            memory_bytes: Some(64 * MIB),
            ..Limits::default()
        };
    });
    // 200 MB in a shell's variable; far less than any machine has.
    let run = Run::shell("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}");
    let error = error_of(run.by(&machine.agent).await);
    let code = if machine.gives("memory") {
        "MEMORY_LIMIT"
    } else {
        "COMMAND_FAILED"
    };
    assert!(
        error.code == code || error.code == "COMMAND_KILLED",
        "{}: {}",
        error.code,
        error.message
    );
    assert!(!stdout(&run).contains("200000000"));
}

#[tokio::test]
async fn without_network_there_is_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo reached || echo alone");
    let with = Machine::plain();
    let run = Run::shell(&line);
    run.by(&with.agent).await.unwrap();
    assert_eq!(stdout(&run), "reached\n");
    let without = Machine::with(|setup| setup.without_network = true);
    if without.confines() {
        without.isolation.check().unwrap();
        let run = Run::shell(&line);
        run.by(&without.agent).await.unwrap();
        assert_eq!(stdout(&run), "alone\n");
    } else {
        without.isolation.check().unwrap_err();
    }
}

#[test]
fn what_is_required_and_missing_is_said() {
    let nowhere = |demand| {
        let setup = IsolationSetup {
            demand,
            path: "/nowhere".into(),
            ..IsolationSetup::default()
        };
        Isolation::detect(setup, false)
    };
    let error = nowhere(Demand::Required).check().unwrap_err().to_string();
    assert!(
        error.contains("bwrap") && error.contains("apt-get"),
        "{error}"
    );
    nowhere(Demand::Auto).check().unwrap();
    let none = nowhere(Demand::None);
    assert!(none.parts().is_empty() && none.level().starts_with("off"));
}

#[tokio::test]
async fn groups_of_dead_workers_are_swept_and_those_of_living_ones_are_not() {
    let machine = Machine::plain();
    let run = Run::shell("echo ready; while [ ! -e go ]; do sleep 0.02; done");
    let story = async {
        run.context
            .wait_until(|said| said.text(LogStream::Stdout).contains("ready\n"))
            .await;
        machine.isolation.sweep_groups();
        adapter_agents::isolation::sweep_processes();
        fs::write(run.directory().join("go"), "").unwrap();
    };
    let (result, ()) = tokio::join!(run.by(&machine.agent), story);
    result.unwrap();
    assert_eq!(
        machine.isolation.sweep_groups(),
        0,
        "its own group is gone with it"
    );
}

fn environments() -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        Some((entry.path(), environment))
    })
}

fn marked(run: &Run) -> usize {
    let mark = format!("ORCHESTRATOR_JOB_ID={}", run.task.job);
    environments()
        .filter(|(_, it)| {
            it.split(|&byte| byte == 0)
                .any(|line| line == mark.as_bytes())
        })
        .count()
}

fn working_in(place: &Path) -> usize {
    environments()
        .filter_map(|(process, _)| fs::read_link(process.join("cwd")).ok())
        .filter(|cwd| cwd.starts_with(place))
        .count()
}
