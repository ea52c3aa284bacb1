-- What sessions, their families and tenants have spent, and may. The SQLite twin has the same number and name.

ALTER TABLE tenants
    -- What its sessions may use in a calendar month (UTC); NULL: no limit.
    ADD COLUMN monthly_tokens bigint,
    ADD COLUMN monthly_cost_usd double precision,
    -- When the month ends whose budget it has used up; until then its sessions do not start. NULL: it has not.
    ADD COLUMN budget_until timestamptz;
CREATE INDEX tenants_over_budget ON tenants (budget_until) WHERE budget_until IS NOT NULL;

-- One row a tenant and month in which it spent something, such as '2026-11'.
CREATE TABLE tenant_months (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    month     text NOT NULL,
    tokens    bigint NOT NULL,
    cost_usd  double precision NOT NULL,
    PRIMARY KEY (tenant_id, month)
)
-- Rewritten with every report that spends.
WITH (fillfactor = 50);

ALTER TABLE jobs
    -- What all its runs used, as they said; NULL: nothing was said.
    ADD COLUMN spent jsonb,
    -- The session that began its family, and so on down to its parent. Of jobs that were there before, none are known.
    ADD COLUMN ancestors uuid[] NOT NULL DEFAULT '{}';

-- One row for each session that names a budget. What it has used counts that of all its descendants as well.
CREATE TABLE budgets (
    job_id    uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    limits    jsonb NOT NULL,
    -- How often it was granted.
    times     integer NOT NULL,
    tokens    bigint NOT NULL,
    cost      double precision NOT NULL,
    steps     bigint NOT NULL
)
WITH (fillfactor = 50);

-- Sessions that were there before go on with what they have used, and with what they were granted.
UPDATE jobs SET spent = jsonb_build_object(
        'input_tokens', coalesce(progress -> 'data' -> 'input_tokens', '0'),
        'output_tokens', coalesce(progress -> 'data' -> 'output_tokens', '0'),
        'cost', coalesce(progress -> 'data' -> 'cost', '0'),
        'steps', coalesce(progress -> 'data' -> 'steps', '0'))
    WHERE kind = 'session' AND jsonb_typeof(spec -> 'budget') = 'object' AND progress IS NOT NULL
        AND jsonb_typeof(progress -> 'data' -> 'steps') = 'number';
INSERT INTO budgets (job_id, tenant_id, limits, times, tokens, cost, steps)
    SELECT j.id, j.tenant_id, j.spec -> 'budget',
        1 - (j.state = 'paused' AND coalesce(j.error ->> 'code', '') = 'BUDGET_EXCEEDED')::int
            + (SELECT count(*) FROM job_attempts a
                WHERE a.job_id = j.id AND a.outcome = 'paused' AND a.error ->> 'code' = 'BUDGET_EXCEEDED')::int,
        least(coalesce((j.spent ->> 'input_tokens')::numeric + (j.spent ->> 'output_tokens')::numeric, 0), 1e15)::bigint,
        coalesce((j.spent ->> 'cost')::float8, 0),
        least(coalesce((j.spent ->> 'steps')::numeric, 0), 1e15)::bigint
    FROM jobs j
    WHERE j.kind = 'session' AND jsonb_typeof(j.spec -> 'budget') = 'object';
