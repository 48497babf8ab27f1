-- Pages of lists under a filter. Every query names the tenant: SQLite has no row-level security.
--
-- Lanes are rows that are alike in all that can be asked for; a page is made of the newest of each lane that is asked
-- for (see lanes.py). So no row is visited to be left out, whether nearly all match or none does. `lane` looks up which
-- lanes there are, queue by queue; where there is none, its queue is NULL. `page` finds in the index alone where the
-- page begins (a table-valued function may depend on the lane, a subquery in FROM may not): only its rows are fetched.

-- name: tenant_jobs_in_lanes
WITH RECURSIVE lane (status, failed, kind, queue) AS (
  SELECT known_status.value, known_failed.value, known_kind.value, (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = :tenant
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:statuses) AS known_status CROSS JOIN json_each(:failures) AS known_failed
  CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = :tenant
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(created_at) FROM (
        SELECT created_at FROM tenant_jobs
        WHERE tenant_id = :tenant
          AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
          AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
        ORDER BY created_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.status, job.failed, job.job_type, job.kind, job.queue, job.priority,
    job.attempt, job.attempts_counted, job.attempts_allowed, job.created_at, job.updated_at, job.due_at, job.started_at,
    job.completed_at, job.error_type, job.error_message, job.progress
FROM lane CROSS JOIN tenant_jobs AS job ON job.job_id IN (
  SELECT job_id FROM tenant_jobs
  WHERE tenant_id = :tenant
    AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= (SELECT begins_at FROM page)
  ORDER BY created_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.created_at DESC, job.job_id DESC
LIMIT :limit

-- name: tenant_jobs_of_type
WITH RECURSIVE lane (status, failed, kind, queue) AS (
  SELECT known_status.value, known_failed.value, known_kind.value, (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = :tenant AND job_type = :job_type
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:statuses) AS known_status CROSS JOIN json_each(:failures) AS known_failed
  CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, (
    SELECT queue FROM tenant_jobs
    WHERE tenant_id = :tenant AND job_type = :job_type
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(created_at) FROM (
        SELECT created_at FROM tenant_jobs
        WHERE tenant_id = :tenant AND job_type = :job_type
          AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
          AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
        ORDER BY created_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.status, job.failed, job.job_type, job.kind, job.queue, job.priority,
    job.attempt, job.attempts_counted, job.attempts_allowed, job.created_at, job.updated_at, job.due_at, job.started_at,
    job.completed_at, job.error_type, job.error_message, job.progress
FROM lane CROSS JOIN tenant_jobs AS job ON job.job_id IN (
  SELECT job_id FROM tenant_jobs
  WHERE tenant_id = :tenant AND job_type = :job_type
    AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= (SELECT begins_at FROM page)
  ORDER BY created_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.created_at DESC, job.job_id DESC
LIMIT :limit

-- name: persona_jobs_in_lanes
WITH RECURSIVE lane (status, failed, kind, queue) AS (
  SELECT known_status.value, known_failed.value, known_kind.value, (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = :tenant AND persona = :persona
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:statuses) AS known_status CROSS JOIN json_each(:failures) AS known_failed
  CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = :tenant AND persona = :persona
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(created_at) FROM (
        SELECT created_at FROM persona_jobs
        WHERE tenant_id = :tenant AND persona = :persona
          AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
          AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
        ORDER BY created_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.status, job.failed, job.job_type, job.kind, job.queue, job.priority,
    job.attempt, job.attempts_counted, job.attempts_allowed, job.created_at, job.updated_at, job.due_at, job.started_at,
    job.completed_at, job.error_type, job.error_message, job.progress
FROM lane CROSS JOIN persona_jobs AS job ON job.job_id IN (
  SELECT job_id FROM persona_jobs
  WHERE tenant_id = :tenant AND persona = :persona
    AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= (SELECT begins_at FROM page)
  ORDER BY created_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.created_at DESC, job.job_id DESC
LIMIT :limit

-- name: persona_jobs_of_type
WITH RECURSIVE lane (status, failed, kind, queue) AS (
  SELECT known_status.value, known_failed.value, known_kind.value, (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = :tenant AND persona = :persona AND job_type = :job_type
      AND status = known_status.value AND failed = known_failed.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:statuses) AS known_status CROSS JOIN json_each(:failures) AS known_failed
  CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.status, lane.failed, lane.kind, (
    SELECT queue FROM persona_jobs
    WHERE tenant_id = :tenant AND persona = :persona AND job_type = :job_type
      AND status = lane.status AND failed = lane.failed AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(created_at) FROM (
        SELECT created_at FROM persona_jobs
        WHERE tenant_id = :tenant AND persona = :persona AND job_type = :job_type
          AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
          AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= :created_from
        ORDER BY created_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.status, job.failed, job.job_type, job.kind, job.queue, job.priority,
    job.attempt, job.attempts_counted, job.attempts_allowed, job.created_at, job.updated_at, job.due_at, job.started_at,
    job.completed_at, job.error_type, job.error_message, job.progress
FROM lane CROSS JOIN persona_jobs AS job ON job.job_id IN (
  SELECT job_id FROM persona_jobs
  WHERE tenant_id = :tenant AND persona = :persona AND job_type = :job_type
    AND status = lane.status AND failed = lane.failed AND kind = lane.kind AND queue = lane.queue
    AND (created_at, job_id) < (:before_at, :before_id) AND created_at >= (SELECT begins_at FROM page)
  ORDER BY created_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.created_at DESC, job.job_id DESC
LIMIT :limit

-- name: dlq_jobs_in_lanes
WITH RECURSIVE lane (reason, kind, queue) AS (
  SELECT known_reason.value, known_kind.value, (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = :tenant
      AND reason = known_reason.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:reasons) AS known_reason CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.reason, lane.kind, (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = :tenant
      AND reason = lane.reason AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(dead_at) FROM (
        SELECT dead_at FROM dlq_jobs
        WHERE tenant_id = :tenant
          AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
          AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
        ORDER BY dead_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.job_type, job.kind, job.queue, job.reason, job.error_type,
    job.error_message, job.fingerprint, job.attempt, job.created_at, job.dead_at
FROM lane CROSS JOIN dlq_jobs AS job ON job.job_id IN (
  SELECT job_id FROM dlq_jobs
  WHERE tenant_id = :tenant
    AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= (SELECT begins_at FROM page)
  ORDER BY dead_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.dead_at DESC, job.job_id DESC
LIMIT :limit

-- name: dlq_jobs_of_type
WITH RECURSIVE lane (reason, kind, queue) AS (
  SELECT known_reason.value, known_kind.value, (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = :tenant AND job_type = :job_type
      AND reason = known_reason.value AND kind = known_kind.value
      AND queue >= :first_queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM json_each(:reasons) AS known_reason CROSS JOIN json_each(:kinds) AS known_kind
  UNION ALL
  SELECT lane.reason, lane.kind, (
    SELECT queue FROM dlq_jobs
    WHERE tenant_id = :tenant AND job_type = :job_type
      AND reason = lane.reason AND kind = lane.kind
      AND queue > lane.queue AND queue <= :last_queue
    ORDER BY queue LIMIT 1)
  FROM lane WHERE lane.queue IS NOT NULL
), page (begins_at) AS (
  SELECT min(at) FROM (
    SELECT found.value AS at
    FROM lane CROSS JOIN json_each((
      SELECT json_group_array(dead_at) FROM (
        SELECT dead_at FROM dlq_jobs
        WHERE tenant_id = :tenant AND job_type = :job_type
          AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
          AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= :dead_from
        ORDER BY dead_at DESC, job_id DESC LIMIT :limit))) AS found
    WHERE lane.queue IS NOT NULL
    ORDER BY found.value DESC LIMIT :limit)
)
SELECT job.job_id, job.tenant_id, job.persona, job.job_type, job.kind, job.queue, job.reason, job.error_type,
    job.error_message, job.fingerprint, job.attempt, job.created_at, job.dead_at
FROM lane CROSS JOIN dlq_jobs AS job ON job.job_id IN (
  SELECT job_id FROM dlq_jobs
  WHERE tenant_id = :tenant AND job_type = :job_type
    AND reason = lane.reason AND kind = lane.kind AND queue = lane.queue
    AND (dead_at, job_id) < (:before_at, :before_id) AND dead_at >= (SELECT begins_at FROM page)
  ORDER BY dead_at DESC, job_id DESC LIMIT :limit)
WHERE lane.queue IS NOT NULL
ORDER BY job.dead_at DESC, job.job_id DESC
LIMIT :limit
