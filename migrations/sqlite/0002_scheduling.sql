-- Wake-ups instead of messages with a mark on each job; turns, due jobs, labels, deadlines, prerequisites, fences of
-- shared resources. The PostgreSQL twin has the same number and name.

DROP INDEX tenant_slots_to_relay;
-- Of the queued jobs, those that any worker may run now: their time has come, and they ask for no labels.
ALTER TABLE tenant_slots ADD COLUMN due integer NOT NULL DEFAULT 0 CHECK (due >= 0);
-- Takes no new jobs.
ALTER TABLE tenant_slots ADD COLUMN draining integer NOT NULL DEFAULT 0;
-- How long a run takes, by the latest ones.
ALTER TABLE tenant_slots ADD COLUMN service_seconds real NOT NULL DEFAULT 1;
-- When jobs of it were last claimed, or it was last given wake-ups.
ALTER TABLE tenant_slots ADD COLUMN touched_at integer NOT NULL DEFAULT 0;

-- `published` counts wake-ups now. The queue in memory held the messages of before; they are gone with their process.
DROP INDEX jobs_to_relay;
DROP INDEX jobs_published;
ALTER TABLE jobs DROP COLUMN published_at;
-- Its place in its queue.
ALTER TABLE jobs ADD COLUMN turn integer;
-- Of a queued job: its `run_after`, if any, has come.
ALTER TABLE jobs ADD COLUMN due integer NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN deadline integer;
-- Labels that a worker must have, with their keys in order; NULL for none.
ALTER TABLE jobs ADD COLUMN requires text;
ALTER TABLE jobs ADD COLUMN depends_on text NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN if_prerequisite_fails text NOT NULL DEFAULT 'fail';
-- Of `depends_on`, how many have not ended well yet.
ALTER TABLE jobs ADD COLUMN unmet integer NOT NULL DEFAULT 0;
-- What its error has in common with others; only of jobs that failed for good.
ALTER TABLE jobs ADD COLUMN fingerprint text;

UPDATE jobs SET due = 0 WHERE state = 'queued' AND run_after IS NOT NULL;
-- Six hours a rank of priority, in microseconds.
UPDATE jobs SET turn = queued_at + priority * 21600000000 WHERE state = 'queued';
UPDATE tenant_slots SET published = 0, due = (
    SELECT count(*) FROM jobs AS j
    WHERE j.tenant_id = tenant_slots.tenant_id AND j.kind = tenant_slots.kind AND j.state = 'queued' AND j.due
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
CREATE INDEX jobs_to_release ON jobs (id) WHERE state = 'pending' AND unmet = 0 AND depends_on <> '[]';

-- What the relay looks for: queues with more due jobs than wake-ups. A column like PostgreSQL's, where it saves work.
ALTER TABLE tenant_slots ADD COLUMN behind integer GENERATED ALWAYS AS (due > published) VIRTUAL;
CREATE INDEX tenant_slots_behind ON tenant_slots (tenant_id, kind) WHERE behind;

-- Who waits for whom.
CREATE TABLE job_dependencies (
    depends_on blob NOT NULL,
    job_id     blob NOT NULL,
    tenant_id  blob NOT NULL,
    -- Whether the prerequisite ended well; NULL while it has not ended.
    met        integer,
    PRIMARY KEY (depends_on, job_id)
) STRICT, WITHOUT ROWID;
-- What the release looks for: ends that the waiting job has not been told of.
CREATE INDEX job_dependencies_ended ON job_dependencies (job_id) WHERE met IS NOT NULL;

-- The latest fence of each shared resource. It outlives every lock.
CREATE TABLE resource_fences (
    resource text PRIMARY KEY NOT NULL,
    fence    integer NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE workers ADD COLUMN labels text NOT NULL DEFAULT '{}';
