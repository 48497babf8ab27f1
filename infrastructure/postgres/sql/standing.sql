-- What stands in a waiting job's way: for people who ask, without a lock.

-- name: running_now
-- The index of held jobs bounds it to what runs.
SELECT queue, tenant_id, persona, limit_key, count(*)::integer FROM open_jobs
WHERE worker IS NOT NULL AND status = 'in_progress' GROUP BY queue, tenant_id, persona, limit_key

-- name: started_in_window
SELECT coalesce(sum(tokens), 0)::integer FROM limit_uses
WHERE scope = %s AND tenant_id = %s AND subject = %s AND ends_at > clock_timestamp() - make_interval(secs => %s)

-- name: lock_holder
SELECT job_id FROM open_jobs WHERE tenant_id = %s AND lock_key = %s AND status = 'in_progress' LIMIT 1
