-- Schedules: jobs that are made again and again. The SQLite twin has the same number and name.

CREATE TABLE schedules (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    -- In the order of bytes, whatever the database's collation, as the other store has it.
    name          text COLLATE "C" NOT NULL,
    cron          text NOT NULL,
    timezone      text NOT NULL,
    -- What its jobs are made of.
    template      jsonb NOT NULL,
    missed        text NOT NULL,
    overlap       text NOT NULL,
    paused        boolean NOT NULL,
    -- NULL while it is paused.
    next_at       timestamptz,
    last_tick_at  timestamptz,
    last_job      uuid,
    last_error    text,
    last_error_at timestamptz,
    -- Rises with every change by a person.
    version       bigint NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
