-- Registered agents, and which of them works on what. The SQLite twin has the same number and name.

CREATE TABLE agents (
    id         uuid PRIMARY KEY,
    -- NULL: shared, every tenant may use it.
    tenant_id  uuid REFERENCES tenants (id),
    -- In the order of bytes, whatever the database's collation, as the other store has it.
    name       text COLLATE "C" NOT NULL,
    -- What whoever registered it says of it.
    definition jsonb NOT NULL,
    -- Gets nothing new.
    draining   boolean NOT NULL,
    -- Its last words, and how its tasks went; changed under the row's lock.
    condition  jsonb NOT NULL,
    -- Of an external agent.
    token_hash bytea,
    -- Rises with every change by a person.
    version    bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE UNIQUE INDEX agents_named ON agents (coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'), name);

-- One row for each task that an agent works on: taken with the job's claim, given back with the end of its run.
CREATE TABLE agent_slots (
    job_id    uuid PRIMARY KEY,
    attempt   integer NOT NULL,
    tenant_id uuid NOT NULL,
    agent_id  uuid NOT NULL,
    taken_at  timestamptz NOT NULL
);

CREATE INDEX agent_slots_of_agent ON agent_slots (agent_id);

-- Who did the work of a session that was routed.
ALTER TABLE job_attempts
    ADD COLUMN agent_id uuid,
    ADD COLUMN agent_name text;

-- Sessions that wait to be given an agent.
CREATE INDEX jobs_routed ON jobs (tenant_id, turn, id) WHERE state = 'queued' AND due AND requires ? 'orchestrator/agent';
