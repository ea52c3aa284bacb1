-- Replays of dead letters. The SQLite twin has the same number and name.

CREATE TABLE replays (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    -- Which dead letters.
    filter      jsonb NOT NULL,
    state       text NOT NULL,
    matched     integer NOT NULL,
    replayed    integer NOT NULL,
    skipped     integer NOT NULL,
    -- The last job looked at.
    cursor      uuid,
    held_up     text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    finished_at timestamptz
);

CREATE INDEX replays_newest ON replays (tenant_id, id);
CREATE INDEX replays_running ON replays (updated_at) WHERE state = 'running';
