-- What stands in a waiting job's way: for people who ask, without the writer.

-- name: running_now
-- What runs now, which is never much on SQLite.
SELECT queue, tenant_id, persona, limit_key, count(*) FROM open_jobs
WHERE worker IS NOT NULL AND status = 'in_progress' GROUP BY queue, tenant_id, persona, limit_key

-- name: started_in_window
SELECT coalesce(sum(tokens), 0) FROM limit_uses WHERE scope = ? AND tenant_id = ? AND subject = ? AND bucket > ?

-- name: lock_holder
SELECT job_id FROM open_jobs WHERE tenant_id = ? AND lock_key = ? AND status = 'in_progress' LIMIT 1
