//! The audit can fail: each rule is broken by hand, in a transaction that is taken back, and seen broken.

use super::{AT_ALL_TIMES, AT_EVERY_START, AT_THE_END, Audit, Database, What};
use crate::harness::{Acknowledged, Mark, Servers, Site, Work};

const TENANT: &str = "00000000-0000-0000-0000-0000000000a1";
const WORKER: &str = "00000000-0000-0000-0000-0000000000b1";
const FIRST: &str = "00000000-0000-0000-0000-000000000001";
const SECOND: &str = "00000000-0000-0000-0000-000000000002";
/// 2026-01-01 00:00:00 UTC in milliseconds: everything is told in seconds from there.
const ZERO: i64 = 1_767_225_600_000;

/// Two jobs of one tenant with a quota of 1: the first lost a lease and completed at its second attempt, the second one
/// completed at once.
const GOOD: &str = "
    INSERT INTO tenants (id, slug, name, active, weight, max_queued, version, created_at, updated_at)
        VALUES ('{tenant}', 't', 't', true, 1, 10, 1, now(), now());
    INSERT INTO tenant_slots (tenant_id, kind, quota) VALUES ('{tenant}', 'session', 1);
    INSERT INTO jobs (id, tenant_id, kind, state, priority, title, tags, metadata, spec, attempt, max_attempts,
            max_duration_seconds, fence, event_seq, created_at, updated_at, finished_at)
        SELECT j.id::uuid, '{tenant}', 'session', 'completed', 1, 't', '{}', '{}', '{}', j.attempt, 3, 60, j.fence, 9,
            now(), now(), timestamptz '2026-01-01 00:00:00+00' + j.finished * interval '1 s'
        FROM (VALUES ('{first}', 2, 3, 20), ('{second}', 1, 1, 30)) AS j (id, attempt, fence, finished);
    INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at, finished_at, outcome)
        SELECT a.job::uuid, a.number, '{tenant}', '{worker}', timestamptz '2026-01-01 00:00:00+00' + a.start * interval '1 s',
            timestamptz '2026-01-01 00:00:00+00' + a.finish * interval '1 s', a.outcome
        FROM (VALUES ('{first}', 1, 0, 10, 'lease_lost'), ('{first}', 2, 12, 20, 'completed'),
            ('{second}', 1, 22, 30, 'completed')) AS a (job, number, start, finish, outcome);
    INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt)
        SELECT e.job::uuid, e.seq, '{tenant}', now(), e.kind, e.attempt
        FROM (VALUES ('{first}', 1, 'created', 0), ('{first}', 2, 'queued', 0), ('{first}', 3, 'started', 1),
            ('{first}', 4, 'retry_scheduled', 1), ('{first}', 5, 'started', 2), ('{first}', 6, 'completed', 2),
            ('{second}', 1, 'created', 0), ('{second}', 2, 'queued', 0), ('{second}', 3, 'started', 1),
            ('{second}', 4, 'completed', 1)) AS e (job, seq, kind, attempt)";

