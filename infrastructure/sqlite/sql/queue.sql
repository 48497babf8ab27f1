-- Claims, leases and liveness. All of it runs under the only writer, so nothing has to be locked.

-- name: anything_to_claim
-- Asked without the writer, so that idle workers keep out of everybody's way.
SELECT EXISTS (SELECT 1 FROM open_jobs WHERE status = 'pending' AND stalls = 0 AND lane IS NULL
                 AND queue IN (SELECT value FROM json_each(?1)))
    OR EXISTS (SELECT 1 FROM open_jobs WHERE status = 'pending' AND stalls = 0 AND lane IS NOT NULL
                 AND queue IN (SELECT value FROM json_each(?1)))
    OR EXISTS (SELECT 1 FROM open_jobs WHERE status = 'pending' AND stalls > 0
                 AND queue IN (SELECT value FROM json_each(?1)))
    OR EXISTS (SELECT 1 FROM open_jobs WHERE status = 'delayed' AND due_at <= ?2)

-- name: promote_due_jobs
-- Delayed jobs that are due become ready: a bounded number with each claim, of any queue.
UPDATE open_jobs SET status = 'pending'
WHERE job_id IN (SELECT job_id FROM open_jobs WHERE status = 'delayed' AND due_at <= ?1 ORDER BY due_at LIMIT ?2)

-- name: next_tenant
-- One probe of a loose index scan: the next tenant that has ready jobs in a queue.
SELECT min(tenant_id) FROM (
    SELECT * FROM (SELECT tenant_id FROM open_jobs
        WHERE queue = ?1 AND tenant_id > ?2 AND status = 'pending' AND stalls = 0 AND lane IS NULL
        ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT tenant_id FROM open_jobs
        WHERE queue = ?1 AND tenant_id > ?2 AND status = 'pending' AND stalls = 0 AND lane IS NOT NULL
        ORDER BY tenant_id LIMIT 1))

-- name: is_active
SELECT status = 'active' FROM tenants WHERE tenant_id = ?

-- name: stalled_candidates
-- A job that stalled before comes first and alone: whoever waits behind it would die with it.
SELECT o.priority, o.due_at, o.job_id, o.tenant_id, o.persona, o.lock_key, o.limit_key
FROM open_jobs o JOIN tenants t ON t.tenant_id = o.tenant_id
WHERE o.queue = ?1 AND (o.due_at, o.job_id) > (?2, ?3) AND o.status = 'pending' AND o.stalls > 0
  AND t.status = 'active'
  AND o.job_type IN (SELECT value FROM json_each(?4))
  AND (?5 IS NULL OR o.persona IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR o.tenant_id IN (SELECT value FROM json_each(?6)))
  AND o.tenant_id NOT IN (SELECT value FROM json_each(?7))
  AND (o.lock_key IS NULL OR NOT EXISTS (
        SELECT 1 FROM open_jobs r
        WHERE r.tenant_id = o.tenant_id AND r.lock_key = o.lock_key AND r.status = 'in_progress'))
ORDER BY o.due_at, o.job_id LIMIT ?8

-- name: candidates
-- Jobs that nothing holds one by one. Those of a persona that is limited now, but was not when they were dispatched,
-- wait until they have their lane.
SELECT priority, due_at, job_id, persona, lock_key, limit_key FROM open_jobs
WHERE queue = ?1 AND tenant_id = ?2 AND status = 'pending' AND stalls = 0 AND lane IS NULL
  AND job_type IN (SELECT value FROM json_each(?3))
  AND (?5 IS NULL OR persona IS NULL OR persona NOT IN (SELECT value FROM json_each(?5)))
ORDER BY priority DESC, due_at, job_id LIMIT ?6 OFFSET ?7

-- name: candidates_of_persona
-- The same for a worker of some personas: others' backlog is not looked at.
SELECT priority, due_at, job_id, persona, lock_key, limit_key FROM open_jobs
WHERE queue = ?1 AND tenant_id = ?2 AND persona = ?8 AND status = 'pending' AND stalls = 0 AND lane IS NULL
  AND persona IS NOT NULL
  AND job_type IN (SELECT value FROM json_each(?3))
ORDER BY priority DESC, due_at, job_id LIMIT ?6 OFFSET ?7

-- name: next_lane
-- A loose scan over the lanes: ten thousand jobs in one cost one probe. What binds one job of a lane binds all of them.
SELECT lane, lock_key, limit_key, persona FROM open_jobs
WHERE queue = ?1 AND tenant_id = ?2 AND lane > ?3 AND status = 'pending' AND stalls = 0 AND lane IS NOT NULL
ORDER BY lane LIMIT 1

