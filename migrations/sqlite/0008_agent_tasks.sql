-- Tasks that external agents ask for themselves. The PostgreSQL twin has the same number and name.

CREATE TABLE agent_tasks (
    job_id       blob NOT NULL,
    -- 0, and one more each time that the agent is told what its work lacks.
    round        integer NOT NULL,
    agent_id     blob NOT NULL,
    tenant_id    blob NOT NULL,
    -- The run that waits for it.
    fence        integer NOT NULL,
    attempt      integer NOT NULL,
    -- offered, leased, done, cancelled or lost.
    state        text NOT NULL,
    lease_id     blob,
    lease_until  integer,
    -- What the agent said on its way.
    words        text NOT NULL,
    -- What the agent is told; empty once nobody will ask for it.
    body         text NOT NULL,
    result       text,
    offered_at   integer NOT NULL,
    -- When either side last did something to it.
    touched_at   integer NOT NULL,
    PRIMARY KEY (job_id, round, agent_id)
) STRICT;

CREATE INDEX agent_tasks_offered ON agent_tasks (agent_id, offered_at) WHERE state = 'offered';
CREATE INDEX agent_tasks_touched ON agent_tasks (touched_at);
