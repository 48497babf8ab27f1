-- What the projections' store and source ask. The statements that write rows are composed in views.py from the
-- columns of the projection.

-- name: read_events
-- Topics that nobody wants are left out here; unknown ones are not, so that an older program notices them.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE notification_id > ? AND notification_id <= ? AND topic NOT IN (SELECT value FROM json_each(?))
ORDER BY notification_id
LIMIT ?

-- name: lag
-- How many events each projection has not read, up to a number, and how old the first of them is.
SELECT asked.value,
    (SELECT count(*) FROM (SELECT 1 FROM ledger
        WHERE notification_id > coalesce(c.position, 0) ORDER BY notification_id LIMIT ?2)),
    (SELECT recorded_at FROM ledger WHERE notification_id > coalesce(c.position, 0) ORDER BY notification_id LIMIT 1)
FROM json_each(?1) asked LEFT JOIN checkpoints c ON c.projection = asked.value

-- name: read_checkpoints
SELECT projection, position, version, recorded_at, owner, updated_at, revision, held_until, held_by FROM checkpoints

-- name: begin_checkpoint
INSERT INTO checkpoints (projection, version, position, updated_at)
VALUES (?, ?, 0, ?)
ON CONFLICT (projection) DO NOTHING

-- name: move_checkpoint
-- Compare-and-set: whoever worked on another version of the view stores nothing, nor does anybody while it is held.
UPDATE checkpoints
SET position = ?, version = ?, recorded_at = ?, updated_at = ?, owner = ?, revision = revision + 1
WHERE projection = ? AND position = ? AND revision = ? AND (held_until IS NULL OR held_until <= ?)

-- name: touch_checkpoint
UPDATE checkpoints SET revision = revision + 1
WHERE projection = ? AND revision = ? AND (held_until IS NULL OR held_until <= ?)

-- name: release_checkpoint
UPDATE checkpoints SET held_until = NULL, held_by = NULL WHERE projection = ? AND held_until = ?

-- name: reset_checkpoint
INSERT INTO checkpoints (projection, version, position, recorded_at, updated_at, owner)
VALUES (?, ?, 0, NULL, ?, ?)
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, position = 0, recorded_at = NULL, updated_at = excluded.updated_at,
    owner = excluded.owner, revision = revision + 1

-- name: parked
SELECT projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at
FROM parked_events
ORDER BY projection, position, key LIMIT ?

-- name: parked_of
SELECT projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at
FROM parked_events WHERE projection = ?
ORDER BY position, key LIMIT ?

-- name: failed
SELECT projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at
FROM parked_events WHERE error IS NOT NULL
ORDER BY projection, position, key LIMIT ?

-- name: failed_of
SELECT projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at
FROM parked_events WHERE projection = ? AND error IS NOT NULL
ORDER BY position, key LIMIT ?

-- name: parked_of_key
SELECT projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at
FROM parked_events WHERE projection = ? AND key = ? AND position > ?
ORDER BY position LIMIT ?

-- name: parked_counts
-- Those that failed, and those that wait behind one.
SELECT projection, count(error), count(*) - count(error) FROM parked_events GROUP BY projection

-- name: parked_keys
-- From each key to the next, however many events wait behind it.
WITH RECURSIVE keys (key) AS (
    SELECT min(key) FROM parked_events WHERE projection = ?1
    UNION ALL
    SELECT (SELECT min(key) FROM parked_events WHERE projection = ?1 AND key > keys.key)
    FROM keys WHERE keys.key IS NOT NULL
)
SELECT key FROM keys WHERE key IS NOT NULL

-- name: park
INSERT INTO parked_events
    (projection, originator_id, originator_version, key, tenant_id, position, topic, error, parked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (projection, originator_id, originator_version, key) DO UPDATE SET error = excluded.error

-- name: waits_behind
-- Whether an event is parked that is of the same key and earlier.
SELECT 1 FROM parked_events WHERE projection = ? AND key = ? AND position < ? LIMIT 1

-- name: unpark
DELETE FROM parked_events WHERE projection = ? AND originator_id = ? AND originator_version = ? AND key = ?

-- name: forget_parked
DELETE FROM parked_events WHERE projection = ?

-- name: ranges
-- The last stream of each of so many equal parts of the ledger, in the order of streams; from the index alone.
SELECT DISTINCT originator_id
FROM (
    SELECT originator_id, row_number() OVER (ORDER BY originator_id, originator_version) AS number
    FROM ledger WHERE notification_id <= ?1
)
WHERE number % ?2 = 0
ORDER BY originator_id

-- name: count_events
SELECT count(*) FROM ledger WHERE notification_id <= ?

-- name: read_streams
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id > ? AND originator_id <= ? AND notification_id <= ?
    AND topic NOT IN (SELECT value FROM json_each(?))
ORDER BY originator_id, originator_version
LIMIT ?

-- name: read_rest_of_stream
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id = ? AND originator_version > ? AND notification_id <= ?
    AND topic NOT IN (SELECT value FROM json_each(?))
ORDER BY originator_version

-- name: read_tenant
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE tenant_id = ? AND notification_id > ? AND notification_id <= ? AND topic NOT IN (SELECT value FROM json_each(?))
ORDER BY notification_id
LIMIT ?

-- name: read_at
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger WHERE notification_id IN (SELECT value FROM json_each(?))
ORDER BY notification_id

-- name: read_stream
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger WHERE originator_id = ? AND originator_version > ?
ORDER BY originator_version
