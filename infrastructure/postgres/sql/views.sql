-- What the projections' store and source ask. The statements that write rows are composed in views.py from the
-- columns of the projection.

-- name: read_events
-- Topics that nobody wants are left out here; unknown ones are not, so that an older program notices them.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE notification_id > %b::bigint AND notification_id <= %b::bigint AND topic <> ALL (%b::text[])
ORDER BY notification_id
LIMIT %b::bigint

-- name: read_at
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE notification_id = ANY (%b::bigint[])
ORDER BY notification_id

-- name: read_tenant
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE tenant_id = %b AND notification_id > %b::bigint AND notification_id <= %b::bigint AND topic <> ALL (%b::text[])
ORDER BY notification_id
LIMIT %b::bigint

-- name: read_streams
-- Stream after stream by the primary key. The partitions of other months are not even opened: the plan is made anew.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id > %b AND originator_id <= %b AND notification_id <= %b::bigint AND topic <> ALL (%b::text[])
ORDER BY originator_id, originator_version
LIMIT %b::bigint

-- name: read_stream
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id = %b AND originator_version > %b::integer AND notification_id <= %b::bigint
  AND topic <> ALL (%b::text[])
ORDER BY originator_version

-- name: ledger_pages
SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint / current_setting('block_size')::bigint
FROM pg_partition_tree('ledger') AS p JOIN pg_class AS c ON c.oid = p.relid
WHERE p.isleaf

-- name: stream_borders
-- Of a sample of the ledger's pages: as many events lie between two borders, about.
SELECT percentile_disc(%b::float8[]) WITHIN GROUP (ORDER BY originator_id)
FROM ledger TABLESAMPLE SYSTEM (%b)
WHERE notification_id <= %b::bigint

-- name: give_up_soon
-- Measuring never weighs on the ledger.
SELECT set_config('statement_timeout', '2s', true)

-- name: lag
-- How many events each projection has not read, up to a number, and how old the first of them is.
SELECT asked.name, behind.events, behind.seconds
FROM unnest(%s::text[]) AS asked (name)
LEFT JOIN checkpoints AS c ON c.projection = asked.name
CROSS JOIN LATERAL (
  SELECT count(*) AS events, coalesce(extract(epoch FROM clock_timestamp() - min(unread.recorded_at)), 0)::float8 AS seconds
  FROM (
    SELECT recorded_at FROM ledger
    WHERE notification_id > coalesce(c.position, 0) AND notification_id <= %s
    ORDER BY notification_id LIMIT %s
  ) AS unread
) AS behind

-- name: unreadable_seconds
-- For how long the first event beyond the horizon has been waiting.
SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8
FROM ledger WHERE notification_id > %s ORDER BY notification_id LIMIT 1

-- name: own_projections
-- For one batch. Two runners that want the same projection: the second gets false at once and waits its turn.
SELECT bool_and(pg_try_advisory_xact_lock(1818584167, hashtext(name))) FROM unnest(%b::text[]) AS name

-- name: read_checkpoints
SELECT projection, position, version, recorded_at, owner, updated_at FROM checkpoints

-- name: begin_checkpoint
INSERT INTO checkpoints (projection, version, position, updated_at)
VALUES (%b, %b, 0, clock_timestamp())
ON CONFLICT (projection) DO NOTHING

-- name: move_checkpoint
-- Compare-and-set: whoever read at another position stores nothing. Nor does an older fold whose view was replaced
-- while its batch was under way, by rows of another form.
UPDATE checkpoints
SET position = %b::bigint, version = %b::integer, recorded_at = %b::timestamptz, owner = %b,
    updated_at = clock_timestamp()
WHERE projection = %b AND position = %b::bigint AND version = %b::integer

-- name: reset_checkpoint
INSERT INTO checkpoints (projection, version, position, recorded_at, updated_at)
VALUES (%b, %b, 0, NULL, clock_timestamp())
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, position = 0, recorded_at = NULL, updated_at = excluded.updated_at

-- name: forget_parked
-- All of a view: it is folded from the beginning again.
DELETE FROM parked_events WHERE projection = %b
