//! Sessions that mean harm: contained as far as this machine can, cleaned up always, and named in the session's error.
//! What must hold is what `doctor` says of this machine; where it says that something is missing, the harm is expected.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Cli, Job, Mode, PATIENCE, Plan, Stand, Tenant, eventually, lines_of};

const MIB: u64 = 1024 * 1024;
/// Far from what a machine can bear, near to what these sessions do.
const PROCESSES: u32 = 30;
const DISK_BYTES: u64 = 16 * MIB;
const MEMORY_BYTES: u64 = 96 * MIB;

/// An installation that isolates as well as the machine allows, and what it says of that.
struct Isolated {
    stand: Stand,
    found: Value,
}

impl Isolated {
    async fn new(mode: Mode) -> Self {
        Self::with(mode, Plan::default()).await
    }

    async fn with(mode: Mode, plan: Plan) -> Self {
        let variables = [
            ("ORCHESTRATOR_ISOLATION", "auto".to_owned()),
            ("ORCHESTRATOR_PIDS_LIMIT", PROCESSES.to_string()),
            ("ORCHESTRATOR_DISK_LIMIT_BYTES", DISK_BYTES.to_string()),
            ("ORCHESTRATOR_MEMORY_LIMIT_BYTES", MEMORY_BYTES.to_string()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let plan = Plan {
            variables: variables.to_vec(),
            ..plan
        };
        let stand = Stand::own(mode, plan).await;
        let data_dir = stand.data_dir().display().to_string();
        let arguments = ["doctor", "-o", "json", "--data-dir", &data_dir];
        let said = Cli::operator(&stand, &arguments).await.expect(0).stdout;
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let found = said["isolation"].clone();
        eprintln!("doctor: {found}");
        Self { stand, found }
    }

    fn part(&self, name: &str) -> &Value {
        let parts = self.found["parts"].as_array().expect("a list");
        let part = parts.iter().find(|part| part["name"] == name);
        part.unwrap_or_else(|| panic!("doctor says nothing of {name}: {}", self.found))
    }

    fn gives(&self, name: &str) -> bool {
        self.part(name)["works"].as_bool().expect("yes or no")
    }

    fn confines(&self) -> bool {
        self.gives("file system and processes")
    }

    /// Of the first run of a session.
    fn worktree(&self, job: &Job) -> PathBuf {
        self.runs().join(format!("{}-1/tree", job.id))
    }

    fn runs(&self) -> PathBuf {
        self.stand.data_dir().join("work/runs")
    }

    /// Neither a process nor a folder nor a control group is left of it.
    async fn is_cleaned_up(&self, job: &Job) {
        let worktree = self.worktree(job);
        let folder = worktree.parent().expect("it lies in the run's folder");
        eventually("its folder is gone", PATIENCE, async || {
            (!folder.exists()).then_some(())
        })
        .await;
        eventually("its processes are gone", PATIENCE, async || {
            (processes_of(&job.id, folder) == 0).then_some(())
        })
        .await;
        eventually("its control groups are gone", PATIENCE, async || {
            (groups_of(Path::new("/sys/fs/cgroup"), &job.id, 6) == 0).then_some(())
        })
        .await;
    }

    async fn works(&self, tenant: &Tenant) {
        let job = tenant.command("echo fine > file; cat file").await;
        job.reaches("completed").await;
        self.is_cleaned_up(&job).await;
    }
}

/// Those that carry the session's mark, and those without it that work in its folder.
fn processes_of(job: &str, folder: &Path) -> usize {
    let mark = format!("ORCHESTRATOR_JOB_ID={job}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let works_in = std::fs::read_link(process.path().join("cwd"));
            works_in.is_ok_and(|it| it.starts_with(folder))
                || environment
                    .split(|&byte| byte == 0)
                    .any(|line| line == mark.as_bytes())
        })
        .count()
}

fn groups_of(folder: &Path, job: &str, depth: u32) -> usize {
    if depth == 0 {
        return 0;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
        .map(|entry| {
            let own = usize::from(entry.file_name().to_string_lossy().contains(job));
            own + groups_of(&entry.path(), job, depth - 1)
        })
        .sum()
}

async fn error_of(job: &Job) -> (String, String) {
    let failed = job.reaches("failed").await;
    let text = |name: &str| {
        failed["error"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("code"), text("message"))
}

pub async fn what_is_outside_of_a_session_is_out_of_its_reach(mode: Mode) {
    let isolated = Isolated::new(mode).await;
    let (tenant, neighbour) = (isolated.stand.tenant().await, isolated.stand.tenant().await);
    let other = neighbour
        .command(
            "echo 'of the neighbour' > secret; while [ ! -e go ]; do sleep 0.05; done; cat secret",
        )
        .await;
    let tree = isolated.worktree(&other);
    eventually("the neighbour has a secret", PATIENCE, async || {
        (!lines_of(&tree.join("secret")).is_empty()).then_some(())
    })
    .await;

    let scratch = isolated.stand.scratch();
    let target = scratch.join("target");
    let writes = format!("echo mine > mine && echo harm > {}", target.display());
    let reads = format!("cat {}/secret", tree.display());
    let overwrites = format!("echo harm > {}/secret", tree.display());
    let key = isolated.stand.data_dir().join("operator.key");
    std::fs::write(&key, "of the operator").unwrap();
    let key = format!("cat {}", key.display());
    let harm = [
        (&writes, "target"),
        (&reads, "secret"),
        (&overwrites, "secret"),
        (&key, "operator.key"),
    ];
    for (line, word) in harm {
        let job = tenant.command(line).await;
        if isolated.confines() {
            let (code, message) = error_of(&job).await;
            assert_eq!(code, "COMMAND_FAILED", "{line}: {message}");
            assert!(message.contains(word), "{word} is not named in: {message}");
            assert!(!job.log().await.contains("neighbour"));
        } else {
            job.reaches("completed").await;
        }
        isolated.is_cleaned_up(&job).await;
    }
    let its_tree = json!({"repository": {"path": tree}});
    let thief = tenant.command_with("cat secret", its_tree).await;
    let (code, message) = error_of(&thief).await;
    assert_eq!(code, "REPOSITORY_OUTSIDE_ROOTS", "{message}");
    assert!(message.contains("belongs to the installation"), "{message}");
    // The worker's own environment, which holds its passwords where it has some.
    let peeks =
        "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -q '^ORCHESTRATOR_LEASE_SECONDS='";
    let job = tenant.command(peeks).await;
    let seen = if isolated.confines() {
        "failed"
    } else {
        "completed"
    };
    job.reaches(seen).await;
    if isolated.confines() {
        assert!(!target.exists());
        assert_eq!(lines_of(&tree.join("secret")), ["of the neighbour"]);
    }
    std::fs::write(tree.join("go"), "").unwrap();
    other.reaches("completed").await;
    isolated.is_cleaned_up(&other).await;
}

pub async fn a_daemon_does_not_outlive_its_session(mode: Mode) {
    let isolated = Isolated::new(mode).await;
    let tenant = isolated.stand.tenant().await;
    // Of its own session, orphaned twice, deaf to hangups, without its mark.
    let line = "
        setsid sh -c 'echo > a; exec sleep 1000' &
        (setsid nohup sh -c '(echo > b; exec sleep 1000) & exit' >/dev/null 2>&1 &)
        env -i /usr/bin/setsid /bin/sh -c 'trap \"\" TERM HUP; echo > c; while :; do /bin/sleep 1; done' &
        while [ ! -e a ] || [ ! -e b ] || [ ! -e c ]; do sleep 0.02; done";
    for end in ["", "; exit 1"] {
        let job = tenant.command(&format!("{line}{end}")).await;
        job.reaches(if end.is_empty() {
            "completed"
        } else {
            "failed"
        })
        .await;
        let log = job.log().await;
        let named = " processes were left behind and ended: ";
        assert!(log.contains(named), "{log}");
        if !end.is_empty() {
            let (code, message) = error_of(&job).await;
            assert_eq!(code, "COMMAND_FAILED", "{message}");
            assert!(message.contains(named), "{message}");
        }
        isolated.is_cleaned_up(&job).await;
    }
    let job = tenant.command(&format!("{line}; sleep 1000")).await;
    let marks = isolated.worktree(&job).join("c");
    eventually("its daemons run", PATIENCE, async || {
        marks.exists().then_some(())
    })
    .await;
    job.act("stop").await.expect(200);
    job.reaches("stopped").await;
    isolated.is_cleaned_up(&job).await;
}

pub async fn a_session_that_fills_the_disk_is_ended(mode: Mode) {
    let isolated = Isolated::new(mode).await;
    assert!(isolated.gives("disk"), "it takes nothing of the machine");
    let tenant = isolated.stand.tenant().await;
    let many = "n=0; while :; do n=$((n + 1)); head -c 1000000 /dev/zero > f$n; sleep 0.02; done";
    let one = "head -c 400000000 /dev/zero > ~/one";
    let temporary =
        "n=0; while :; do n=$((n + 1)); head -c 1000000 /dev/zero > $TMPDIR/f$n; sleep 0.02; done";
    for line in [many, one, temporary] {
        let job = tenant.command(line).await;
        let (code, message) = error_of(&job).await;
        assert_eq!(code, "DISK_LIMIT", "{message}");
        assert!(message.contains(&DISK_BYTES.to_string()), "{message}");
        assert_eq!(
            job.outcomes().await,
            ["failed"],
            "trying again would not help"
        );
        isolated.is_cleaned_up(&job).await;
    }
    isolated.works(&tenant).await;
}

/// It forks without end as far as its limit is concerned; by itself it stops at three times as many.
pub async fn a_session_that_forks_without_end_is_held(mode: Mode) {
    let isolated = Isolated::new(mode).await;
    let tenant = isolated.stand.tenant().await;
    let most = PROCESSES * 3;
    let line = format!(
        "n=0; while [ $n -lt {most} ]; do n=$((n + 1)); setsid sleep 1000 & done; echo all of them; exit 1"
    );
    let job = tenant.command(&line).await;
    let (code, message) = error_of(&job).await;
    let log = job.log().await;
    let finding = isolated.part("processes")["finding"]
        .as_str()
        .expect("text");
    if !isolated.gives("processes") {
        assert_eq!(code, "COMMAND_FAILED", "{message}");
        assert!(
            log.contains("all of them"),
            "nothing here keeps it from that: {finding}"
        );
    } else if finding.contains("control groups") {
        assert_eq!(code, "PIDS_LIMIT", "{message}");
        assert!(message.contains(&PROCESSES.to_string()), "{message}");
        assert!(!log.contains("all of them"));
    } else {
        // The user's limit refuses; only the program knows.
        assert_eq!(code, "COMMAND_FAILED", "{message}");
        assert!(!log.contains("all of them"));
    }
    isolated.is_cleaned_up(&job).await;
    isolated.works(&tenant).await;
}

/// It takes memory without end as far as its limit is concerned; by itself it stops at three times as much. A line that
/// does not end is kept whole by whoever wants the last one.
pub async fn a_session_that_eats_memory_is_ended(mode: Mode) {
    let isolated = Isolated::new(mode).await;
    let tenant = isolated.stand.tenant().await;
    let all = MEMORY_BYTES * 3;
    let alone = format!("head -c {all} /dev/zero | (tail -n 1 | wc -c && echo all of it); exit 1");
    // Each within the limit, and all of them not.
    let part = MEMORY_BYTES / 2;
    let together = format!(
        "for i in 1 2 3 4; do (head -c {part} /dev/zero; sleep 1000) | tail -n 1 > /dev/null & done; wait; exit 1"
    );
    let finding = isolated.part("memory")["finding"].as_str().expect("text");
    if isolated.gives("memory") {
        assert!(finding.contains("control groups of version"), "{finding}");
        for line in [alone, together] {
            let job = tenant.command(&line).await;
            let (code, message) = error_of(&job).await;
            assert_eq!(code, "MEMORY_LIMIT", "{message}");
            assert!(message.contains(&MEMORY_BYTES.to_string()), "{message}");
            assert!(!job.log().await.contains(&all.to_string()));
            assert_eq!(job.outcomes().await, ["failed"], "trying again would not help");
            isolated.is_cleaned_up(&job).await;
        }
    } else {
        // A process is limited, and only the program knows.
        assert!(finding.contains("RLIMIT_DATA"), "{finding}");
        let job = tenant.command(&alone).await;
        let (code, message) = error_of(&job).await;
        assert_eq!(code, "COMMAND_FAILED", "{message}");
        assert!(!job.log().await.contains(&all.to_string()));
        isolated.is_cleaned_up(&job).await;
    }
    isolated.works(&tenant).await;
}

pub async fn a_killed_worker_leaves_nothing_of_an_isolated_session(mode: Mode) {
    let isolated = Isolated::with(mode, Plan::noticing_crashes()).await;
    let tenant = isolated.stand.tenant().await;
    let line = r#"
        [ "$ORCHESTRATOR_ATTEMPT" = 1 ] || exit 0
        env -i /usr/bin/setsid /bin/sleep 1000 &
        setsid sleep 1000 &
        echo > ready
        sleep 1000"#;
    let job = tenant.command(line).await;
    let tree = isolated.worktree(&job);
    eventually("it runs", PATIENCE, async || {
        tree.join("ready").exists().then_some(())
    })
    .await;
    isolated
        .stand
        .crash(async || {
            eventually("nothing that it ran is alive", PATIENCE, async || {
                (processes_of(&job.id, &tree) == 0).then_some(())
            })
            .await;
        })
        .await;
    job.reaches("completed").await;
    assert_eq!(job.outcomes().await, ["lease_lost", "completed"]);
    isolated.is_cleaned_up(&job).await;
}
