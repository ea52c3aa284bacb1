-- Schedules: jobs that are made again and again. The PostgreSQL twin has the same number and name.

CREATE TABLE schedules (
    id            blob PRIMARY KEY NOT NULL,
    tenant_id     blob NOT NULL REFERENCES tenants (id),
    name          text NOT NULL,
    cron          text NOT NULL,
    timezone      text NOT NULL,
    -- What its jobs are made of.
    template      text NOT NULL,
    missed        text NOT NULL,
    overlap       text NOT NULL,
    paused        integer NOT NULL,
    -- NULL while it is paused.
    next_at       integer,
    last_tick_at  integer,
    last_job      blob,
    last_error    text,
    last_error_at integer,
    -- Rises with every change by a person.
    version       integer NOT NULL,
    created_at    integer NOT NULL,
    updated_at    integer NOT NULL,
    UNIQUE (tenant_id, name)
) STRICT;

CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
