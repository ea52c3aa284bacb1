-- Tenants, their slots, their jobs and what happened to them. The SQLite twin has the same number and name.

CREATE TABLE tenants (
    id         uuid PRIMARY KEY,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    active     boolean NOT NULL,
    weight     integer NOT NULL CHECK (weight > 0),
    -- How many of its jobs may wait at once, all kinds together.
    max_queued integer NOT NULL CHECK (max_queued > 0),
    version    bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- The one authority on quotas. Always locked in the order of its key.
CREATE TABLE tenant_slots (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    kind      text NOT NULL,
    quota     integer NOT NULL CHECK (quota > 0),
    running   integer NOT NULL DEFAULT 0 CHECK (running >= 0),
    -- Created and not started.
    pending   integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    -- Waiting for a slot, published or not, due or not.
    queued    integer NOT NULL DEFAULT 0 CHECK (queued >= 0),
    -- Of those, the ones with a live message in the broker.
    published integer NOT NULL DEFAULT 0 CHECK (published >= 0),
    paused    boolean NOT NULL DEFAULT false,
    -- Rises with every change of the row.
    version   bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, kind)
)
-- Every submit, claim and finish rewrites rows of this small table: room in the page for the next versions, and a
-- vacuum that does not wait for a fifth of it to be dead.
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- What the relay looks for: queues with jobs that have no message yet.
CREATE INDEX tenant_slots_to_relay ON tenant_slots (tenant_id, kind) WHERE queued > published;

CREATE TABLE jobs (
    id                   uuid PRIMARY KEY,
    tenant_id            uuid NOT NULL REFERENCES tenants (id),
    kind                 text NOT NULL,
    state                text NOT NULL,
    priority             smallint NOT NULL,
    title                text NOT NULL,
    tags                 text[] NOT NULL,
    metadata             jsonb NOT NULL,
    spec                 jsonb NOT NULL,
    progress             jsonb,
    result               jsonb,
    error                jsonb,
    attempt              integer NOT NULL DEFAULT 0,
    failures             integer NOT NULL DEFAULT 0,
    max_attempts         integer NOT NULL,
    max_duration_seconds integer NOT NULL,
    run_after            timestamptz,
    parent_id            uuid,
    -- Raised at every claim and every time the job is taken away.
    fence                bigint NOT NULL DEFAULT 0,
    worker_id            uuid,
    worker_epoch         bigint,
    -- The number of the latest event.
    event_seq            bigint NOT NULL,
    -- When its message was last given to the broker; NULL when it has none.
    published_at         timestamptz,
    stop_requested_at    timestamptz,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    queued_at            timestamptz,
    started_at           timestamptz,
    finished_at          timestamptz
)
-- A job's row is rewritten a few times in its life, most often for progress, which no index knows of.
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE INDEX jobs_newest ON jobs (tenant_id, id);
CREATE INDEX jobs_by_state ON jobs (tenant_id, state, kind, id);
CREATE INDEX jobs_by_tag ON jobs USING gin (tags) WHERE tags <> '{}';
-- What the relay publishes next. Jobs that wait for their `run_after` stand apart, so that a mass of them costs
-- nobody a look.
CREATE INDEX jobs_to_relay ON jobs (tenant_id, kind, priority, id)
    WHERE state = 'queued' AND published_at IS NULL AND run_after IS NULL;
CREATE INDEX jobs_scheduled ON jobs (tenant_id, kind, run_after)
    WHERE state = 'queued' AND published_at IS NULL AND run_after IS NOT NULL;
CREATE INDEX jobs_published ON jobs (tenant_id, kind, published_at) WHERE state = 'queued' AND published_at IS NOT NULL;
-- For the age and the number of what waits. The second condition holds for all of them; it keeps the planner from
-- taking this index for the relay's questions, which do not ask for it, while it has no statistics yet.
CREATE INDEX jobs_waiting ON jobs (tenant_id, kind, queued_at) WHERE state = 'queued' AND queued_at IS NOT NULL;
CREATE INDEX jobs_pending ON jobs (tenant_id, kind) WHERE state = 'pending';
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state IN ('running', 'degraded');

CREATE TABLE job_attempts (
    job_id      uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number      integer NOT NULL,
    tenant_id   uuid NOT NULL,
    worker_id   uuid NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    outcome     text,
    error       jsonb,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE job_events (
    job_id    uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- 1, 2, 3, ... within the job, without gaps.
    seq       bigint NOT NULL,
    tenant_id uuid NOT NULL,
    at        timestamptz NOT NULL,
    kind      text NOT NULL,
    attempt   integer NOT NULL,
    data      jsonb,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE job_logs (
    job_id    uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt   integer NOT NULL,
    number    integer NOT NULL,
    tenant_id uuid NOT NULL,
    at        timestamptz NOT NULL,
    stream    text NOT NULL,
    text      text NOT NULL,
    PRIMARY KEY (job_id, attempt, number)
);

CREATE TABLE checkpoints (
    job_id    uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number    integer NOT NULL,
    tenant_id uuid NOT NULL,
    attempt   integer NOT NULL,
    at        timestamptz NOT NULL,
    data      jsonb NOT NULL,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE artifacts (
    id         uuid PRIMARY KEY,
    job_id     uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tenant_id  uuid NOT NULL,
    attempt    integer NOT NULL,
    name       text NOT NULL,
    media_type text NOT NULL,
    bytes      bigint NOT NULL,
    sha256     text NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (job_id, attempt, name)
);

CREATE TABLE workers (
    id          uuid PRIMARY KEY,
    epoch       bigint NOT NULL,
    host        text NOT NULL,
    kinds       text[] NOT NULL,
    capacity    integer NOT NULL,
    draining    boolean NOT NULL DEFAULT false,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    role        text NOT NULL,
    name        text NOT NULL,
    -- SHA-256 of the secret half.
    secret_hash bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz
);

CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id);
