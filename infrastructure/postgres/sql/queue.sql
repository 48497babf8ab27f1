-- The work queue: claims, leases, liveness. The functions stand in migrations/0001_pre_ledger.sql, those
-- of claims and limits in 0003_pre_workers.sql.

-- name: promote
-- Delayed jobs that are due become ready: a bounded number with each claim.
SELECT promote_due_jobs(%s, %s)

-- name: claim
SELECT job_id, tenant_id, version, priority, due_at, attempt, attempts_counted, attempts_allowed, stalls, job_type,
       persona, lock_key, limit_key, spec, thread, payload, started_at
FROM claim_jobs(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: apply_limits
SELECT apply_limits(%s)

-- name: heartbeat
-- One statement renews all leases of a worker and answers with the time and what the database believes it holds.
WITH renewed AS (
  INSERT INTO workers (worker, code_version, queues, concurrency, running, lease_seconds, report, started_at,
                       last_seen_at)
  VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
  ON CONFLICT (worker) DO UPDATE SET
    code_version = excluded.code_version, queues = excluded.queues, concurrency = excluded.concurrency,
    running = excluded.running, lease_seconds = excluded.lease_seconds, report = excluded.report,
    last_seen_at = excluded.last_seen_at
)
SELECT now.at, o.job_id, o.attempt, o.cancel_reason IS NOT NULL, o.tenant_id
FROM (SELECT clock_timestamp() AS at) AS now
LEFT JOIN open_jobs AS o ON o.worker = %s

-- name: workers
SELECT worker, code_version, queues, concurrency, running, lease_seconds, report, started_at, last_seen_at,
       extract(epoch FROM clock_timestamp() - last_seen_at)::float8
FROM workers
ORDER BY started_at, worker

-- name: forget_workers
DELETE FROM workers AS w
WHERE w.last_seen_at < clock_timestamp() - make_interval(secs => %s)
  AND NOT EXISTS (SELECT FROM open_jobs AS o WHERE o.worker = w.worker)
RETURNING w.worker

-- name: give_up_after
SELECT set_config('statement_timeout', %s, true)

-- name: counts
-- Each part reads the index that holds just these jobs (without their rows, where those are known to be visible).
SELECT counted.queue, counted.status, sum(counted.jobs)::bigint
FROM (
  SELECT queue, 'pending' AS status, count(*) AS jobs FROM open_jobs
  WHERE status = 'pending' AND stalls = 0 AND lane IS NULL GROUP BY queue
  UNION ALL
  SELECT queue, 'pending', count(*) FROM open_jobs
  WHERE status = 'pending' AND stalls = 0 AND lane IS NOT NULL GROUP BY queue
  UNION ALL
  SELECT queue, 'pending', count(*) FROM open_jobs WHERE status = 'pending' AND stalls > 0 GROUP BY queue
  UNION ALL
  SELECT queue, 'delayed', count(*) FROM open_jobs WHERE status = 'delayed' GROUP BY queue
  UNION ALL
  SELECT queue, 'in_progress', count(*) FROM open_jobs WHERE worker IS NOT NULL GROUP BY queue
  UNION ALL
  SELECT queue, status, count(*) FROM open_jobs WHERE status IN ('blocked', 'dlq') GROUP BY queue, status
) AS counted
GROUP BY counted.queue, counted.status

-- name: goodbye
DELETE FROM workers WHERE worker = %s

-- name: expired
-- A worker that was never heard of has said goodbye, or never came to its first heartbeat.
SELECT o.job_id, o.tenant_id, o.version, o.status, o.queue, o.job_type, o.persona, o.priority, o.due_at, o.attempt,
       o.attempts_counted, o.attempts_allowed, o.stalls, o.worker, o.started_at, o.lock_key, o.limit_key, o.cancel_reason, o.spec,
       o.thread, o.payload, w.last_seen_at
FROM open_jobs AS o
LEFT JOIN workers AS w ON w.worker = o.worker
WHERE o.worker IS NOT NULL
  AND (w.worker IS NULL OR w.last_seen_at + make_interval(secs => w.lease_seconds) < clock_timestamp())
ORDER BY o.started_at, o.job_id
LIMIT %s

-- name: waiting_of_inactive_tenants
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
       attempts_allowed, stalls, worker, started_at, lock_key, limit_key, cancel_reason, spec, thread, payload
FROM waiting_of_inactive_tenants(%s)

-- name: open_jobs
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
       attempts_allowed, stalls, worker, started_at, lock_key, limit_key, cancel_reason, spec, thread, payload
FROM open_jobs
WHERE tenant_id = %s AND job_id = ANY (%s)

-- name: next_due
-- Zero when something is ready; else until the next delayed job; null when there is none. One look into each index.
SELECT min(look.seconds)
FROM unnest(%s::text[]) AS asked (queue)
CROSS JOIN LATERAL (
  (SELECT 0.0::float8 AS seconds FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls = 0 AND o.lane IS NULL LIMIT 1)
  UNION ALL
  (SELECT 0.0 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls = 0 AND o.lane IS NOT NULL LIMIT 1)
  UNION ALL
  (SELECT 0.0 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls > 0 LIMIT 1)
  UNION ALL
  (SELECT greatest(0.0, extract(epoch FROM o.due_at - clock_timestamp()))::float8 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'delayed' ORDER BY o.due_at LIMIT 1)
) AS look
