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

-- Lists are read lane by lane (see projections/job_row.py): jobs that are alike in status, failed, kind and queue, and
-- in type where one is asked for, in the order of the pages.
DROP INDEX tenant_jobs_by_status;
DROP INDEX tenant_jobs_failed;
DROP INDEX tenant_jobs_by_type;
DROP INDEX tenant_jobs_by_kind;
DROP INDEX tenant_jobs_by_queue;
CREATE INDEX tenant_jobs_by_lane ON tenant_jobs (tenant_id, status, failed, kind, queue, created_at, job_id);
CREATE INDEX tenant_jobs_by_type ON tenant_jobs (tenant_id, status, failed, job_type, kind, queue, created_at, job_id);
DROP INDEX persona_jobs_by_status;
DROP INDEX persona_jobs_failed;
DROP INDEX persona_jobs_by_type;
DROP INDEX persona_jobs_by_kind;
DROP INDEX persona_jobs_by_queue;
CREATE INDEX persona_jobs_by_lane ON persona_jobs (tenant_id, persona, status, failed, kind, queue, created_at, job_id);
CREATE INDEX persona_jobs_by_type
  ON persona_jobs (tenant_id, persona, status, failed, job_type, kind, queue, created_at, job_id);
-- The same for the dead, by reason, kind and queue; what else they are asked for by has an index of its own.
CREATE INDEX dlq_jobs_by_lane ON dlq_jobs (tenant_id, reason, kind, queue, dead_at, job_id);
CREATE INDEX dlq_jobs_by_type_lane ON dlq_jobs (tenant_id, job_type, reason, kind, queue, dead_at, job_id);
CREATE INDEX dlq_jobs_by_type ON dlq_jobs (tenant_id, job_type, dead_at, job_id);
CREATE INDEX dlq_jobs_by_persona ON dlq_jobs (tenant_id, persona, dead_at, job_id);

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
