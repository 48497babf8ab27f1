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

-- name: save_api_key
SELECT jobledger.save_api_key(%s)

-- name: stored_events
-- What a commit whose answer was lost has stored.
SELECT originator_id, originator_version, notification_id, state FROM ledger
WHERE tenant_id = %s AND originator_id = ANY (%s)
ORDER BY originator_id, originator_version

-- name: own_session
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- name: end_session
-- Waits until it is gone: from then on what it did is decided. A login may end its own sessions.
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s

-- name: mark_transaction
-- Until its end the transaction can be told by this number: behind a pooler nothing else says which one is ours.
SELECT pg_advisory_xact_lock_shared(1818584171, %s)

-- name: end_marked
-- Ends the server process in whose transaction the mark still stands, and waits until it is gone. No row: it is over.
SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks AS l
JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.classid = 1818584171 AND l.objid = %s::bigint::oid AND l.objsubid = 2

-- name: begin_attempt
-- Marks the transaction as that of an attempt: a handler that ends it takes the mark away.
SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())
WHERE set_config('jobledger.attempt', %s, true) IS NOT NULL

-- name: act_as_worker
-- What the mark and the role were; the setting of the role comes last.
SELECT mark, role FROM (
  SELECT current_setting('jobledger.attempt', true) AS mark, current_setting('role') AS role OFFSET 0
) AS before
WHERE set_config('statement_timeout', %s::text, true) IS NOT NULL
  AND set_config('role', 'jobledger_worker', true) IS NOT NULL

-- name: act_again_as
SELECT set_config('role', %s, true)

-- name: notify
SELECT pg_notify(%s, %s)

-- name: ensure_partitions
SELECT jobledger.ensure_partitions(%s)
