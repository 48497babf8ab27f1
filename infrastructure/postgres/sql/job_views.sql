-- The lists, as jobledger_api: row-level security adds the tenant once more.
--
-- Newest first, by keyset: `before` is the row that ends the page before this one, or the end of the time asked for.

-- name: in_index_order
-- For this transaction: rows are read in the order of an index, whatever statistics say (or do not say yet, after a
-- bulk load), never by collecting all that match. What forbids sorting counts as cost, so that compiling a query would
-- seem to pay.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)

-- name: tenant_jobs_by_time
SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message, progress
FROM tenant_jobs
WHERE tenant_id = %(tenant)s
    AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    AND created_at >= %(created_from)s::timestamptz
ORDER BY created_at DESC, job_id DESC
LIMIT %(limit)s

-- name: persona_jobs_by_time
SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message, progress
FROM persona_jobs
WHERE tenant_id = %(tenant)s AND persona = %(persona)s
    AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    AND created_at >= %(created_from)s::timestamptz
ORDER BY created_at DESC, job_id DESC
LIMIT %(limit)s

-- name: dlq_jobs
-- By the time of death. Never prepared: with the values at hand the planner drops filters that are null, sees the
-- others as plain conditions, and finds the index of the rarest.
SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
FROM dlq_jobs
WHERE tenant_id = %(tenant)s
    AND (dead_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    AND dead_at >= %(dead_from)s::timestamptz
    AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s::text)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
    AND (%(persona)s::text IS NULL OR persona = %(persona)s::text)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
    AND (%(error_type)s::text IS NULL OR error_type = %(error_type)s::text)
    AND (%(fingerprint)s::text IS NULL OR fingerprint = %(fingerprint)s::text)
ORDER BY dead_at DESC, job_id DESC
LIMIT %(limit)s

-- name: dlq_summary
-- Counts each group that matches; what is the same in all rows is said in each.
SELECT job_type, reason, error_type, count(*), (sum(count(*)) OVER ())::bigint, count(*) OVER (),
    min(min(dead_at)) OVER (), max(max(dead_at)) OVER ()
FROM dlq_jobs
WHERE tenant_id = %(tenant)s
    AND (dead_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    AND dead_at >= %(dead_from)s::timestamptz
    AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s::text)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
    AND (%(persona)s::text IS NULL OR persona = %(persona)s::text)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
    AND (%(error_type)s::text IS NULL OR error_type = %(error_type)s::text)
    AND (%(fingerprint)s::text IS NULL OR fingerprint = %(fingerprint)s::text)
GROUP BY job_type, reason, error_type
ORDER BY count(*) DESC, job_type, reason, error_type
LIMIT %(limit)s

-- name: dlq_errors
-- By fingerprint; what tells an error is that of any job that died of it.
SELECT fingerprint, min(error_type), min(error_message), min(job_type), count(DISTINCT job_type), count(*),
    min(dead_at), max(dead_at), count(*) OVER (), (sum(count(*)) OVER ())::bigint
FROM dlq_jobs
WHERE tenant_id = %(tenant)s
    AND (dead_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    AND dead_at >= %(dead_from)s::timestamptz
    AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s::text)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
    AND (%(persona)s::text IS NULL OR persona = %(persona)s::text)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
    AND (%(error_type)s::text IS NULL OR error_type = %(error_type)s::text)
    AND (%(fingerprint)s::text IS NULL OR fingerprint = %(fingerprint)s::text)
GROUP BY fingerprint
ORDER BY count(*) DESC, fingerprint
LIMIT %(limit)s

-- name: request_jobs
SELECT t.job_id, t.correlation_id, t.causation_id, t.caused_by, t.created_at, j.job_id, j.tenant_id, j.persona, j.status, j.failed, j.job_type, j.kind, j.queue,
    j.priority, j.attempt, j.attempts_counted, j.attempts_allowed, j.created_at, j.updated_at, j.due_at, j.started_at,
    j.completed_at, j.error_type, j.error_message, j.progress
FROM job_traces AS t
LEFT JOIN tenant_jobs AS j ON j.job_id = t.job_id AND j.tenant_id = t.tenant_id
WHERE t.tenant_id = %(tenant)s AND t.correlation_id = %(correlation_id)s AND t.job_id > %(after)s::uuid
ORDER BY t.job_id
LIMIT %(limit)s

-- name: caused_jobs
-- One look into the index for each cause, so that none is read further than the page.
SELECT t.job_id, t.correlation_id, t.causation_id, t.caused_by, t.created_at, j.job_id, j.tenant_id, j.persona, j.status, j.failed, j.job_type, j.kind, j.queue,
    j.priority, j.attempt, j.attempts_counted, j.attempts_allowed, j.created_at, j.updated_at, j.due_at, j.started_at,
    j.completed_at, j.error_type, j.error_message, j.progress
FROM unnest(%(causes)s::uuid[]) AS cause (id)
CROSS JOIN LATERAL (
    SELECT job_id, tenant_id, correlation_id, causation_id, caused_by, created_at FROM job_traces
    WHERE tenant_id = %(tenant)s AND caused_by = cause.id
    ORDER BY job_id
    LIMIT %(limit)s
) AS t
LEFT JOIN tenant_jobs AS j ON j.job_id = t.job_id AND j.tenant_id = t.tenant_id
LIMIT %(limit)s

-- name: checkpoint
SELECT position, recorded_at FROM checkpoints WHERE projection = %s

-- name: lowest_position
-- Of those that are named; 0 where one of them never ran.
SELECT coalesce(min(coalesce(position, 0)), 0)
FROM unnest(%s::text[]) AS wanted (name) LEFT JOIN checkpoints ON projection = name

-- name: jobs_by_short_id
SELECT job_id FROM job_short_ids WHERE tenant_id = %s AND short_id = %s

-- name: open_jobs_born_since
-- Jobs that the list may not show yet: ids rise with their birth, so few rows are visited.
SELECT job_id FROM open_jobs WHERE tenant_id = %s AND job_id >= %s::uuid ORDER BY job_id
