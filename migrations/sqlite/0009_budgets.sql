-- What sessions, their families and tenants have spent, and may. The PostgreSQL twin has the same number and name.

-- What its sessions may use in a calendar month (UTC); NULL: no limit.
ALTER TABLE tenants ADD COLUMN monthly_tokens integer;
ALTER TABLE tenants ADD COLUMN monthly_cost_usd real;
-- When the month ends whose budget it has used up; until then its sessions do not start. NULL: it has not.
ALTER TABLE tenants ADD COLUMN budget_until integer;
CREATE INDEX tenants_over_budget ON tenants (budget_until) WHERE budget_until IS NOT NULL;

-- One row a tenant and month in which it spent something, such as '2026-11'.
CREATE TABLE tenant_months (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    month     text NOT NULL,
    tokens    integer NOT NULL,
    cost_usd  real NOT NULL,
    PRIMARY KEY (tenant_id, month)
) STRICT, WITHOUT ROWID;

-- What all its runs used, as they said; NULL: nothing was said.
ALTER TABLE jobs ADD COLUMN spent text;
-- The session that began its family, and so on down to its parent. Of jobs that were there before, none are known.
ALTER TABLE jobs ADD COLUMN ancestors text NOT NULL DEFAULT '[]';

-- One row for each session that names a budget. What it has used counts that of all its descendants as well.
CREATE TABLE budgets (
    job_id    blob PRIMARY KEY NOT NULL,
    tenant_id blob NOT NULL,
    limits    text NOT NULL,
    -- How often it was granted.
    times     integer NOT NULL,
    tokens    integer NOT NULL,
    cost      real NOT NULL,
    steps     integer NOT NULL
) STRICT;

-- Sessions that were there before go on with what they have used, and with what they were granted.
UPDATE jobs SET spent = json_object(
        'input_tokens', coalesce(progress ->> '$.data.input_tokens', 0),
        'output_tokens', coalesce(progress ->> '$.data.output_tokens', 0),
        'cost', coalesce(progress ->> '$.data.cost', 0.0),
        'steps', coalesce(progress ->> '$.data.steps', 0))
    WHERE kind = 'session' AND json_type(spec, '$.budget') = 'object' AND progress IS NOT NULL
        AND json_type(progress, '$.data.steps') = 'integer';
INSERT INTO budgets (job_id, tenant_id, limits, times, tokens, cost, steps)
    SELECT j.id, j.tenant_id, j.spec -> '$.budget',
        1 - (j.state = 'paused' AND coalesce(j.error ->> '$.code', '') = 'BUDGET_EXCEEDED')
            + (SELECT count(*) FROM job_attempts a
                WHERE a.job_id = j.id AND a.outcome = 'paused' AND a.error ->> '$.code' = 'BUDGET_EXCEEDED'),
        CAST(min(coalesce((j.spent ->> '$.input_tokens') + (j.spent ->> '$.output_tokens'), 0), 1000000000000000) AS integer),
        CAST(coalesce(j.spent ->> '$.cost', 0) AS real),
        CAST(min(coalesce(j.spent ->> '$.steps', 0), 1000000000000000) AS integer)
    FROM jobs j
    WHERE j.kind = 'session' AND json_type(j.spec, '$.budget') = 'object';
