-- Tenants, their slots, their jobs and what happened to them. The PostgreSQL twin has the same number and name.
-- Ids are 16-byte blobs, instants are microseconds since 1970, JSON and lists are text.

CREATE TABLE tenants (
    id         blob PRIMARY KEY NOT NULL,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    active     integer NOT NULL,
    weight     integer NOT NULL CHECK (weight > 0),
    -- How many of its jobs may wait at once, all kinds together.
    max_queued integer NOT NULL CHECK (max_queued > 0),
    version    integer NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL
) STRICT;

-- The one authority on quotas. Always locked in the order of its key.
CREATE TABLE tenant_slots (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    kind      text NOT NULL,
    quota     integer NOT NULL CHECK (quota > 0),
    running   integer NOT NULL DEFAULT 0 CHECK (running >= 0),
    -- Created and not started.
    pending   integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    -- Waiting for a slot, published or not, due or not.
    queued    integer NOT NULL DEFAULT 0 CHECK (queued >= 0),
    -- Of those, the ones with a live message in the broker.
    published integer NOT NULL DEFAULT 0 CHECK (published >= 0),
    paused    integer NOT NULL DEFAULT 0,
    -- Rises with every change of the row.
    version   integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, kind)
) STRICT, WITHOUT ROWID;

-- What the relay looks for: queues with jobs that have no message yet.
CREATE INDEX tenant_slots_to_relay ON tenant_slots (tenant_id, kind) WHERE queued > published;

CREATE TABLE jobs (
    id                   blob PRIMARY KEY NOT NULL,
    tenant_id            blob NOT NULL REFERENCES tenants (id),
    kind                 text NOT NULL,
    state                text NOT NULL,
    priority             integer NOT NULL,
    title                text NOT NULL,
    tags                 text NOT NULL,
    metadata             text NOT NULL,
    spec                 text NOT NULL,
    progress             text,
    result               text,
    error                text,
    attempt              integer NOT NULL DEFAULT 0,
    failures             integer NOT NULL DEFAULT 0,
    max_attempts         integer NOT NULL,
    max_duration_seconds integer NOT NULL,
    run_after            integer,
    parent_id            blob,
    -- Raised at every claim and every time the job is taken away.
    fence                integer NOT NULL DEFAULT 0,
    worker_id            blob,
    worker_epoch         integer,
    -- The number of the latest event.
    event_seq            integer NOT NULL,
    -- When its message was last given to the broker; NULL when it has none.
    published_at         integer,
    stop_requested_at    integer,
    created_at           integer NOT NULL,
    updated_at           integer NOT NULL,
    queued_at            integer,
    started_at           integer,
    finished_at          integer
) STRICT;

CREATE INDEX jobs_newest ON jobs (tenant_id, id);
CREATE INDEX jobs_by_state ON jobs (tenant_id, state, kind, id);
CREATE INDEX jobs_to_relay ON jobs (tenant_id, kind, priority, id) WHERE state = 'queued' AND published_at IS NULL;
CREATE INDEX jobs_published ON jobs (tenant_id, kind, published_at) WHERE state = 'queued' AND published_at IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (tenant_id, kind, queued_at) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state IN ('running', 'degraded');

CREATE TABLE job_attempts (
    job_id      blob NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number      integer NOT NULL,
    tenant_id   blob NOT NULL,
    worker_id   blob NOT NULL,
    started_at  integer NOT NULL,
    finished_at integer,
    outcome     text,
    error       text,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_events (
    job_id    blob NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- 1, 2, 3, ... within the job, without gaps.
    seq       integer NOT NULL,
    tenant_id blob NOT NULL,
    at        integer NOT NULL,
    kind      text NOT NULL,
    attempt   integer NOT NULL,
    data      text,
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_logs (
    job_id    blob NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt   integer NOT NULL,
    number    integer NOT NULL,
    tenant_id blob NOT NULL,
    at        integer NOT NULL,
    stream    text NOT NULL,
    text      text NOT NULL,
    PRIMARY KEY (job_id, attempt, number)
) STRICT;

CREATE TABLE checkpoints (
    job_id    blob NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number    integer NOT NULL,
    tenant_id blob NOT NULL,
    attempt   integer NOT NULL,
    at        integer NOT NULL,
    data      text NOT NULL,
    PRIMARY KEY (job_id, number)
) STRICT;

CREATE TABLE artifacts (
    id         blob PRIMARY KEY NOT NULL,
    job_id     blob NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tenant_id  blob NOT NULL,
    attempt    integer NOT NULL,
    name       text NOT NULL,
    media_type text NOT NULL,
    bytes      integer NOT NULL,
    sha256     text NOT NULL,
    created_at integer NOT NULL,
    UNIQUE (job_id, attempt, name)
) STRICT;

CREATE TABLE workers (
    id          blob PRIMARY KEY NOT NULL,
    epoch       integer NOT NULL,
    host        text NOT NULL,
    kinds       text NOT NULL,
    capacity    integer NOT NULL,
    draining    integer NOT NULL DEFAULT 0,
    started_at  integer NOT NULL,
    lease_until integer NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id          blob PRIMARY KEY NOT NULL,
    tenant_id   blob NOT NULL REFERENCES tenants (id),
    role        text NOT NULL,
    name        text NOT NULL,
    -- SHA-256 of the secret half.
    secret_hash blob NOT NULL,
    created_at  integer NOT NULL,
    expires_at  integer,
    revoked_at  integer
) STRICT;

CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id);