/// A rule, and what breaks it.
const BREAKS: &[(&str, &str)] = &[
    (
        "no tenant is over its quota now",
        "UPDATE jobs SET state = 'running'",
    ),
    (
        "no tenant was ever over its quota",
        "SET CONSTRAINTS ALL IMMEDIATE; UPDATE jobs SET state = 'running'",
    ),
    (
        "slots count what there is",
        "UPDATE tenant_slots SET running = 1",
    ),
    (
        "every acknowledged job is there",
        "DELETE FROM jobs WHERE id = '{second}'",
    ),
    (
        "every job has ended",
        "UPDATE jobs SET state = 'queued', finished_at = NULL WHERE id = '{second}'",
    ),
    (
        "every job has ended as it had to",
        "UPDATE jobs SET state = 'failed' WHERE id = '{second}'",
    ),
    (
        "one final event a job",
        "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt)
        VALUES ('{second}', 5, '{tenant}', now(), 'completed', 1)",
    ),
    (
        "no event after the final one, which says the job's state",
        "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt)
        VALUES ('{second}', 5, '{tenant}', now(), 'progress', 1)",
    ),
    (
        "events are numbered 1, 2, 3, ...",
        "DELETE FROM job_events WHERE job_id = '{second}' AND seq = 2",
    ),
    (
        "attempts are numbered 1, 2, 3, ... up to the job's own",
        "UPDATE job_attempts SET number = 3 WHERE job_id = '{first}' AND number = 2",
    ),
    (
        "every attempt is closed",
        "UPDATE job_attempts SET finished_at = NULL, outcome = NULL WHERE job_id = '{first}' AND number = 1",
    ),
    (
        "an attempt starts once and ends once, in the job's events",
        "UPDATE job_events SET kind = 'progress' WHERE job_id = '{first}' AND kind = 'retry_scheduled'",
    ),
    (
        "no attempt follows one that completed",
        "UPDATE job_attempts SET outcome = 'completed' WHERE job_id = '{first}' AND number = 1",
    ),
    (
        "the job's end is that of its last attempt",
        "UPDATE job_attempts SET outcome = 'failed' WHERE job_id = '{second}'",
    ),
    (
        "the fence rose with every claim and every loss",
        "UPDATE jobs SET fence = 2 WHERE id = '{first}'",
    ),
    (
        "attempts of a job do not overlap",
        "UPDATE job_attempts SET started_at = started_at - interval '5 s' WHERE job_id = '{first}' AND number = 2",
    ),
    (
        "slots count what there is",
        "UPDATE tenant_slots SET due = 1",
    ),
    (
        "no more wake-ups are counted than jobs are due",
        "UPDATE tenant_slots SET due = 1, published = 2",
    ),
    (
        "a queued job has a turn, and is due or waits for a time",
        "UPDATE jobs SET state = 'queued' WHERE id = '{second}'",
    ),
    (
        "a queued job has a turn, and is due or waits for a time",
        "UPDATE jobs SET state = 'queued', turn = now(), due = false WHERE id = '{second}'",
    ),
    (
        "what failed, and nothing else, has a fingerprint",
        "UPDATE jobs SET state = 'failed' WHERE id = '{second}'",
    ),
    (
        "what failed, and nothing else, has a fingerprint",
        "UPDATE jobs SET fingerprint = 'f' WHERE id = '{second}'",
    ),
    (
        "nothing is counted as waiting or running",
        "UPDATE tenant_slots SET queued = 1",
    ),
    (
        "nothing is counted as published",
        "UPDATE tenant_slots SET published = 1",
    ),
    (
        "no worker's lease is long over",
        "INSERT INTO workers (id, epoch, host, kinds, capacity, started_at, lease_until)
        VALUES ('{worker}', 1, 'h', '{}', 1, now() - interval '1 h', now() - interval '11 s')",
    ),
    (
        "no worker is registered that does not live",
        "INSERT INTO workers (id, epoch, host, kinds, capacity, started_at, lease_until)
        VALUES ('{worker}', 1, 'h', '{}', 1, now(), now() + interval '1 h')",
    ),
    (
        "what ran is in the store",
        "DELETE FROM job_attempts WHERE job_id = '{first}' AND number = 1",
    ),
];

struct Case {
    acknowledged: Vec<Acknowledged>,
    marks: Vec<Mark>,
}

impl Case {
    fn good() -> Self {
        let job = |id: &str| Acknowledged {
            id: id.to_owned(),
            work: Work::Long,
        };
        Self {
            acknowledged: vec![job(FIRST), job(SECOND)],
            marks: vec![
                mark(FIRST, 1, "begin", 1),
                mark(FIRST, 1, "tick", 4),
                mark(FIRST, 2, "begin", 13),
                mark(FIRST, 2, "end", 19),
                mark(SECOND, 1, "begin", 23),
                mark(SECOND, 1, "end", 29),
            ],
        }
    }

