-- What it takes to run, rebuild and repair read models in production.
--
-- The tables of views that are newer than migration 0002 are made from their projections (sqlite/view_tables.py).

-- Who moved a checkpoint last: host and process. `revision` rises with all that is stored of a view: who folded from an
-- older one stores nothing, also where the position is still the same. Until `held_until` the view keeps still, because
-- `held_by` compares or replaces it.
ALTER TABLE checkpoints ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE checkpoints ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoints ADD COLUMN held_until INTEGER;
ALTER TABLE checkpoints ADD COLUMN held_by TEXT;

-- Events that a view's fold could not take, and those of the same key that wait behind them (error is NULL).
-- `key` is the view's key as JSON.
CREATE TABLE parked_events (
    projection TEXT NOT NULL,
    originator_id BLOB NOT NULL,
    originator_version INTEGER NOT NULL,
    key TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    topic TEXT NOT NULL,
    error TEXT,
    parked_at INTEGER NOT NULL,
    PRIMARY KEY (projection, originator_id, originator_version, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_events_by_key ON parked_events (projection, key, position);
CREATE INDEX parked_events_by_position ON parked_events (projection, position);
-- Few of many: those that others wait behind.
CREATE INDEX parked_events_failed ON parked_events (projection, position) WHERE error IS NOT NULL;

-- Rebuilds and verifications, so that any process can go on with one whose process died.
CREATE TABLE rebuilds (
    rebuild_id BLOB NOT NULL PRIMARY KEY,
    projection TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('rebuild', 'dry_run', 'verify')),
    of_tenant TEXT,
    of_job BLOB,
    fold_version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('filling', 'indexing', 'catching_up', 'comparing', 'swapped', 'compared',
                                         'cancelled', 'failed')),
    begun_version INTEGER NOT NULL DEFAULT 0,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    error TEXT,
    comparison TEXT -- JSON: what the compare came to
) STRICT;
CREATE UNIQUE INDEX rebuilds_unfinished ON rebuilds (projection) WHERE ended_at IS NULL;
CREATE INDEX rebuilds_by_time ON rebuilds (begun_at);

-- Ranges of streams: (after_stream, until_stream]; rows up to `reached` are stored in the shadow. SQLite has no locks
-- that die with a process: `owner` works on the slice until `owned_until`, unless it says so again.
CREATE TABLE rebuild_slices (
    rebuild_id BLOB NOT NULL REFERENCES rebuilds ON DELETE CASCADE,
    number INTEGER NOT NULL,
    after_stream BLOB,
    until_stream BLOB NOT NULL,
    reached BLOB,
    events INTEGER NOT NULL DEFAULT 0,
    rows INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    owned_until INTEGER,
    PRIMARY KEY (rebuild_id, number)
) STRICT, WITHOUT ROWID;
