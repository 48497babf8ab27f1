-- What it takes to run, rebuild and repair read models in production.
--
-- The tables of views that are newer than migration 0002 are made from their projections (postgres/view_tables.py).

SET LOCAL search_path = jobledger, pg_temp;

-- Who moved a checkpoint last: host and process.
ALTER TABLE checkpoints ADD COLUMN owner text NOT NULL DEFAULT '';

-- Events that a view's fold could not take, and those of the same key that wait behind them (error is null).
-- `key` is the view's key as JSON.
CREATE TABLE parked_events (
  projection         text COLLATE "C" NOT NULL,
  originator_id      uuid        NOT NULL,
  originator_version integer     NOT NULL,
  key                text COLLATE "C" NOT NULL,
  tenant_id          text COLLATE "C" NOT NULL,
  position           bigint      NOT NULL,
  topic              text COLLATE "C" NOT NULL,
  error              text,
  parked_at          timestamptz NOT NULL,
  PRIMARY KEY (projection, originator_id, originator_version, key)
);
CREATE INDEX parked_events_by_key ON parked_events (projection, key, position);
CREATE INDEX parked_events_by_position ON parked_events (projection, position);
ALTER TABLE parked_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON parked_events FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON parked_events FOR SELECT TO jobledger_auditor, jobledger_worker USING (true);
CREATE POLICY write ON parked_events FOR ALL TO jobledger_projector, jobledger_owner USING (true) WITH CHECK (true);
GRANT SELECT ON parked_events TO jobledger_api, jobledger_auditor, jobledger_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON parked_events TO jobledger_projector;

-- Rebuilds and verifications, so that any process can go on with one whose process died.
CREATE TABLE rebuilds (
  rebuild_id    uuid        NOT NULL PRIMARY KEY,
  projection    text COLLATE "C" NOT NULL,
  purpose       text        NOT NULL CHECK (purpose IN ('rebuild', 'dry_run', 'verify')),
  of_tenant     text COLLATE "C",
  of_job        uuid,
  fold_version  integer     NOT NULL,
  position      bigint      NOT NULL,
  state         text        NOT NULL CHECK (state IN ('filling', 'indexing', 'catching_up', 'comparing', 'swapped',
                                                      'compared', 'cancelled', 'failed')),
  begun_version integer     NOT NULL DEFAULT 0,
  actor         text        NOT NULL,
  reason        text        NOT NULL,
  begun_at      timestamptz NOT NULL,
  ended_at      timestamptz,
  error         text,
  comparison    text  -- JSON: what the compare came to
);
CREATE UNIQUE INDEX rebuilds_unfinished ON rebuilds (projection) WHERE ended_at IS NULL;
CREATE INDEX rebuilds_by_time ON rebuilds (begun_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON rebuilds TO jobledger_projector;
GRANT SELECT ON rebuilds TO jobledger_auditor, jobledger_worker;

-- Ranges of streams: (after_stream, until_stream]; rows up to `reached` are stored in the shadow.
CREATE TABLE rebuild_slices (
  rebuild_id   uuid    NOT NULL REFERENCES rebuilds ON DELETE CASCADE,
  number       integer NOT NULL,
  after_stream uuid,
  until_stream uuid    NOT NULL,
  reached      uuid,
  events       bigint  NOT NULL DEFAULT 0,
  rows         bigint  NOT NULL DEFAULT 0,
  done         boolean NOT NULL DEFAULT false,
  PRIMARY KEY (rebuild_id, number)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON rebuild_slices TO jobledger_projector;
GRANT SELECT ON rebuild_slices TO jobledger_auditor, jobledger_worker;
