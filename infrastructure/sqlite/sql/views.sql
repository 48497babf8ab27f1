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
SELECT projection, position, version, recorded_at FROM checkpoints

-- name: begin_checkpoint
INSERT INTO checkpoints (projection, version, position, updated_at)
VALUES (?, ?, 0, ?)
ON CONFLICT (projection) DO NOTHING

-- name: move_checkpoint
-- Compare-and-set: whoever read at another position stores nothing.
UPDATE checkpoints
SET position = ?, version = ?, recorded_at = ?, updated_at = ?
WHERE projection = ? AND position = ?

-- name: reset_checkpoint
INSERT INTO checkpoints (projection, version, position, recorded_at, updated_at)
VALUES (?, ?, 0, NULL, ?)
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, position = 0, recorded_at = NULL, updated_at = excluded.updated_at
