-- What it takes to run, rebuild and repair read models in production.
--
-- The tables of views that are newer than migration 0002 are made from their projections (postgres/view_tables.py).

SET LOCAL search_path = jobledger, pg_temp;

-- Who moved a checkpoint last: host and process.
ALTER TABLE checkpoints ADD COLUMN owner text NOT NULL DEFAULT '';

-- Lists are read lane by lane (see projections/job_row.py): jobs that are alike in status, failed, kind and queue, and
-- in type where one is asked for, in the order of the pages.
DROP INDEX tenant_jobs_by_time, tenant_jobs_by_status, tenant_jobs_failed;
CREATE INDEX tenant_jobs_by_time ON tenant_jobs (tenant_id, created_at, job_id);
CREATE INDEX tenant_jobs_by_lane ON tenant_jobs (tenant_id, status, failed, kind, queue, created_at, job_id);
CREATE INDEX tenant_jobs_by_type ON tenant_jobs (tenant_id, status, failed, job_type, kind, queue, created_at, job_id);
DROP INDEX persona_jobs_by_time, persona_jobs_by_status, persona_jobs_failed;
CREATE INDEX persona_jobs_by_time ON persona_jobs (tenant_id, persona, created_at, job_id);
CREATE INDEX persona_jobs_by_lane ON persona_jobs (tenant_id, persona, status, failed, kind, queue, created_at, job_id);
CREATE INDEX persona_jobs_by_type
  ON persona_jobs (tenant_id, persona, status, failed, job_type, kind, queue, created_at, job_id);
-- The same for the dead, by reason, kind and queue; what else they are asked for by has an index of its own.
DROP INDEX dlq_jobs_by_time, dlq_jobs_by_error, dlq_jobs_by_fingerprint;
CREATE INDEX dlq_jobs_by_time ON dlq_jobs (tenant_id, dead_at, job_id);
CREATE INDEX dlq_jobs_by_lane ON dlq_jobs (tenant_id, reason, kind, queue, dead_at, job_id);
CREATE INDEX dlq_jobs_by_type_lane ON dlq_jobs (tenant_id, job_type, reason, kind, queue, dead_at, job_id);
CREATE INDEX dlq_jobs_by_kind ON dlq_jobs (tenant_id, kind, dead_at, job_id, job_type, queue, reason, persona);
CREATE INDEX dlq_jobs_by_queue ON dlq_jobs (tenant_id, queue, dead_at, job_id, job_type, kind, reason, persona);
CREATE INDEX dlq_jobs_by_reason ON dlq_jobs (tenant_id, reason, dead_at, job_id, job_type, kind, queue, persona);
CREATE INDEX dlq_jobs_by_type ON dlq_jobs (tenant_id, job_type, dead_at, job_id, kind, queue, reason, persona);
CREATE INDEX dlq_jobs_by_persona ON dlq_jobs (tenant_id, persona, dead_at, job_id, job_type, kind, queue, reason);
CREATE INDEX dlq_jobs_by_error
  ON dlq_jobs (tenant_id, error_type, dead_at, job_id, job_type, kind, queue, reason, persona);
CREATE INDEX dlq_jobs_by_fingerprint
  ON dlq_jobs (tenant_id, fingerprint, dead_at, job_id, job_type, kind, queue, reason, persona);

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

-- --- who keeps readers back ----------------------------------------------------------------------------------------

RESET ROLE;
GRANT CREATE ON SCHEMA jobledger TO jobledger_writer;  -- for the function below; taken back at the end
-- So that it can name other logins' transactions. Where this login may not grant it, it says what is known without.
DO $$
BEGIN
  GRANT pg_read_all_stats TO jobledger_writer;
EXCEPTION WHEN insufficient_privilege THEN
  NULL;
END $$;
SET LOCAL ROLE jobledger_writer;
SET LOCAL search_path = jobledger, pg_temp;

