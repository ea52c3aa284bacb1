-- Registered agents, and which of them works on what. The PostgreSQL twin has the same number and name.

CREATE TABLE agents (
    id         blob PRIMARY KEY NOT NULL,
    -- NULL: shared, every tenant may use it.
    tenant_id  blob REFERENCES tenants (id),
    name       text NOT NULL,
    -- What whoever registered it says of it.
    definition text NOT NULL,
    -- Gets nothing new.
    draining   integer NOT NULL,
    -- Its last words, and how its tasks went.
    condition  text NOT NULL,
    -- Of an external agent.
    token_hash blob,
    -- Rises with every change by a person.
    version    integer NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL
) STRICT;

CREATE UNIQUE INDEX agents_named ON agents (coalesce(tenant_id, x''), name);

-- One row for each task that an agent works on: taken with the job's claim, given back with the end of its run.
CREATE TABLE agent_slots (
    job_id    blob PRIMARY KEY NOT NULL,
    attempt   integer NOT NULL,
    tenant_id blob NOT NULL,
    agent_id  blob NOT NULL,
    taken_at  integer NOT NULL
) STRICT;

CREATE INDEX agent_slots_of_agent ON agent_slots (agent_id);

-- Who did the work of a session that was routed.
ALTER TABLE job_attempts ADD COLUMN agent_id blob;
ALTER TABLE job_attempts ADD COLUMN agent_name text;

-- Sessions that wait to be given an agent.
CREATE INDEX jobs_routed ON jobs (tenant_id, turn, id)
    WHERE state = 'queued' AND due AND instr(requires, 'orchestrator/agent') > 0;
