-- Rebuilds, their slices, and what is said about tables of views. Statements that name a view's table or columns are
-- composed in shadows.py, swapping.py and comparing.py.

-- name: set_lock_timeout
SELECT set_config('lock_timeout', %s, true)

-- name: share_rebuild
-- Whoever fills shares it until the end of the transaction; who changes the rebuild's state has it alone.
SELECT pg_advisory_xact_lock_shared(1818584169, hashtext(%s::uuid::text))

-- name: have_rebuild_alone
SELECT pg_advisory_xact_lock(1818584169, hashtext(%s::uuid::text))

-- name: keep_rebuild_alone
-- The same lock, of the session: kept over several transactions.
SELECT pg_advisory_lock(1818584169, hashtext(%s::uuid::text))

-- name: own_slice
-- Of the session: it dies with the process.
SELECT pg_try_advisory_lock(1818584170, hashtext(%s::uuid::text || '/' || %s::integer))

-- name: end_session_when_silent
-- A process that is frozen, or whose machine vanished, would keep its slices for hours.
SELECT set_config('idle_session_timeout', %s, false)

-- name: give_slice_back
SELECT pg_advisory_unlock(1818584170, hashtext(%s::uuid::text || '/' || %s::integer))

-- name: hold_projection
-- The lock of a projection's runner, waited for; no runner overtakes who waits.
SELECT pg_advisory_xact_lock(1818584167, hashtext(%s))

-- name: begin_rebuild
INSERT INTO rebuilds (rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, state, begun_version,
                      actor, reason, begun_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: begin_slices
INSERT INTO rebuild_slices (rebuild_id, number, after_stream, until_stream, reached, events, rows, done)
SELECT %s, * FROM unnest(%s::integer[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::boolean[])

-- name: rebuild
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, actor, reason, begun_at, state,
       begun_version, ended_at, error, comparison
FROM rebuilds WHERE rebuild_id = %s

-- name: unfinished_rebuild
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, actor, reason, begun_at, state,
       begun_version, ended_at, error, comparison
FROM rebuilds WHERE projection = %s AND ended_at IS NULL

-- name: recent_rebuilds
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, actor, reason, begun_at, state,
       begun_version, ended_at, error, comparison
FROM rebuilds ORDER BY begun_at DESC, rebuild_id DESC LIMIT %s

-- name: slices
SELECT number, after_stream, until_stream, reached, events, rows, done
FROM rebuild_slices WHERE rebuild_id = %s ORDER BY number

-- name: move_slice
-- Compare-and-set: whoever worked on from another place stores nothing, nor does anybody once the filling is over.
UPDATE rebuild_slices AS s SET reached = %s, events = %s, rows = %s, done = %s
FROM rebuilds AS r
WHERE s.rebuild_id = %s AND s.number = %s AND s.reached IS NOT DISTINCT FROM %s AND s.events = %s AND NOT s.done
  AND r.rebuild_id = s.rebuild_id AND r.state = 'filling' AND r.ended_at IS NULL

-- name: note_rebuild
UPDATE rebuilds
SET state = %(to)s, begun_version = coalesce(%(begun_version)s::integer, begun_version),
    error = coalesce(%(error)s::text, error), comparison = coalesce(%(comparison)s::text, comparison),
    ended_at = CASE WHEN %(ends)s THEN clock_timestamp() END
WHERE rebuild_id = %(rebuild_id)s AND state = %(from)s AND ended_at IS NULL

-- name: state_of_rebuild
SELECT state, ended_at IS NOT NULL FROM rebuilds WHERE rebuild_id = %s FOR UPDATE

-- name: slices_not_done
SELECT count(*) FROM rebuild_slices WHERE rebuild_id = %s AND NOT done

-- name: set_state_of_rebuild
UPDATE rebuilds SET state = %s WHERE rebuild_id = %s

-- name: commit_soon
-- What is lost in a crash is lost with the progress that says it was done.
SELECT set_config('synchronous_commit', 'off', true)

-- name: room_to_sort
SELECT set_config('maintenance_work_mem', '256MB', true)

-- name: begin_shadow_checkpoint
INSERT INTO checkpoints (projection, version, position, updated_at) VALUES (%s, %s, %s, clock_timestamp())
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, position = excluded.position, recorded_at = NULL, updated_at = excluded.updated_at

-- name: forget_checkpoint
DELETE FROM checkpoints WHERE projection = %s

-- name: forget_parked_of
DELETE FROM parked_events WHERE projection = %s

-- name: forget_parked_of_scope
DELETE FROM parked_events
WHERE projection = %(projection)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(job)s::uuid IS NULL OR originator_id = %(job)s)

-- name: take_over_parked
UPDATE parked_events SET projection = %s WHERE projection = %s

-- name: lock_checkpoints
-- Locked until the end: a batch that changes no row of the view must not move them either.
SELECT projection, position, version, recorded_at FROM checkpoints WHERE projection = ANY (%s) ORDER BY projection
FOR UPDATE

-- name: positions
-- `recorded_at` is null as long as nothing was applied since the checkpoint was begun.
SELECT projection, position, recorded_at FROM checkpoints WHERE projection = ANY (%s)

-- name: replace_checkpoint
INSERT INTO checkpoints (projection, version, position, recorded_at, updated_at) VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, updated_at = excluded.updated_at,
    recorded_at = greatest(checkpoints.recorded_at, excluded.recorded_at)

-- name: checkpoint_of
SELECT position, version, recorded_at, owner, updated_at FROM checkpoints WHERE projection = %s

-- name: names_on_table
-- What bears the table's name in its own: indexes (also those behind the key), and rules of columns.
SELECT 'index', c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s)
UNION ALL
SELECT 'constraint', conname::text FROM pg_constraint
WHERE conrelid = to_regclass(%(table)s) AND contype IN ('c', 'n')

-- name: table_exists
SELECT to_regclass(%s) IS NOT NULL

-- name: columns_of_table
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY (k.conkey), false)
FROM pg_attribute AS a LEFT JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'p'
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: versions
-- Estimated as the planner does. A table that was never analysed, or was empty when it was, has no number yet.
WITH tables AS (
  SELECT relname::text AS name,
         CASE WHEN pg_relation_size(oid) = 0 THEN 0 WHEN reltuples > 0 THEN reltuples::bigint END AS rows
  FROM pg_class
  WHERE relnamespace = 'jobledger'::regnamespace AND relkind = 'r'
), names AS (
  SELECT projection AS name FROM checkpoints WHERE right(projection, 5) <> '__new'
  UNION SELECT left(name, -5) FROM tables WHERE right(name, 5) = '__new'
  UNION SELECT left(name, -10) FROM tables WHERE right(name, 10) = '__previous'
)
SELECT n.name, coalesce(c.version, 0), shadow.name IS NOT NULL, shadow.rows, previous.name IS NOT NULL, previous.rows
FROM names AS n
LEFT JOIN checkpoints AS c ON c.projection = n.name
LEFT JOIN tables AS shadow ON shadow.name = n.name || '__new'
LEFT JOIN tables AS previous ON previous.name = n.name || '__previous'
ORDER BY n.name
