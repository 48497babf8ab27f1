-- Writing: our functions, which alone may write. They stand in migrations/0001_pre_ledger.sql and
-- 0003_pre_workers.sql.
-- Named with their schema, because dispatch_jobs also runs on callers' own connections.

-- name: dispatch
SELECT base, refused, reasons, first_jobs, first_sha256
FROM jobledger.dispatch_jobs(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)

-- name: complete
SELECT base, written, versions FROM jobledger.complete_jobs(%b, %b, %b, %b, %b)

-- name: change
SELECT base, written, versions, locked_elsewhere, missing
FROM jobledger.change_jobs(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)

-- name: append
SELECT jobledger.ledger_append(%b, %b, %b, %b, %b, %b)

-- name: save_tenant
SELECT jobledger.save_tenant(%s, %s, %s)

-- name: save_job_type
SELECT jobledger.save_job_type(%s, %s, %s, %s, %s)

-- name: save_limit
SELECT jobledger.save_limit(%s, %s, %s, %s, %s, %s, %s, %s)

-- name: stored_events
-- What a commit whose answer was lost has stored.
SELECT originator_id, originator_version, notification_id, state FROM ledger
WHERE originator_id = ANY (%s)
ORDER BY originator_id, originator_version

-- name: own_session
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- name: end_session
-- Waits until it is gone: from then on what it did is decided. A login may end its own sessions.
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s

-- name: notify
SELECT pg_notify(%s, %s)

-- name: ensure_partitions
SELECT jobledger.ensure_partitions(%s)
