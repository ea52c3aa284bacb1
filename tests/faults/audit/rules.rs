//! The rules. A statement returns a row for each violation: whose it is (a job's id where `of_jobs`), and how.
//!
//! Only what a reader of the store may rely on is asked: jobs, their attempts and events, slots, workers.
//!
//! Times are those of the processes' decisions, taken before the transactions that follow, on clocks that are measured;
//! rules that compare times of different processes allow for a second. A process that is frozen, or waits for a lock,
//! writes a decision that is older than that: how many ran at once is not told by times. It is counted at every commit
//! that starts a job, and by the rules that hold at all times, which look at one moment of the store.

pub struct Rule {
    pub name: &'static str,
    pub of_jobs: bool,
    pub broken_by: &'static str,
}

const fn of_jobs(name: &'static str, broken_by: &'static str) -> Rule {
    Rule {
        name,
        of_jobs: true,
        broken_by,
    }
}

const fn of_tenants(name: &'static str, broken_by: &'static str) -> Rule {
    Rule {
        name,
        of_jobs: false,
        broken_by,
    }
}

/// The one that asks the processes as well, see `report.rs`.
pub const WORKERS_LEFT: &str = "no worker is registered that does not live";

/// Counts at every commit that starts jobs, whatever clocks say. Its own lock is held until the commit is done, so that
/// the next one counts what this one started even where the engine locked nothing. Notes what it finds, and changes
/// nothing.
pub const AT_EVERY_START: &str = "
    CREATE TABLE seen_over_quota (tenant_id uuid, kind text, running bigint, quota integer);
    CREATE FUNCTION look_at_quota() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended(NEW.tenant_id || NEW.kind, 0));
        INSERT INTO seen_over_quota SELECT s.tenant_id, s.kind, count(*), s.quota
        FROM tenant_slots s JOIN jobs j USING (tenant_id, kind)
        WHERE s.tenant_id = NEW.tenant_id AND s.kind = NEW.kind AND j.state IN ('running', 'degraded')
        GROUP BY s.tenant_id, s.kind, s.quota HAVING count(*) > s.quota;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER look_at_quota AFTER UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION look_at_quota()";

/// True in every committed state of the store.
pub const AT_ALL_TIMES: &[Rule] = &[
    of_tenants(
        "no tenant is over its quota now",
        "SELECT j.tenant_id::text, format('%s %s run, the quota is %s', count(*), j.kind, s.quota)
        FROM jobs j JOIN tenant_slots s USING (tenant_id, kind)
        WHERE j.state IN ('running', 'degraded')
        GROUP BY j.tenant_id, j.kind, s.quota HAVING count(*) > s.quota",
    ),
    of_tenants(
        "slots count what there is",
        "SELECT s.tenant_id::text, format('%s: counted %s running, %s queued, %s due, %s pending; there are %s, %s, %s, %s',
            s.kind, s.running, s.queued, s.due, s.pending, coalesce(c.running, 0), coalesce(c.queued, 0),
            coalesce(c.due, 0), coalesce(c.pending, 0))
        FROM tenant_slots s LEFT JOIN (
            SELECT tenant_id, kind,
                count(*) FILTER (WHERE state IN ('running', 'degraded')) AS running,
                count(*) FILTER (WHERE state = 'queued') AS queued,
                count(*) FILTER (WHERE state = 'queued' AND due AND requires IS NULL) AS due,
                count(*) FILTER (WHERE state = 'pending') AS pending
            FROM jobs WHERE state IN ('running', 'degraded', 'queued', 'pending') GROUP BY tenant_id, kind
        ) AS c USING (tenant_id, kind)
        WHERE (s.running, s.queued, s.due, s.pending) IS DISTINCT FROM (coalesce(c.running, 0), coalesce(c.queued, 0),
            coalesce(c.due, 0), coalesce(c.pending, 0))",
    ),
    // However many are lost or doubled in the broker. A job that leaves its queue without a claim would leave its wake-up
    // counted; the load cancels nothing and gives no deadlines.
    of_tenants(
        "no more wake-ups are counted than jobs are due",
        "SELECT tenant_id::text, format('%s: %s published, %s due', kind, published, due)
        FROM tenant_slots WHERE published > due",
    ),
    of_jobs(
        "a queued job has a turn, and is due or waits for a time",
        "SELECT id::text, format('turn %s, due %s, run after %s', coalesce(turn::text, 'none'), due,
            coalesce(run_after::text, 'no time'))
        FROM jobs WHERE state = 'queued' AND (turn IS NULL OR NOT due AND run_after IS NULL)",
    ),
];

