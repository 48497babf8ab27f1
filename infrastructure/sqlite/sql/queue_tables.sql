-- The work queue as a whole, beside the ledger: for verifying and rebuilding it.

-- name: events_of_jobs
-- Streams with natural keys begin with ff; they are no jobs.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id < x'ff'
ORDER BY originator_id, originator_version

-- name: rows_of_queue
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
    attempts_allowed, stalls, worker, started_at, lock_key, limit_key, lane, cancel_reason, spec, identity, thread, payload
FROM open_jobs
ORDER BY job_id

-- name: delete_row
DELETE FROM open_jobs WHERE job_id = ?

-- name: body_of_event
SELECT body FROM ledger WHERE originator_id = ? AND originator_version = ?

-- name: insert_row
INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt,
    attempts_counted, attempts_allowed, stalls, worker, started_at, lock_key, limit_key, lane, cancel_reason, spec,
    identity, thread, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
