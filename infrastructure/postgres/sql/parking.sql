-- Events that a fold could not take, and those of the same key that wait behind them.

-- name: held_keys
-- Skips from key to key: asked with every batch, it must not read what waits behind each of them.
WITH RECURSIVE held (projection, key) AS (
  (SELECT projection, key FROM parked_events ORDER BY projection, key LIMIT 1)
  UNION ALL
  SELECT next.projection, next.key FROM held CROSS JOIN LATERAL (
    SELECT p.projection, p.key FROM parked_events AS p
    WHERE (p.projection, p.key) > (held.projection, held.key)
    ORDER BY p.projection, p.key LIMIT 1
  ) AS next
)
SELECT projection, key FROM held

-- name: parked_of_key
SELECT projection, key, originator_id, originator_version, tenant_id, position, topic, error, parked_at
FROM parked_events
WHERE projection = %s AND key = %s AND position > %s
ORDER BY position
LIMIT %s

-- name: parked
SELECT projection, key, originator_id, originator_version, tenant_id, position, topic, error, parked_at
FROM parked_events
WHERE (%(projection)s::text IS NULL OR projection = %(projection)s) AND (NOT %(failed)s OR error IS NOT NULL)
ORDER BY projection, position
LIMIT %(limit)s

-- name: parked_counts
SELECT projection, count(error), count(*) - count(error) FROM parked_events GROUP BY projection

-- name: park
-- What waits, waits behind something: else somebody took that meanwhile.
INSERT INTO parked_events (projection, key, originator_id, originator_version, tenant_id, position, topic, error,
                           parked_at)
SELECT new.*, clock_timestamp()
FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::integer[], %s::text[], %s::bigint[], %s::text[], %s::text[])
  AS new (projection, key, originator_id, originator_version, tenant_id, position, topic, error)
WHERE new.error IS NOT NULL
  OR EXISTS (SELECT FROM parked_events AS p WHERE p.projection = new.projection AND p.key = new.key)
ON CONFLICT (projection, originator_id, originator_version, key) DO UPDATE
SET error = excluded.error

-- name: unpark
DELETE FROM parked_events AS p
USING unnest(%s::text[], %s::text[], %s::uuid[], %s::integer[]) AS taken (projection, key, id, version)
WHERE (p.projection, p.key, p.originator_id, p.originator_version)
  = (taken.projection, taken.key, taken.id, taken.version)