/// True when everything has ended.
pub const AT_THE_END: &[Rule] = &[
    of_jobs(
        "every acknowledged job is there",
        "SELECT a.id::text, 'was acknowledged and is not in the store'
        FROM acknowledged a LEFT JOIN jobs j USING (id) WHERE j.id IS NULL",
    ),
    of_jobs(
        "every job has ended",
        "SELECT id::text, format('is %s, finished at %s', state, coalesce(finished_at::text, 'no time')) FROM jobs
        WHERE finished_at IS NULL
            OR state NOT IN ('completed', 'partially_completed', 'failed', 'timeout', 'stopped', 'cancelled')",
    ),
    of_jobs(
        "every job has ended as it had to",
        "SELECT id::text, format('is %s, and not %s', state, expected)
        FROM acknowledged JOIN jobs USING (id) WHERE state <> expected",
    ),
    of_jobs(
        "one final event a job",
        "SELECT j.id::text, format('has %s final events', count(e.seq))
        FROM jobs j LEFT JOIN job_events e ON e.job_id = j.id
            AND e.kind IN ('completed', 'partially_completed', 'failed', 'timed_out', 'stopped', 'cancelled')
        GROUP BY j.id HAVING count(e.seq) <> 1",
    ),
    of_jobs(
        "no event after the final one, which says the job's state",
        "SELECT j.id::text, format('is %s, and its last event is %s', j.state, e.kind)
        FROM jobs j JOIN LATERAL (
            SELECT kind FROM job_events WHERE job_id = j.id ORDER BY seq DESC LIMIT 1
        ) AS e ON true
        WHERE e.kind <> CASE j.state WHEN 'timeout' THEN 'timed_out' ELSE j.state END",
    ),
    of_jobs(
        "events are numbered 1, 2, 3, ...",
        "SELECT job_id::text, format('has %s events, numbered %s to %s', count(*), min(seq), max(seq))
        FROM job_events GROUP BY job_id HAVING min(seq) <> 1 OR max(seq) <> count(*)",
    ),
    of_jobs(
        "attempts are numbered 1, 2, 3, ... up to the job's own",
        "SELECT j.id::text, format('has attempt %s, and %s attempts numbered up to %s', j.attempt, count(a.number),
            coalesce(max(a.number), 0))
        FROM jobs j LEFT JOIN job_attempts a ON a.job_id = j.id
        GROUP BY j.id HAVING j.attempt <> count(a.number) OR j.attempt <> coalesce(max(a.number), 0)
            OR coalesce(min(a.number), 1) <> 1",
    ),
    of_jobs(
        "every attempt is closed",
        "SELECT job_id::text, format('attempt %s: started %s, finished %s, outcome %s', number, started_at,
            coalesce(finished_at::text, 'never'), coalesce(outcome, 'none'))
        FROM job_attempts WHERE finished_at IS NULL OR outcome IS NULL OR finished_at < started_at - interval '1 s'",
    ),
    of_jobs(
        "an attempt starts once and ends once, in the job's events",
        "SELECT a.job_id::text, format('attempt %s has %s starts and %s ends', a.number,
            count(*) FILTER (WHERE e.kind = 'started'), count(*) FILTER (WHERE e.kind <> 'started' AND e.kind IS NOT NULL))
        FROM job_attempts a LEFT JOIN job_events e ON e.job_id = a.job_id AND e.attempt = a.number
            AND e.kind IN ('started', 'retry_scheduled', 'handed_back', 'completed', 'partially_completed', 'failed',
                'timed_out', 'stopped')
        GROUP BY a.job_id, a.number
        HAVING count(*) FILTER (WHERE e.kind = 'started') <> 1
            OR count(*) FILTER (WHERE e.kind <> 'started' AND e.kind IS NOT NULL) <> 1",
    ),
    of_jobs(
        "no attempt follows one that completed",
        "SELECT a.job_id::text, format('attempt %s completed, and there are %s', a.number, j.attempt)
        FROM job_attempts a JOIN jobs j ON j.id = a.job_id
        WHERE a.outcome IN ('completed', 'partially_completed') AND a.number <> j.attempt",
    ),
    of_jobs(
        "the job's end is that of its last attempt",
        "SELECT j.id::text, format('is %s at %s; its last attempt ended %s at %s', j.state, j.finished_at, a.outcome,
            a.finished_at)
        FROM jobs j JOIN job_attempts a ON a.job_id = j.id AND a.number = j.attempt
        WHERE j.finished_at IS NOT NULL AND (j.finished_at IS DISTINCT FROM a.finished_at
            OR (j.state, a.outcome) NOT IN (('completed', 'completed'), ('partially_completed', 'partially_completed'),
                ('failed', 'failed'), ('failed', 'lease_lost'), ('timeout', 'timeout'), ('stopped', 'stopped'),
                ('stopped', 'failed'), ('stopped', 'lease_lost'), ('stopped', 'handed_back')))",
    ),
    of_jobs(
        "the fence rose with every claim and every loss",
        "SELECT j.id::text, format('has fence %s after %s attempts, %s of them lost', j.fence, count(a.number),
            count(*) FILTER (WHERE a.outcome = 'lease_lost'))
        FROM jobs j LEFT JOIN job_attempts a ON a.job_id = j.id
        GROUP BY j.id HAVING j.fence < count(a.number) + count(*) FILTER (WHERE a.outcome = 'lease_lost')",
    ),
    of_jobs(
        "attempts of a job do not overlap",
        "SELECT a.job_id::text, format('attempt %s started at %s, before attempt %s ended at %s', b.number, b.started_at,
            a.number, a.finished_at)
        FROM job_attempts a JOIN job_attempts b ON b.job_id = a.job_id AND b.number > a.number
        WHERE b.started_at < coalesce(a.finished_at, 'infinity') - interval '1 s'",
    ),
    of_tenants(
        "no tenant was ever over its quota",
        "SELECT tenant_id::text, format('%s: %s ran, the quota is %s', kind, max(running), max(quota))
        FROM seen_over_quota GROUP BY tenant_id, kind",
    ),
    of_tenants(
        "nothing is counted as waiting or running",
        "SELECT tenant_id::text, format('%s: %s running, %s queued, %s due, %s pending', kind, running, queued, due, pending)
        FROM tenant_slots WHERE running + queued + due + pending > 0",
    ),
    of_tenants(
        "nothing is counted as published",
        "SELECT tenant_id::text, format('%s: %s published', kind, published) FROM tenant_slots WHERE published > 0",
    ),
    of_jobs(
        "what failed, and nothing else, has a fingerprint",
        "SELECT id::text, format('is %s, and its fingerprint is %s', state, coalesce(fingerprint, 'none'))
        FROM jobs WHERE (state IN ('failed', 'timeout')) <> (fingerprint IS NOT NULL)",
    ),
    of_tenants(
        "no worker's lease is long over",
        "SELECT id::text, format('its lease ended at %s', lease_until) FROM workers
        WHERE lease_until < now() - interval '10 s'",
    ),
    of_jobs(
        "what ran is in the store",
        "SELECT DISTINCT m.job::text, format('attempt %s ran, and the store does not know it', m.attempt)
        FROM marks m LEFT JOIN job_attempts a ON a.job_id = m.job AND a.number = m.attempt WHERE a.number IS NULL",
    ),
    of_jobs(
        "no attempt ran twice",
        "SELECT job::text, format('attempt %s began %s times', attempt, count(*)) FROM marks
        WHERE what = 'begin' GROUP BY job, attempt HAVING count(*) > 1",
    ),
    of_jobs(
        "no attempt ran on when the next one had begun",
        "SELECT DISTINCT a.job::text, format('attempt %s ran on after attempt %s had begun', a.attempt, b.attempt)
        FROM marks a JOIN marks b ON b.job = a.job AND b.attempt > a.attempt AND b.what = 'begin' AND b.line < a.line",
    ),
    of_jobs(
        "nothing ran after its attempt's end",
        "SELECT DISTINCT m.job::text, format('attempt %s ran at %s, and ended at %s', m.attempt, m.at, a.finished_at)
        FROM marks m JOIN job_attempts a ON a.job_id = m.job AND a.number = m.attempt
        WHERE m.at > a.finished_at + interval '1 s'",
    ),
    of_jobs(
        "nothing ran after its job's end",
        "SELECT DISTINCT m.job::text, format('ran at %s, and ended at %s', m.at, j.finished_at)
        FROM marks m JOIN jobs j ON j.id = m.job WHERE m.at > j.finished_at + interval '1 s'",
    ),
    // To its end, which an exit code tells; a run that was killed because its worker was too slow to be heard has none.
    of_jobs(
        "what the store says has run, has run",
        "SELECT a.job_id::text, format('attempt %s %s, and left %s of its 2 marks; its error: %s', a.number, a.outcome,
            count(m.line), coalesce(a.error::text, 'none'))
        FROM job_attempts a JOIN acknowledged k ON k.id = a.job_id AND k.marks
        LEFT JOIN marks m ON m.job = a.job_id AND m.attempt = a.number AND m.what IN ('begin', 'end')
        WHERE a.outcome = 'completed' OR a.outcome = 'failed' AND a.error->>'exit_code' IS NOT NULL
        GROUP BY a.job_id, a.number, a.outcome, a.error HAVING count(m.line) <> 2",
    ),
];

