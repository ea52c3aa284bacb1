-- Replays of dead letters. The PostgreSQL twin has the same number and name.

CREATE TABLE replays (
    id          blob PRIMARY KEY NOT NULL,
    tenant_id   blob NOT NULL REFERENCES tenants (id),
    -- Which dead letters.
    filter      text NOT NULL,
    state       text NOT NULL,
    matched     integer NOT NULL,
    replayed    integer NOT NULL,
    skipped     integer NOT NULL,
    -- The last job looked at.
    cursor      blob,
    held_up     text,
    created_at  integer NOT NULL,
    updated_at  integer NOT NULL,
    finished_at integer
) STRICT;

CREATE INDEX replays_newest ON replays (tenant_id, id);
CREATE INDEX replays_running ON replays (updated_at) WHERE state = 'running';