-- name: candidates_in_lane
SELECT priority, due_at, job_id, persona, lock_key, limit_key FROM open_jobs
WHERE queue = ?1 AND tenant_id = ?2 AND lane = ?8 AND status = 'pending' AND stalls = 0 AND lane IS NOT NULL
  AND job_type IN (SELECT value FROM json_each(?3))
  AND (?4 IS NULL OR persona IN (SELECT value FROM json_each(?4)))
  AND (?5 IS NULL OR persona IS NULL OR persona NOT IN (SELECT value FROM json_each(?5)))
ORDER BY priority DESC, due_at, job_id LIMIT ?6 OFFSET ?7

-- name: lock_is_held
SELECT EXISTS (SELECT 1 FROM open_jobs
               WHERE tenant_id = ? AND lock_key = ? AND lock_key IS NOT NULL AND status = 'in_progress')

-- name: start_job
UPDATE open_jobs SET status = 'in_progress', version = version + 1, attempt = attempt + 1,
    attempts_counted = attempts_counted + 1, worker = ?2, started_at = ?3
WHERE job_id = ?1
RETURNING job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
    attempts_allowed, stalls, worker, started_at, lock_key, limit_key, cancel_reason, spec, thread, payload, identity

-- name: open_job
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
    attempts_allowed, stalls, worker, started_at, lock_key, limit_key, cancel_reason, spec, thread, payload
FROM open_jobs WHERE job_id = ? AND tenant_id = ?

-- name: heartbeat
INSERT INTO workers (worker, code_version, queues, concurrency, running, lease_seconds, report, started_at,
    last_seen_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
ON CONFLICT (worker) DO UPDATE SET code_version = excluded.code_version, queues = excluded.queues,
    concurrency = excluded.concurrency, running = excluded.running, lease_seconds = excluded.lease_seconds,
    report = excluded.report, last_seen_at = excluded.last_seen_at

-- name: held_leases
SELECT job_id, attempt, cancel_reason IS NOT NULL, tenant_id FROM open_jobs
WHERE worker = ? AND worker IS NOT NULL AND status = 'in_progress' ORDER BY job_id

-- name: workers
SELECT worker, code_version, queues, concurrency, running, lease_seconds, report, started_at, last_seen_at
FROM workers ORDER BY started_at, worker

-- name: forget_workers
DELETE FROM workers WHERE last_seen_at < ?1
    AND NOT EXISTS (SELECT 1 FROM open_jobs o WHERE o.worker = workers.worker AND o.worker IS NOT NULL)
RETURNING worker

-- name: counts
-- Each part reads the index that holds just these jobs.
SELECT queue, status, sum(jobs) FROM (
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
    SELECT queue, 'in_progress', count(*) FROM open_jobs
    WHERE worker IS NOT NULL AND status = 'in_progress' GROUP BY queue
    UNION ALL
    SELECT queue, status, count(*) FROM open_jobs WHERE status IN ('blocked', 'dlq') GROUP BY queue, status
) GROUP BY queue, status

-- name: goodbye
DELETE FROM workers WHERE worker = ?

-- name: expired
-- A worker without a row has said goodbye, or never came to its first heartbeat.
SELECT o.job_id, o.tenant_id, o.version, o.status, o.queue, o.job_type, o.persona, o.priority, o.due_at, o.attempt,
    o.attempts_counted, o.attempts_allowed, o.stalls, o.worker, o.started_at, o.lock_key, o.limit_key, o.cancel_reason,
    o.spec, o.thread, o.payload, w.last_seen_at
FROM open_jobs o LEFT JOIN workers w ON w.worker = o.worker
WHERE o.worker IS NOT NULL AND o.status = 'in_progress'
  AND (w.worker IS NULL OR w.last_seen_at + w.lease_seconds * 1000000 < ?1)
ORDER BY o.started_at, o.job_id LIMIT ?2

-- name: waiting_of_inactive_tenants
SELECT o.job_id, o.tenant_id, o.version, o.status, o.queue, o.job_type, o.persona, o.priority, o.due_at, o.attempt,
    o.attempts_counted, o.attempts_allowed, o.stalls, o.worker, o.started_at, o.lock_key, o.limit_key, o.cancel_reason,
    o.spec, o.thread, o.payload
FROM open_jobs o WHERE o.tenant_id = ?1 AND o.status IN ('pending', 'delayed', 'blocked')
ORDER BY o.job_id LIMIT ?2

-- name: next_tenant_of_any_job
SELECT min(tenant_id) FROM open_jobs WHERE tenant_id > ?

-- name: next_due
-- What is ready counts as due now; one look at the index of each queue.
SELECT min(due_at) FROM open_jobs WHERE status = 'delayed' AND queue IN (SELECT value FROM json_each(?))