-- The transaction with the lowest floor (see ledger_horizon), and since when the first committed event beyond it waits.
-- A prepared transaction has no process. No row where nobody keeps anything back.
CREATE FUNCTION ledger_horizon_hold() RETURNS TABLE (
  pid integer, application text, login text, state text, began_at timestamptz, waiting_since timestamptz,
  now_at timestamptz
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = jobledger, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  held bigint[];
  holders integer[];
  drawn bigint;
  lowest bigint;
  holder integer;
BEGIN
  SELECT array_agg(l.objid::bigint), array_agg(l.pid) INTO held, holders FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = 1818584164 AND l.objsubid = 2
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
  IF held IS NULL THEN
    RETURN;
  END IF;
  SELECT s.last_value INTO drawn FROM ledger_ticket s;
  SELECT f.floor_ticket, f.holder INTO lowest, holder FROM (
    SELECT CASE WHEN ticket > drawn THEN ticket - 2147483648 ELSE ticket END AS floor_ticket, h.holder
      FROM unnest(held, holders) AS h(low_bits, holder)
      CROSS JOIN LATERAL (SELECT (drawn & ~2147483647::bigint) | h.low_bits) AS t(ticket)) AS f
    ORDER BY f.floor_ticket LIMIT 1;
  IF lowest >= drawn THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT holder, a.application_name, a.usename::text, a.state, a.xact_start, (
             SELECT e.recorded_at FROM ledger e WHERE e.notification_id >= (lowest + 1) << 12
               ORDER BY e.notification_id LIMIT 1), clock_timestamp()
      FROM (SELECT 1) AS always LEFT JOIN pg_stat_activity a ON a.pid = holder;
END $$;
GRANT EXECUTE ON FUNCTION ledger_horizon_hold()
  TO jobledger_worker, jobledger_api, jobledger_projector, jobledger_auditor;

-- --- many events of one stream -------------------------------------------------------------------------------------

-- As before (see 0001), but each event is compared with the first of its stream in the call instead of with all before
-- it, and a call never takes more positions than its ticket has.
CREATE OR REPLACE FUNCTION ledger_append(
  p_tenants text[], p_ids uuid[], p_versions integer[], p_topics text[], p_states bytea[], p_bodies bytea[]
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  base bigint;
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
  refused text;
BEGIN
  IF cardinality(p_ids) > 4096 THEN
    RAISE EXCEPTION '% events in one call, which share a ticket of 4096 positions', cardinality(p_ids);
  END IF;
  SELECT string_agg((e.n - 1)::text, ',') INTO refused FROM (
    SELECT id, tenant, version, n, min(version) OVER stream AS first_version,
           bool_or(tenant <> first_tenant) OVER (stream ROWS UNBOUNDED PRECEDING) AS is_foreign
      FROM (
        SELECT id, tenant, version, n, first_value(tenant) OVER (PARTITION BY id ORDER BY version, n) AS first_tenant
          FROM unnest(p_ids, p_tenants, p_versions) WITH ORDINALITY AS e(id, tenant, version, n)) AS e
      WINDOW stream AS (PARTITION BY id ORDER BY version, n)) AS e
    LEFT JOIN ledger l ON l.originator_id = e.id AND l.originator_version = 1 AND e.version > 1
    WHERE l.tenant_id <> e.tenant OR (e.is_foreign AND e.version > e.first_version);
  IF refused IS NOT NULL THEN
    RAISE EXCEPTION 'an event names another tenant than its stream'
      USING ERRCODE = 'JL003', DETAIL = refused, TABLE = 'ledger_append';
  END IF;
  base := ledger_ticket();
  WITH e AS (
    SELECT * FROM unnest(p_tenants, p_ids, p_versions, p_topics, p_states, p_bodies)
      WITH ORDINALITY AS e(tenant, id, version, topic, state, body, n) ORDER BY id, version
  ), stored AS (
    INSERT INTO ledger
      (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
    SELECT tenant, id, version, base + n - 1, now_at, topic, state, body,
           ledger_leaf(tenant, id, version, now_microseconds, topic, state)
    FROM e
    ON CONFLICT DO NOTHING
    RETURNING notification_id
  )
  SELECT string_agg((e.n - 1)::text, ',') INTO refused
    FROM e WHERE NOT EXISTS (SELECT FROM stored WHERE stored.notification_id = base + e.n - 1);
  IF refused IS NOT NULL THEN
    RAISE EXCEPTION 'stream versions exist already'
      USING ERRCODE = 'JL001', DETAIL = refused, TABLE = 'ledger_append';
  END IF;
  RETURN base;
END $$;

RESET ROLE;
REVOKE CREATE ON SCHEMA jobledger FROM jobledger_writer;
SET LOCAL ROLE jobledger_owner;
