-- Limits and pauses, and what a claim asks about them. All that counts runs under the only writer.

-- name: limits_version
-- Moves with every change of limits; no row as long as there never was one. `lanes` is the version that jobs which
-- waited already were brought in line with.
SELECT (SELECT value FROM installation WHERE key = 'limits'), (SELECT value FROM installation WHERE key = 'lanes')

-- name: limits_changed
INSERT INTO installation (key, value) VALUES ('limits', '1')
ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)

-- name: lanes_applied
INSERT INTO installation (key, value) VALUES ('lanes', ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: limits
SELECT scope, tenant_id, subject, concurrency, rate_count, rate_seconds, weight, paused FROM limits
ORDER BY scope, tenant_id, subject

-- name: save_limit
INSERT INTO limits (scope, tenant_id, subject, concurrency, rate_count, rate_seconds, weight, paused)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, tenant_id, subject) DO UPDATE SET concurrency = excluded.concurrency,
    rate_count = excluded.rate_count, rate_seconds = excluded.rate_seconds, weight = excluded.weight,
    paused = excluded.paused

-- name: delete_limit
DELETE FROM limits WHERE scope = ? AND tenant_id = ? AND subject = ?

-- name: limited_personas
SELECT tenant_id, subject FROM limits WHERE scope = 'persona'

-- name: running
-- What runs now, which is never much on SQLite.
SELECT queue, tenant_id, persona, limit_key, count(*) FROM open_jobs
WHERE worker IS NOT NULL AND status = 'in_progress' GROUP BY queue, tenant_id, persona, limit_key

-- name: limit_uses
-- `bucket` is the moment that it ends at, so that what was used keeps its meaning when the rate is changed.
SELECT bucket, tokens FROM limit_uses WHERE scope = ? AND tenant_id = ? AND subject = ? AND bucket > ?

-- name: add_limit_use
INSERT INTO limit_uses (scope, tenant_id, subject, bucket, tokens) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (scope, tenant_id, subject, bucket) DO UPDATE SET tokens = tokens + excluded.tokens

-- name: limit_uses_unfinished
SELECT subject, bucket, tokens FROM limit_uses WHERE scope = ? AND tenant_id = ? AND bucket > ?

-- name: forget_limit_use
DELETE FROM limit_uses WHERE scope = ? AND tenant_id = ? AND subject = ? AND bucket = ?

-- name: used_targets
SELECT scope, tenant_id, subject, min(bucket) FROM limit_uses GROUP BY scope, tenant_id, subject

-- name: forget_limit_uses
DELETE FROM limit_uses WHERE scope = ? AND tenant_id = ? AND subject = ? AND bucket <= ?

-- name: jobs_in_lanes
-- Those of which the lane may depend on limits.
SELECT job_id, tenant_id, persona, lock_key, limit_key, lane FROM open_jobs
WHERE job_id > ? AND persona IS NOT NULL ORDER BY job_id LIMIT ?

-- name: set_lane
UPDATE open_jobs SET lane = ?2 WHERE job_id = ?1
