-- Pages of lists under a filter. As jobledger_api: row-level security adds the tenant once more.
--
-- Lanes are rows that are alike in all that can be asked for; a page is made of the newest of each lane that is asked
-- for (see lanes.py). So no row is visited to be left out, whether nearly all match or none does. `lane` looks up which
-- lanes there are, queue by queue, and the page's rows are fetched only when it is known which they are. LIMIT 1 there
-- keeps the planner from joining all rows of a table that it thinks small.
--
-- Those of job lists are prepared: which index fits is plain whatever the statistics say. Those of the dead are not,
-- because more of its indexes fit.

-- name: tenant_jobs_in_lanes
WITH RECURSIVE lane AS (
  SELECT known_status.value AS status, known_failed.value AS failed, known_kind.value AS kind, first.queue
  FROM unnest(%(statuses)s::text[]) AS known_status (value)
  CROSS JOIN unnest(%(failures)s::boolean[]) AS known_failed (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = %(tenant)s
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = %(tenant)s
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.created_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT created_at, job_id FROM tenant_jobs
    WHERE tenant_id = %(tenant)s
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
      AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND created_at >= %(created_from)s::timestamptz
    ORDER BY created_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.created_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message,
    progress
  FROM tenant_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.created_at DESC, newest.job_id DESC

-- name: tenant_jobs_of_type
WITH RECURSIVE lane AS (
  SELECT known_status.value AS status, known_failed.value AS failed, known_kind.value AS kind, first.queue
  FROM unnest(%(statuses)s::text[]) AS known_status (value)
  CROSS JOIN unnest(%(failures)s::boolean[]) AS known_failed (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.created_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT created_at, job_id FROM tenant_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
      AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND created_at >= %(created_from)s::timestamptz
    ORDER BY created_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.created_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message,
    progress
  FROM tenant_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.created_at DESC, newest.job_id DESC

-- name: persona_jobs_in_lanes
WITH RECURSIVE lane AS (
  SELECT known_status.value AS status, known_failed.value AS failed, known_kind.value AS kind, first.queue
  FROM unnest(%(statuses)s::text[]) AS known_status (value)
  CROSS JOIN unnest(%(failures)s::boolean[]) AS known_failed (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.created_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT created_at, job_id FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
      AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND created_at >= %(created_from)s::timestamptz
    ORDER BY created_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.created_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message,
    progress
  FROM persona_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.created_at DESC, newest.job_id DESC

-- name: persona_jobs_of_type
WITH RECURSIVE lane AS (
  SELECT known_status.value AS status, known_failed.value AS failed, known_kind.value AS kind, first.queue
  FROM unnest(%(statuses)s::text[]) AS known_status (value)
  CROSS JOIN unnest(%(failures)s::boolean[]) AS known_failed (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s AND job_type = %(job_type)s::text
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s AND job_type = %(job_type)s::text
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.created_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT created_at, job_id FROM persona_jobs
    WHERE tenant_id = %(tenant)s AND persona = %(persona)s AND job_type = %(job_type)s::text
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
      AND (created_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND created_at >= %(created_from)s::timestamptz
    ORDER BY created_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.created_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt, attempts_counted,
    attempts_allowed, created_at, updated_at, due_at, started_at, completed_at, error_type, error_message,
    progress
  FROM persona_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.created_at DESC, newest.job_id DESC

-- name: dlq_jobs_in_lanes
WITH RECURSIVE lane AS (
  SELECT known_reason.value AS reason, known_kind.value AS kind, first.queue
  FROM unnest(%(reasons)s::text[]) AS known_reason (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = %(tenant)s
      AND reason = known_reason.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.reason, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = %(tenant)s
      AND reason = lane.reason AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.dead_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT dead_at, job_id FROM dlq_jobs
    WHERE tenant_id = %(tenant)s
      AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
      AND (dead_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND dead_at >= %(dead_from)s::timestamptz
    ORDER BY dead_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.dead_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
  FROM dlq_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.dead_at DESC, newest.job_id DESC

-- name: dlq_jobs_of_type
WITH RECURSIVE lane AS (
  SELECT known_reason.value AS reason, known_kind.value AS kind, first.queue
  FROM unnest(%(reasons)s::text[]) AS known_reason (value)
  CROSS JOIN unnest(%(kinds)s::text[]) AS known_kind (value)
  CROSS JOIN LATERAL (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND reason = known_reason.value AND kind = known_kind.value
      AND queue >= %(first_queue)s::text AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.reason, lane.kind, next.queue
  FROM lane CROSS JOIN LATERAL (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND reason = lane.reason AND kind = lane.kind
      AND queue > lane.queue AND queue <= %(last_queue)s::text
    ORDER BY queue LIMIT 1
  ) AS next
), newest AS (
  SELECT found.dead_at, found.job_id
  FROM lane CROSS JOIN LATERAL (
    SELECT dead_at, job_id FROM dlq_jobs
    WHERE tenant_id = %(tenant)s AND job_type = %(job_type)s::text
      AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
      AND (dead_at, job_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
      AND dead_at >= %(dead_from)s::timestamptz
    ORDER BY dead_at DESC, job_id DESC LIMIT %(limit)s
  ) AS found
  ORDER BY found.dead_at DESC, found.job_id DESC LIMIT %(limit)s
)
SELECT job.*
FROM newest CROSS JOIN LATERAL (
  SELECT job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint, attempt,
    created_at, dead_at
  FROM dlq_jobs WHERE job_id = newest.job_id LIMIT 1
) AS job
ORDER BY newest.dead_at DESC, newest.job_id DESC