/// For the table.
pub const COUNTS: &[(&str, &str)] = &[
    ("jobs", "SELECT count(*) FROM jobs"),
    ("  acknowledged", "SELECT count(*) FROM acknowledged"),
    (
        "  taken without an answer",
        "SELECT count(*) FROM jobs LEFT JOIN acknowledged a USING (id) WHERE a.id IS NULL",
    ),
    (
        "  completed",
        "SELECT count(*) FROM jobs WHERE state = 'completed'",
    ),
    (
        "  failed",
        "SELECT count(*) FROM jobs WHERE state = 'failed'",
    ),
    ("attempts", "SELECT count(*) FROM job_attempts"),
    (
        "  completed",
        "SELECT count(*) FROM job_attempts WHERE outcome = 'completed'",
    ),
    (
        "  failed",
        "SELECT count(*) FROM job_attempts WHERE outcome = 'failed'",
    ),
    (
        "  lease lost",
        "SELECT count(*) FROM job_attempts WHERE outcome = 'lease_lost'",
    ),
    (
        "  handed back",
        "SELECT count(*) FROM job_attempts WHERE outcome = 'handed_back'",
    ),
    ("events", "SELECT count(*) FROM job_events"),
    ("marks of runs", "SELECT count(*) FROM marks"),
];
