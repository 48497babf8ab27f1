-- The work queue: claims, leases, liveness. The functions stand in migrations/0001_pre_ledger.sql.

-- name: promote
-- Delayed jobs that are due become ready: a bounded number with each claim.
SELECT promote_due_jobs(%s, %s)

-- name: claim
SELECT job_id, tenant_id, version, priority, due_at, attempt, attempts_counted, attempts_allowed, stalls, job_type,
       persona, lock_key, spec, thread, payload, started_at
FROM claim_jobs(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: heartbeat
-- One statement renews all leases of a worker and answers with what the database believes it holds.
WITH renewed AS (
  INSERT INTO workers (worker, code_version, queues, concurrency, running, lease_seconds, started_at, last_seen_at)
  VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
  ON CONFLICT (worker) DO UPDATE SET
    code_version = excluded.code_version, queues = excluded.queues, concurrency = excluded.concurrency,
    running = excluded.running, lease_seconds = excluded.lease_seconds, last_seen_at = excluded.last_seen_at
)
SELECT job_id, attempt, cancel_reason IS NOT NULL, tenant_id FROM open_jobs WHERE worker = %s

-- name: goodbye
DELETE FROM workers WHERE worker = %s

-- name: expired
-- A worker that was never heard of has said goodbye, or never came to its first heartbeat.
SELECT o.job_id, o.tenant_id, o.version, o.status, o.queue, o.job_type, o.persona, o.priority, o.due_at, o.attempt,
       o.attempts_counted, o.attempts_allowed, o.stalls, o.worker, o.started_at, o.lock_key, o.cancel_reason, o.spec,
       o.thread, o.payload, w.last_seen_at
FROM open_jobs AS o
LEFT JOIN workers AS w ON w.worker = o.worker
WHERE o.worker IS NOT NULL
  AND (w.worker IS NULL OR w.last_seen_at + make_interval(secs => w.lease_seconds) < clock_timestamp())
ORDER BY o.started_at, o.job_id
LIMIT %s

-- name: waiting_of_inactive_tenants
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
       attempts_allowed, stalls, worker, started_at, lock_key, cancel_reason, spec, thread, payload
FROM waiting_of_inactive_tenants(%s)

-- name: open_jobs
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
       attempts_allowed, stalls, worker, started_at, lock_key, cancel_reason, spec, thread, payload
FROM open_jobs
WHERE tenant_id = %s AND job_id = ANY (%s)

-- name: next_due
-- Zero when something is ready; else until the next delayed job; null when there is none. One look into each index.
SELECT min(look.seconds)
FROM unnest(%s::text[]) AS asked (queue)
CROSS JOIN LATERAL (
  (SELECT 0.0::float8 AS seconds FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NULL LIMIT 1)
  UNION ALL
  (SELECT 0.0 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NOT NULL LIMIT 1)
  UNION ALL
  (SELECT 0.0 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'pending' AND o.stalls > 0 LIMIT 1)
  UNION ALL
  (SELECT greatest(0.0, extract(epoch FROM o.due_at - clock_timestamp()))::float8 FROM open_jobs AS o
   WHERE o.queue = asked.queue AND o.status = 'delayed' ORDER BY o.due_at LIMIT 1)
) AS look
