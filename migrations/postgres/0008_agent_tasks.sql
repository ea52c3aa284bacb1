-- Tasks that external agents ask for themselves. The SQLite twin has the same number and name.

CREATE TABLE agent_tasks (
    job_id       uuid NOT NULL,
    -- 0, and one more each time that the agent is told what its work lacks.
    round        integer NOT NULL,
    agent_id     uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    -- The run that waits for it.
    fence        bigint NOT NULL,
    attempt      integer NOT NULL,
    -- offered, leased, done, cancelled or lost.
    state        text NOT NULL,
    lease_id     uuid,
    lease_until  timestamptz,
    -- What the agent said on its way.
    words        jsonb NOT NULL,
    -- What the agent is told; empty once nobody will ask for it.
    body         text NOT NULL,
    result       text,
    offered_at   timestamptz NOT NULL,
    -- When either side last did something to it.
    touched_at   timestamptz NOT NULL,
    PRIMARY KEY (job_id, round, agent_id)
);

CREATE INDEX agent_tasks_offered ON agent_tasks (agent_id, offered_at) WHERE state = 'offered';
CREATE INDEX agent_tasks_touched ON agent_tasks (touched_at);
