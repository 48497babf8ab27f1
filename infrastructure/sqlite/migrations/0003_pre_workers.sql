-- Limits and pauses, lanes, and what workers report of themselves.

-- Targets (queues, tenants, personas, custom keys) that are limited or paused. NULL is no limit.
CREATE TABLE limits (
    scope TEXT NOT NULL CHECK (scope IN ('queue', 'tenant', 'persona', 'key')),
    tenant_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    concurrency INTEGER,
    rate_count INTEGER,
    rate_seconds REAL,
    weight INTEGER NOT NULL DEFAULT 1,
    paused INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, tenant_id, subject)
) STRICT, WITHOUT ROWID;

-- How many starts a rate granted in each hundredth of its window.
CREATE TABLE limit_uses (
    scope TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (scope, tenant_id, subject, bucket)
) STRICT, WITHOUT ROWID;

-- Jobs that something holds one by one (a lock key, a limit key, a limited persona) wait in lanes: jobs of a lane are
-- bound by the same things. Most jobs have none.
ALTER TABLE open_jobs ADD COLUMN limit_key TEXT;
ALTER TABLE open_jobs ADD COLUMN lane TEXT;
UPDATE open_jobs SET lane = 'l' || replace(lock_key, char(31), char(31) || char(31)) WHERE lock_key IS NOT NULL;
DROP INDEX open_jobs_ready;
DROP INDEX open_jobs_ready_keyed;
CREATE INDEX open_jobs_ready ON open_jobs (queue, tenant_id, priority DESC, due_at, job_id)
    WHERE status = 'pending' AND stalls = 0 AND lane IS NULL;
-- For workers that run the jobs of some personas only.
CREATE INDEX open_jobs_ready_of_persona ON open_jobs (queue, tenant_id, persona, priority DESC, due_at, job_id)
    WHERE status = 'pending' AND stalls = 0 AND lane IS NULL AND persona IS NOT NULL;
CREATE INDEX open_jobs_ready_in_lane ON open_jobs (queue, tenant_id, lane, priority DESC, due_at, job_id)
    WHERE status = 'pending' AND stalls = 0 AND lane IS NOT NULL;

-- What a worker says of itself: JSON.
ALTER TABLE workers ADD COLUMN report TEXT NOT NULL DEFAULT '{}';

-- --- for counting the queue ---------------------------------------------------------------------------------------
-- What neither waits for its turn nor runs; few jobs ever come here, so it costs the others nothing.
CREATE INDEX open_jobs_parked ON open_jobs (queue, status)
    WHERE status IN ('blocked', 'dlq');

-- --- the dead-letter queue's filters ------------------------------------------------------------------------------
-- What tells one error from all others leads an index of its own; rows are written once and deleted.
CREATE INDEX dlq_jobs_by_error ON dlq_jobs (tenant_id, error_type, dead_at, job_id);
CREATE INDEX dlq_jobs_by_fingerprint ON dlq_jobs (tenant_id, fingerprint, dead_at, job_id);
