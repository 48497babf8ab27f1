-- The lists. Every query names the tenant: SQLite has no row-level security.
--
-- Newest first, by keyset: `before` is the row that ends the page before this one, or the end of the time asked for.

-- name: tenant_jobs_by_time
SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message, progress
FROM tenant_jobs
WHERE tenant_id = :tenant
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
ORDER BY created_at DESC, job_id DESC
LIMIT :limit

-- name: persona_jobs_by_time
SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message, progress
FROM persona_jobs
WHERE tenant_id = :tenant AND persona = :persona
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
ORDER BY created_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_jobs_by_time
-- By the time of death.
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = :tenant
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
ORDER BY dead_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_jobs_by_type
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = :tenant AND job_type = :job_type
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
ORDER BY dead_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_jobs_by_persona
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = :tenant AND persona = :persona
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
    AND (:job_type IS NULL OR job_type = :job_type)
    AND (:kind IS NULL OR kind = :kind)
    AND (:queue IS NULL OR queue = :queue)
    AND (:reason IS NULL OR reason = :reason)
ORDER BY dead_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_jobs_by_error
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = :tenant AND error_type = :error_type
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
    AND (:job_type IS NULL OR job_type = :job_type)
    AND (:kind IS NULL OR kind = :kind)
    AND (:queue IS NULL OR queue = :queue)
    AND (:persona IS NULL OR persona = :persona)
    AND (:reason IS NULL OR reason = :reason)
ORDER BY dead_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_jobs_by_fingerprint
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = :tenant AND fingerprint = :fingerprint
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
    AND (:job_type IS NULL OR job_type = :job_type)
    AND (:kind IS NULL OR kind = :kind)
    AND (:queue IS NULL OR queue = :queue)
    AND (:persona IS NULL OR persona = :persona)
    AND (:reason IS NULL OR reason = :reason)
    AND (:error_type IS NULL OR error_type = :error_type)
ORDER BY dead_at DESC, job_id DESC
LIMIT :limit

-- name: dlq_summary
-- Counts each group that matches; what is the same in all rows is said in each.
SELECT job_type, reason, error_type, count(*), sum(count(*)) OVER (), count(*) OVER (), min(min(dead_at)) OVER (),
    max(max(dead_at)) OVER ()
FROM dlq_jobs
WHERE tenant_id = :tenant
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
    AND (:job_type IS NULL OR job_type = :job_type)
    AND (:kind IS NULL OR kind = :kind)
    AND (:queue IS NULL OR queue = :queue)
    AND (:persona IS NULL OR persona = :persona)
    AND (:reason IS NULL OR reason = :reason)
    AND (:error_type IS NULL OR error_type = :error_type)
    AND (:fingerprint IS NULL OR fingerprint = :fingerprint)
GROUP BY job_type, reason, error_type
ORDER BY count(*) DESC, job_type, reason, error_type
LIMIT :limit

-- name: dlq_errors
-- By fingerprint; what tells an error is that of any job that died of it.
SELECT fingerprint, min(error_type), min(error_message), min(job_type), count(DISTINCT job_type), count(*),
    min(dead_at), max(dead_at), count(*) OVER (), sum(count(*)) OVER ()
FROM dlq_jobs
WHERE tenant_id = :tenant
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
    AND (:job_type IS NULL OR job_type = :job_type)
    AND (:kind IS NULL OR kind = :kind)
    AND (:queue IS NULL OR queue = :queue)
    AND (:persona IS NULL OR persona = :persona)
    AND (:reason IS NULL OR reason = :reason)
    AND (:error_type IS NULL OR error_type = :error_type)
    AND (:fingerprint IS NULL OR fingerprint = :fingerprint)
GROUP BY fingerprint
ORDER BY count(*) DESC, fingerprint
LIMIT :limit

-- name: request_jobs
SELECT t.job_id, t.correlation_id, t.causation_id, t.caused_by, t.created_at, j.job_id, j.tenant_id, j.persona, j.status, j.failed, j.job_type, j.kind, j.queue,
    j.priority, j.attempt, j.attempts_counted, j.attempts_allowed, j.created_at, j.updated_at, j.due_at, j.started_at,
    j.completed_at, j.error_type, j.error_message, j.progress
FROM job_traces AS t
LEFT JOIN tenant_jobs AS j ON j.job_id = t.job_id AND j.tenant_id = t.tenant_id
WHERE t.tenant_id = ? AND t.correlation_id = ? AND t.job_id > ?
ORDER BY t.job_id
LIMIT ?

-- name: caused_jobs
SELECT t.job_id, t.correlation_id, t.causation_id, t.caused_by, t.created_at, j.job_id, j.tenant_id, j.persona, j.status, j.failed, j.job_type, j.kind, j.queue,
    j.priority, j.attempt, j.attempts_counted, j.attempts_allowed, j.created_at, j.updated_at, j.due_at, j.started_at,
    j.completed_at, j.error_type, j.error_message, j.progress
FROM job_traces AS t
LEFT JOIN tenant_jobs AS j ON j.job_id = t.job_id AND j.tenant_id = t.tenant_id
WHERE t.tenant_id = ? AND t.caused_by = ?
ORDER BY t.job_id
LIMIT ?

-- name: lowest_position
-- Of those that are named; 0 where one of them never ran.
SELECT coalesce(min(coalesce(position, 0)), 0)
FROM json_each(?) AS wanted LEFT JOIN checkpoints ON projection = wanted.value

-- name: jobs_by_short_id
SELECT job_id FROM job_short_ids WHERE tenant_id = ? AND short_id = ?

-- name: open_jobs_born_since
-- Jobs that the list may not show yet: ids rise with their birth, so few rows are visited.
SELECT job_id FROM open_jobs WHERE tenant_id = ? AND job_id >= ? ORDER BY job_id