    async fn broken(&self, database: &Database) -> Vec<&'static str> {
        let what = What {
            acknowledged: &self.acknowledged,
            marks: &self.marks,
            workers: Some(0),
        };
        let audit = Audit::run(database, &what).await;
        let broken = audit.broken();
        assert_eq!(broken.is_empty(), audit.findings().is_empty());
        broken
    }
}

fn mark(job: &str, attempt: i32, what: &str, second: i64) -> Mark {
    Mark {
        job: job.to_owned(),
        attempt,
        what: what.to_owned(),
        at: ZERO + second * 1_000,
    }
}

fn filled(sql: &str) -> String {
    [
        ("{tenant}", TENANT),
        ("{worker}", WORKER),
        ("{first}", FIRST),
        ("{second}", SECOND),
    ]
    .iter()
    .fold(sql.to_owned(), |sql, (name, value)| {
        sql.replace(name, value)
    })
}

/// The store's tables, as the migrations make them.
async fn migrated(servers: &Servers, name: &str) -> Database {
    let url = Database::create(&servers.postgres, name).await;
    let database = Database::open(&url).await;
    let folder = crate::harness::checkout().join("migrations/postgres");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("migrations")
        .map(|entry| entry.expect("a migration").path())
        .collect();
    files.sort();
    for file in files {
        database
            .run(&std::fs::read_to_string(file).expect("a migration"))
            .await;
    }
    database.run(AT_EVERY_START).await;
    database.run(&filled(GOOD)).await;
    database
}

/// Runs `case` after `sql`, and takes both back.
async fn after(database: &Database, sql: &str, case: &Case) -> Vec<&'static str> {
    database.run("BEGIN").await;
    database.run(&filled(sql)).await;
    let broken = case.broken(database).await;
    database.run("ROLLBACK").await;
    broken
}

pub async fn every_rule_finds_what_breaks_it(site: Site) {
    let name = format!("audit_{:08x}", fastrand::u32(..));
    let database = migrated(&site.servers, &name).await;
    let good = Case::good();
    assert!(
        after(&database, "SELECT", &good).await.is_empty(),
        "what is good is found good"
    );

    let mut seen = Vec::new();
    for (rule, sql) in BREAKS {
        let broken = after(&database, sql, &good).await;
        assert!(broken.contains(rule), "{rule}: found only {broken:?}");
        seen.push(*rule);
    }
    for (rule, change) in wrong_marks() {
        let mut case = Case::good();
        change(&mut case.marks);
        let broken = after(&database, "SELECT", &case).await;
        assert!(broken.contains(&rule), "{rule}: found only {broken:?}");
        seen.push(rule);
    }
    for rule in AT_THE_END.iter().chain(AT_ALL_TIMES) {
        assert!(seen.contains(&rule.name), "nobody broke: {}", rule.name);
    }
    drop(database);
    Database::remove(&site.servers.postgres, &name).await;
}

type Change = fn(&mut Vec<Mark>);

fn wrong_marks() -> [(&'static str, Change); 6] {
    [
        ("what ran is in the store", |marks| {
            marks.push(mark(SECOND, 2, "begin", 29));
        }),
        ("no attempt ran twice", |marks| {
            marks.push(mark(FIRST, 1, "begin", 2));
        }),
        ("no attempt ran on when the next one had begun", |marks| {
            marks.push(mark(FIRST, 1, "tick", 10));
        }),
        ("nothing ran after its attempt's end", |marks| {
            marks.push(mark(FIRST, 1, "tick", 12));
        }),
        ("nothing ran after its job's end", |marks| {
            marks.push(mark(SECOND, 1, "tick", 32));
        }),
        ("what the store says has run, has run", |marks| {
            marks.pop();
        }),
    ]
}
