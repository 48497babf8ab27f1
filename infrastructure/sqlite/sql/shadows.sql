-- Rebuilds as they are stored. The statements that touch rows of views are composed from the columns of the projection
-- (view_rows.py, shadow_tables.py, comparing.py).

-- name: table
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?

-- name: indexes
-- Every index by name, with the table that it is on.
SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'

-- name: indexes_of
-- Those that were made by a statement: the primary key is the table itself.
SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL

-- name: tables_like
-- Tables whose name begins so.
SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1 ORDER BY name

-- name: columns_of
SELECT name FROM pragma_table_info(?)

-- name: keys_of
SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk

-- name: begin_rebuild
INSERT INTO rebuilds (rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, state, begun_version,
                      actor, reason, begun_at, ended_at, error, comparison)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: begin_slice
INSERT INTO rebuild_slices (rebuild_id, number, after_stream, until_stream, reached, events, rows, done)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: unfinished_rebuild
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, state, begun_version, actor, reason,
    begun_at, ended_at, error, comparison
FROM rebuilds WHERE projection = ? AND ended_at IS NULL

-- name: rebuild
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, state, begun_version, actor, reason,
    begun_at, ended_at, error, comparison
FROM rebuilds WHERE rebuild_id = ?

-- name: recent_rebuilds
SELECT rebuild_id, projection, purpose, of_tenant, of_job, fold_version, position, state, begun_version, actor, reason,
    begun_at, ended_at, error, comparison
FROM rebuilds ORDER BY begun_at DESC, rowid DESC LIMIT ?

-- name: slices
SELECT number, after_stream, until_stream, reached, events, rows, done
FROM rebuild_slices WHERE rebuild_id = ? ORDER BY number

-- name: slices_to_do
SELECT number, owner, owned_until FROM rebuild_slices WHERE rebuild_id = ? AND NOT done ORDER BY number

-- name: own_slice
UPDATE rebuild_slices SET owner = ?, owned_until = ? WHERE rebuild_id = ? AND number = ?
RETURNING number, after_stream, until_stream, reached, events, rows, done

-- name: let_go_of_slice
-- Unless somebody else has it by now.
UPDATE rebuild_slices SET owner = NULL, owned_until = NULL WHERE rebuild_id = ? AND number = ? AND owner = ?

-- name: move_slice
-- Compare-and-set: whoever worked on it from another place, or too late, stores nothing. Who works owns it for longer,
-- until it is done.
UPDATE rebuild_slices
SET reached = ?1, events = ?2, rows = ?3, done = ?4, owner = CASE WHEN ?4 THEN NULL ELSE owner END,
    owned_until = CASE WHEN ?4 OR owner IS NULL THEN NULL ELSE ?5 END
WHERE rebuild_id = ?6 AND number = ?7 AND reached IS ?8 AND events = ?9 AND NOT done
    AND EXISTS (SELECT 1 FROM rebuilds AS r
                WHERE r.rebuild_id = rebuild_slices.rebuild_id AND r.state = 'filling' AND r.ended_at IS NULL)

-- name: note_rebuild
UPDATE rebuilds
SET state = ?, ended_at = ?, begun_version = coalesce(?, begun_version), error = coalesce(?, error),
    comparison = coalesce(?, comparison)
WHERE rebuild_id = ? AND state = ? AND ended_at IS NULL

-- name: begin_shadow_checkpoint
-- Its revision begins where no other shadow of the view has ever been: who still works on an earlier one stores nothing.
INSERT INTO checkpoints (projection, version, position, recorded_at, updated_at, revision)
VALUES (?1, ?2, ?3, (SELECT recorded_at FROM ledger WHERE notification_id <= ?3 ORDER BY notification_id DESC LIMIT 1),
        ?4, ?4)
ON CONFLICT (projection) DO NOTHING

-- name: forget_checkpoint
DELETE FROM checkpoints WHERE projection = ?

-- name: replace_checkpoint
-- The live view is another one at the same position: who worked on the one before stores nothing.
UPDATE checkpoints SET version = ?, updated_at = ?, owner = ?, revision = revision + 1 WHERE projection = ?

-- name: move_parked
UPDATE OR REPLACE parked_events SET projection = ? WHERE projection = ?

-- name: forget_parked_of_tenant
DELETE FROM parked_events WHERE projection = ? AND tenant_id = ?

-- name: forget_parked_of_stream
DELETE FROM parked_events WHERE projection = ? AND originator_id = ?

-- name: hold_checkpoint
UPDATE checkpoints SET held_until = ?, held_by = ? WHERE projection = ?
