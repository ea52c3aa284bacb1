-- Wake-ups instead of messages with a mark on each job; turns, due jobs, labels, deadlines, prerequisites, fences of
-- shared resources. The SQLite twin has the same number and name.

-- The engine holds the locks of what it writes, so that these checks only cost: one look at the parent for each row.
ALTER TABLE jobs DROP CONSTRAINT jobs_tenant_id_fkey;
ALTER TABLE job_attempts DROP CONSTRAINT job_attempts_job_id_fkey;
ALTER TABLE job_events DROP CONSTRAINT job_events_job_id_fkey;
ALTER TABLE job_logs DROP CONSTRAINT job_logs_job_id_fkey;
ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_job_id_fkey;
ALTER TABLE artifacts DROP CONSTRAINT artifacts_job_id_fkey;

-- Each run's row is written twice, soon after each other: with room in its page no index hears of the second time.
ALTER TABLE job_attempts SET (fillfactor = 50);

ALTER TABLE tenant_slots
    -- Of the queued jobs, those that any worker may run now: their time has come, and they ask for no labels.
    ADD COLUMN due integer NOT NULL DEFAULT 0 CHECK (due >= 0),
    -- Takes no new jobs.
    ADD COLUMN draining boolean NOT NULL DEFAULT false,
    -- How long a run takes, by the latest ones.
    ADD COLUMN service_seconds double precision NOT NULL DEFAULT 1,
    -- When jobs of it were last claimed, or it was last given wake-ups.
    ADD COLUMN touched_at timestamptz NOT NULL DEFAULT now();

-- `published` counts wake-ups now. The broker's messages of before name jobs and are taken for wake-ups.
DROP INDEX tenant_slots_to_relay;
DROP INDEX jobs_to_relay;
DROP INDEX jobs_scheduled;
DROP INDEX jobs_published;
ALTER TABLE jobs
    DROP COLUMN published_at,
    -- Its place in its queue.
    ADD COLUMN turn timestamptz,
    -- Of a queued job: its `run_after`, if any, has come.
    ADD COLUMN due boolean NOT NULL DEFAULT true,
    ADD COLUMN deadline timestamptz,
    -- Labels that a worker must have; NULL for none.
    ADD COLUMN requires jsonb,
    ADD COLUMN depends_on uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN if_prerequisite_fails text NOT NULL DEFAULT 'fail',
    -- Of `depends_on`, how many have not ended well yet.
    ADD COLUMN unmet integer NOT NULL DEFAULT 0,
    -- What its error has in common with others; only of jobs that failed for good.
    ADD COLUMN fingerprint text;

UPDATE jobs SET due = false WHERE state = 'queued' AND run_after IS NOT NULL;
UPDATE jobs SET turn = queued_at + priority * interval '6 hours' WHERE state = 'queued';
UPDATE tenant_slots s SET due = (
    SELECT count(*) FROM jobs j WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.due
);

-- Whose turn is next.
CREATE INDEX jobs_turns ON jobs (tenant_id, kind, turn, id) WHERE state = 'queued' AND due AND requires IS NULL;
-- By what they ask for: of labels that no worker has, any number of jobs costs one look.
CREATE INDEX jobs_labelled ON jobs (tenant_id, kind, requires, turn, id)
    WHERE state = 'queued' AND due AND requires IS NOT NULL;
CREATE INDEX jobs_scheduled ON jobs (run_after) WHERE state = 'queued' AND NOT due;
CREATE INDEX jobs_deadlines ON jobs (deadline)
    WHERE deadline IS NOT NULL AND state IN ('pending', 'queued', 'paused');
CREATE INDEX jobs_dead ON jobs (tenant_id, fingerprint, id) WHERE fingerprint IS NOT NULL;
-- Jobs that wait for nothing any more since they were submitted.
CREATE INDEX jobs_to_release ON jobs (id) WHERE state = 'pending' AND unmet = 0 AND depends_on <> '{}';

-- What the relay looks for: queues with more due jobs than wake-ups. A column of its own, because a change of a column
-- that an index knows of, be it in its condition only, costs a new entry in every index of the table: this one changes
-- when a queue falls behind and when it has caught up, the counts themselves with every submit, claim and finish.
ALTER TABLE tenant_slots ADD COLUMN behind boolean NOT NULL GENERATED ALWAYS AS (due > published) STORED;
CREATE INDEX tenant_slots_behind ON tenant_slots (tenant_id, kind) WHERE behind;

-- Who waits for whom.
CREATE TABLE job_dependencies (
    depends_on uuid NOT NULL,
    job_id     uuid NOT NULL,
    tenant_id  uuid NOT NULL,
    -- Whether the prerequisite ended well; NULL while it has not ended.
    met        boolean,
    PRIMARY KEY (depends_on, job_id)
);
-- What the release looks for: ends that the waiting job has not been told of.
CREATE INDEX job_dependencies_ended ON job_dependencies (job_id) WHERE met IS NOT NULL;

-- The latest fence of each shared resource. It outlives every lock.
CREATE TABLE resource_fences (
    resource text PRIMARY KEY,
    fence    bigint NOT NULL
);

ALTER TABLE workers ADD COLUMN labels jsonb NOT NULL DEFAULT '{}';
