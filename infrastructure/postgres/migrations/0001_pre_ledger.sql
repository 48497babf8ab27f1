-- The ledger, the work queue and the catalogue, with their roles, row-level security and functions.
-- Everything lives in the schema "jobledger", so that a database shared with an application stays tidy.
-- Run in one transaction by a role that may create roles (or a superuser).

-- --- roles -------------------------------------------------------------------------------------------------------

-- Roles belong to the cluster, not to the database: another database of it may have made them already.
DO $$
DECLARE
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobledger.roles'));
  FOREACH name IN ARRAY ARRAY['jobledger_owner', 'jobledger_writer', 'jobledger_worker', 'jobledger_api',
                              'jobledger_projector', 'jobledger_auditor'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database's migration was faster
      END;
    END IF;
    IF NOT pg_has_role(current_user, name, 'MEMBER') THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', name);
    END IF;
  END LOOP;
END $$;

CREATE SCHEMA jobledger AUTHORIZATION jobledger_owner;
GRANT USAGE ON SCHEMA jobledger
  TO jobledger_writer, jobledger_worker, jobledger_api, jobledger_projector, jobledger_auditor;
GRANT CREATE ON SCHEMA jobledger TO jobledger_writer;  -- for its functions below; taken back at the end
ALTER DEFAULT PRIVILEGES FOR ROLE jobledger_owner, jobledger_writer REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

SET LOCAL ROLE jobledger_owner;
SET LOCAL search_path = jobledger, pg_temp;

CREATE TABLE schema_migrations (
  name       text        NOT NULL PRIMARY KEY,
  checksum   text        NOT NULL,
  applied_at timestamptz NOT NULL
);
GRANT SELECT ON schema_migrations
  TO jobledger_writer, jobledger_worker, jobledger_api, jobledger_projector, jobledger_auditor;

-- --- the ledger --------------------------------------------------------------------------------------------------

CREATE TABLE ledger (
  tenant_id          text        NOT NULL,
  originator_id      uuid        NOT NULL,
  originator_version integer     NOT NULL CHECK (originator_version > 0),
  notification_id    bigint      NOT NULL,
  recorded_at        timestamptz NOT NULL,
  topic              text        NOT NULL,
  state              bytea       NOT NULL,
  body               bytea,
  leaf               bytea       NOT NULL,
  PRIMARY KEY (originator_id, originator_version)
) PARTITION BY RANGE (originator_id);

CREATE INDEX ledger_position ON ledger (notification_id);
CREATE INDEX ledger_tenant_position ON ledger (tenant_id, notification_id);

ALTER TABLE ledger ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON ledger FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON ledger FOR SELECT TO jobledger_projector, jobledger_auditor USING (true);
CREATE POLICY append ON ledger FOR INSERT TO jobledger_writer WITH CHECK (true);
CREATE POLICY read_for_append ON ledger FOR SELECT TO jobledger_writer USING (true);
GRANT SELECT ON ledger TO jobledger_api, jobledger_projector, jobledger_auditor;
GRANT SELECT, INSERT ON ledger TO jobledger_writer;

-- Streams with a natural key have ids that begin with ff; they live outside the months.
CREATE TABLE ledger_ff PARTITION OF ledger FOR VALUES FROM ('ff000000-0000-0000-0000-000000000000') TO (MAXVALUE);
ALTER TABLE ledger_ff ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE SEQUENCE ledger_ticket AS bigint;
SELECT nextval('ledger_ticket');  -- once, so that last_value always means "drawn"
GRANT USAGE, SELECT ON SEQUENCE ledger_ticket TO jobledger_writer;
GRANT SELECT ON SEQUENCE ledger_ticket TO jobledger_projector, jobledger_api, jobledger_worker, jobledger_auditor;

-- The smallest UUIDv7 born at a moment: the border of a partition.
CREATE FUNCTION birth_border(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes sure that the partitions of this month and of `months` months after it exist; returns how many were made.
-- ATTACH needs a weaker lock than CREATE ... PARTITION OF: neither readers nor writers wait.
CREATE FUNCTION ensure_partitions(months integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  first_of_month timestamptz := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
  from_moment timestamptz;
  to_moment timestamptz;
  partition_name text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobledger.partitions'));
  -- one month back as well: ids may be born up to five minutes before the month turned
  FOR step IN -1..months LOOP
    from_moment := (first_of_month AT TIME ZONE 'UTC' + make_interval(months => step)) AT TIME ZONE 'UTC';
    to_moment := (first_of_month AT TIME ZONE 'UTC' + make_interval(months => step + 1)) AT TIME ZONE 'UTC';
    partition_name := 'ledger_' || to_char(from_moment AT TIME ZONE 'UTC', 'YYYY_MM');
    IF to_regclass('jobledger.' || partition_name) IS NULL THEN
      EXECUTE format('CREATE TABLE %I (LIKE ledger INCLUDING ALL)', partition_name);
      EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition_name);
      EXECUTE format('ALTER TABLE ledger ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     partition_name, birth_border(from_moment), birth_border(to_moment));
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;
GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO jobledger_worker;
SELECT ensure_partitions(3);

-- --- the work queue: an inline projection, one row an unfinished job ---------------------------------------------

CREATE TABLE open_jobs (
  job_id           uuid        NOT NULL PRIMARY KEY,
  tenant_id        text        NOT NULL,
  version          integer     NOT NULL,
  status           text        NOT NULL CHECK (status IN ('pending', 'delayed', 'blocked', 'in_progress', 'dlq')),
  queue            text        NOT NULL,
  job_type         text        NOT NULL,
  persona          text,
  priority         integer     NOT NULL,
  due_at           timestamptz NOT NULL,
  attempt          integer     NOT NULL DEFAULT 0,
  attempts_counted integer     NOT NULL DEFAULT 0,
  attempts_allowed integer     NOT NULL,
  stalls           integer     NOT NULL DEFAULT 0,
  worker           text,
  started_at       timestamptz,
  lock_key         text,
  cancel_reason    text,
  spec             bytea       NOT NULL,
  identity         bytea       NOT NULL,
  thread           bytea       NOT NULL,
  payload          bytea       NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2);

-- In exact claim order. A job with a lock key, and one that stalled before, are claimed in their own way.
CREATE INDEX open_jobs_ready ON open_jobs (queue, tenant_id, priority DESC, due_at, job_id)
  WHERE status = 'pending' AND stalls = 0 AND lock_key IS NULL;
CREATE INDEX open_jobs_ready_keyed ON open_jobs (queue, tenant_id, lock_key, priority DESC, due_at, job_id)
  WHERE status = 'pending' AND stalls = 0 AND lock_key IS NOT NULL;
CREATE INDEX open_jobs_ready_stalled ON open_jobs (queue, due_at, job_id) WHERE status = 'pending' AND stalls > 0;
CREATE INDEX open_jobs_delayed ON open_jobs (queue, due_at) WHERE status = 'delayed';
CREATE INDEX open_jobs_held ON open_jobs (worker) WHERE worker IS NOT NULL;
CREATE UNIQUE INDEX open_jobs_running_key ON open_jobs (tenant_id, lock_key)
  WHERE status = 'in_progress' AND lock_key IS NOT NULL;

ALTER TABLE open_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON open_jobs FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON open_jobs FOR SELECT TO jobledger_worker, jobledger_projector, jobledger_auditor USING (true);
CREATE POLICY write ON open_jobs FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON open_jobs TO jobledger_api, jobledger_worker, jobledger_projector, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON open_jobs TO jobledger_writer;

-- Keys outlive the job (rule 3).
CREATE TABLE idempotency_keys (
  tenant_id      text        NOT NULL,
  job_type       text        NOT NULL,
  key            text        NOT NULL,
  job_id         uuid        NOT NULL,
  payload_sha256 text        NOT NULL,
  recorded_at    timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, job_type, key)
);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON idempotency_keys FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON idempotency_keys FOR SELECT TO jobledger_auditor USING (true);
CREATE POLICY write ON idempotency_keys FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON idempotency_keys TO jobledger_api, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO jobledger_writer;

-- --- the catalogue: tenants and job types, inline projections of their streams -----------------------------------

CREATE TABLE tenants (
  tenant_id    text        NOT NULL PRIMARY KEY,
  status       text        NOT NULL CHECK (status IN ('active', 'suspended')),
  display_name text        NOT NULL DEFAULT '',
  updated_at   timestamptz NOT NULL
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON tenants FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON tenants FOR SELECT TO jobledger_worker, jobledger_projector, jobledger_auditor USING (true);
CREATE POLICY write ON tenants FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON tenants TO jobledger_api, jobledger_worker, jobledger_projector, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE ON tenants TO jobledger_writer;

CREATE TABLE job_types (
  name         text        NOT NULL PRIMARY KEY,
  definition   text        NOT NULL,
  fingerprint  text        NOT NULL,
  code_version text        NOT NULL,
  app          text        NOT NULL,
  updated_at   timestamptz NOT NULL
);
GRANT SELECT ON job_types TO jobledger_api, jobledger_worker, jobledger_projector, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE ON job_types TO jobledger_writer;

-- --- the installation --------------------------------------------------------------------------------------------

-- One row a worker; renewing it renews all its leases.
CREATE TABLE workers (
  worker        text             NOT NULL PRIMARY KEY,
  code_version  text             NOT NULL,
  queues        text[]           NOT NULL,
  concurrency   integer          NOT NULL,
  running       integer          NOT NULL,
  lease_seconds double precision NOT NULL,
  started_at    timestamptz      NOT NULL,
  last_seen_at  timestamptz      NOT NULL
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO jobledger_worker;
GRANT SELECT ON workers TO jobledger_api, jobledger_auditor, jobledger_projector;

-- How far each projection has come. The highest position is also what a restored ledger is recognised by.
CREATE TABLE checkpoints (
  projection  text        NOT NULL PRIMARY KEY,
  version     integer     NOT NULL,
  position    bigint      NOT NULL,
  recorded_at timestamptz,
  updated_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO jobledger_projector;
GRANT SELECT ON checkpoints TO jobledger_writer, jobledger_worker, jobledger_api, jobledger_auditor;

-- How far consumers that use the library's tracking have come, each for itself. Apart from our own checkpoints: the
-- positions may be another ledger's.
CREATE TABLE tracking (
  consumer         text   NOT NULL,
  application_name text   NOT NULL,
  notification_id  bigint NOT NULL,
  PRIMARY KEY (consumer, application_name)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON tracking TO jobledger_projector, jobledger_worker;

CREATE TABLE installation (
  key   text NOT NULL PRIMARY KEY,
  value text NOT NULL
);
INSERT INTO installation VALUES ('incarnation', substr(replace(gen_random_uuid()::text, '-', ''), 1, 8));
GRANT SELECT ON installation
  TO jobledger_writer, jobledger_worker, jobledger_api, jobledger_projector, jobledger_auditor;

-- --- positions ---------------------------------------------------------------------------------------------------

SET LOCAL ROLE jobledger_writer;
SET LOCAL search_path = jobledger, pg_temp;

-- The base of a fresh ticket: positions are base + 0 .. base + 4095.
--
-- Before its first ticket a transaction announces, by a shared advisory lock, a floor that all of its tickets lie
-- above. The lock goes only after the commit became visible, so a reader that finds no floor below s knows that
-- every ticket up to s is finished (see ledger_horizon).
CREATE FUNCTION ledger_ticket() RETURNS bigint LANGUAGE plpgsql SET search_path = jobledger, pg_temp AS $$
DECLARE
  floor_ticket bigint;
  base bigint;
BEGIN
  IF coalesce(current_setting('jobledger.floor', true), '') = '' THEN
    SELECT last_value INTO floor_ticket FROM ledger_ticket;
    PERFORM pg_advisory_xact_lock_shared(1818584164, (floor_ticket & 2147483647)::integer);
    PERFORM set_config('jobledger.floor', floor_ticket::text, true);
  END IF;
  base := nextval('ledger_ticket') << 12;
  IF base < (SELECT max(position) FROM checkpoints) THEN
    RAISE EXCEPTION 'the next position % lies below a checkpoint', base
      USING ERRCODE = 'JL002', HINT = 'the database was restored to an earlier moment';
  END IF;
  RETURN base;
END $$;

-- The last ticket that is finished: what lies at or below it is visible to every later statement. To be called in a
-- statement of its own, before the one that reads. The order of its three reads is what makes it right.
CREATE FUNCTION ledger_horizon() RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = jobledger, pg_temp AS $$
DECLARE
  drawn bigint;
  held bigint[];
  drawn_after bigint;
  lowest bigint;
BEGIN
  SELECT last_value INTO drawn FROM ledger_ticket;
  SELECT array_agg(objid::bigint) INTO held FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 1818584164 AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
  IF held IS NULL THEN
    RETURN drawn;
  END IF;
  -- the lock holds 31 bits: decoded against a last_value that is not older than any floor seen
  SELECT last_value INTO drawn_after FROM ledger_ticket;
  SELECT min(CASE WHEN floor_ticket > drawn_after THEN floor_ticket - 2147483648 ELSE floor_ticket END) INTO lowest
    FROM (SELECT (drawn_after & ~2147483647::bigint) | h AS floor_ticket FROM unnest(held) AS h) AS floors;
  RETURN least(drawn, lowest);
END $$;

-- SHA-256 over the canonical stored form without the body (infrastructure/mapper.py computes the same).
-- STABLE, not IMMUTABLE: what it is made of is stable, and only so the planner inlines it.
CREATE FUNCTION ledger_leaf(tenant text, id uuid, version integer, microseconds bigint, topic text, state bytea)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT sha256(convert_to(
    tenant || E'\n' || id || E'\n' || version || E'\n' || microseconds || E'\n' || topic || E'\n', 'UTF8') || state)
$$;

CREATE FUNCTION microseconds(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (extract(epoch FROM moment) * 1000000)::bigint
$$;

-- --- appending ---------------------------------------------------------------------------------------------------

-- Events of streams that are not jobs. Returns the base: the n-th event (from 0) has position base + n.
-- A version that exists already raises JL001 with the zero-based indexes of the events in conflict.
CREATE FUNCTION ledger_append(
  p_tenants text[], p_ids uuid[], p_versions integer[], p_topics text[], p_states bytea[], p_bodies bytea[]
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  base bigint;
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
  refused text;
BEGIN
  SELECT string_agg(DISTINCT (e.n - 1)::text, ',') INTO refused
    FROM unnest(p_ids, p_tenants, p_versions) WITH ORDINALITY AS e(id, tenant, version, n)
    LEFT JOIN ledger l ON l.originator_id = e.id AND l.originator_version = 1 AND e.version > 1
    LEFT JOIN unnest(p_ids, p_tenants, p_versions) AS f(id, tenant, version) ON f.id = e.id AND f.version < e.version
    WHERE l.tenant_id <> e.tenant OR f.tenant <> e.tenant;
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

-- Dispatches: version 1 of each job, its queue row and its idempotency key.
--
-- What jobs of a batch share stands once, in a profile; p_profiles holds the 1-based profile of each job. A key that
-- a caller's open transaction holds is "deferred": nobody waits for it here. With p_waits (a caller's own
-- transaction) the key's advisory lock is taken instead. Returns the base, and one entry for each job not written.
CREATE FUNCTION dispatch_jobs(
  p_ids uuid[], p_profiles integer[], p_states bytea[], p_bodies bytea[], p_due_at timestamptz[], p_lock_keys text[],
  p_keys text[], p_payload_sha256 text[],
  p_tenants text[], p_job_types text[], p_queues text[], p_personas text[], p_statuses text[], p_priorities integer[],
  p_attempts_allowed integer[], p_specs bytea[], p_identities bytea[], p_threads bytea[],
  p_waits boolean,
  OUT base bigint, OUT refused integer[], OUT reasons text[], OUT first_jobs uuid[], OUT first_sha256 text[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
  keyed integer;
  held integer[];
  deferred integer[] := '{}';
  won uuid[] := '{}';
  written integer;
  expected integer := cardinality(p_ids);
BEGIN
  SELECT count(*) INTO keyed FROM unnest(p_keys) AS k WHERE k IS NOT NULL;
  IF keyed > 0 THEN
    IF p_waits THEN
      PERFORM pg_advisory_xact_lock(1818584165, h)
        FROM (SELECT DISTINCT hashtext(p_tenants[p] || chr(31) || p_job_types[p] || chr(31) || k) AS h
              FROM unnest(p_profiles, p_keys) AS j(p, k) WHERE k IS NOT NULL ORDER BY 1) AS locks;
    ELSE
      SELECT array_agg(objid::bigint::bit(32)::integer) INTO held FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1818584165 AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
      IF held IS NOT NULL THEN
        SELECT coalesce(array_agg(n::integer), '{}') INTO deferred
          FROM unnest(p_profiles, p_keys) WITH ORDINALITY AS j(p, k, n)
          WHERE k IS NOT NULL AND hashtext(p_tenants[p] || chr(31) || p_job_types[p] || chr(31) || k) = ANY (held);
      END IF;
    END IF;
    WITH stored AS (
      INSERT INTO idempotency_keys (tenant_id, job_type, key, job_id, payload_sha256, recorded_at)
      SELECT p_tenants[p], p_job_types[p], k, id, sha, now_at
        FROM unnest(p_profiles, p_keys, p_ids, p_payload_sha256) WITH ORDINALITY AS j(p, k, id, sha, n)
        WHERE k IS NOT NULL AND n <> ALL (deferred)
        ORDER BY 1, 2, 3, n  -- one order for everybody: no deadlock between two groups
      ON CONFLICT DO NOTHING
      RETURNING job_id
    )
    SELECT coalesce(array_agg(job_id), '{}') INTO won FROM stored;
    IF cardinality(won) < keyed THEN
      -- in a statement of its own: it sees keys that were committed while the one above waited
      SELECT array_agg(n::integer ORDER BY n),
             array_agg(CASE WHEN (first).job_id IS NULL THEN 'deferred' ELSE 'duplicate' END ORDER BY n),
             array_agg((first).job_id ORDER BY n), array_agg((first).payload_sha256 ORDER BY n)
        INTO refused, reasons, first_jobs, first_sha256
        FROM (SELECT n, (SELECT f FROM idempotency_keys f
                           WHERE f.tenant_id = p_tenants[p] AND f.job_type = p_job_types[p] AND f.key = k
                             AND j.n <> ALL (deferred)) AS first
                FROM unnest(p_profiles, p_keys, p_ids) WITH ORDINALITY AS j(p, k, id, n)
                WHERE k IS NOT NULL AND NOT (id = ANY (won))) AS lost(n, first);
      expected := expected - cardinality(refused);
    END IF;
  END IF;
  IF expected = 0 THEN
    RETURN;
  END IF;
  base := ledger_ticket();
  WITH j AS (
    SELECT j.*, p.tenant FROM unnest(p_ids, p_profiles, p_states, p_bodies) WITH ORDINALITY AS j(id, p, state, body, n)
      JOIN unnest(p_tenants) WITH ORDINALITY AS p(tenant, p) ON p.p = j.p
      WHERE refused IS NULL OR j.n <> ALL (refused)
  ), stored AS (
    INSERT INTO ledger
      (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
    SELECT tenant, id, 1, base + n - 1, now_at, 'job.dispatched', state, body,
           ledger_leaf(tenant, id, 1, now_microseconds, 'job.dispatched', state)
    FROM j
    ON CONFLICT DO NOTHING
    RETURNING originator_id
  )
  SELECT count(*) INTO written FROM stored;
  IF written < expected THEN
    RAISE EXCEPTION 'job ids exist already' USING ERRCODE = 'JL001', TABLE = 'dispatch_jobs', DETAIL = (
      SELECT string_agg((n - 1)::text, ',') FROM unnest(p_ids) WITH ORDINALITY AS j(id, n)
        WHERE (refused IS NULL OR n <> ALL (refused))
          AND (SELECT l.notification_id FROM ledger l WHERE l.originator_id = id AND l.originator_version = 1)
              IS DISTINCT FROM base + n - 1);
  END IF;
  INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at,
                         attempts_allowed, lock_key, spec, identity, thread, payload)
  SELECT j.id, p.tenant, 1, p.status, p.queue, p.job_type, p.persona, p.priority, j.due_at,
         p.attempts_allowed, j.lock_key, p.spec, p.identity, p.thread, j.body
    FROM unnest(p_ids, p_profiles, p_bodies, p_due_at, p_lock_keys)
      WITH ORDINALITY AS j(id, p, body, due_at, lock_key, n)
    JOIN unnest(p_tenants, p_job_types, p_queues, p_personas, p_statuses, p_priorities, p_attempts_allowed, p_specs,
                p_identities, p_threads)
      WITH ORDINALITY AS p(tenant, job_type, queue, persona, status, priority, attempts_allowed, spec, identity, thread, p)
      ON p.p = j.p
    WHERE refused IS NULL OR j.n <> ALL (refused);
END $$;

-- The commonest change: attempts of one worker that succeeded. The row goes, job.completed is appended.
-- Rows that another transaction holds are left (the caller tries again); returns the base and who was written.
CREATE FUNCTION complete_jobs(
  p_worker text, p_ids uuid[], p_attempts integer[], p_states bytea[], p_bodies bytea[],
  OUT base bigint, OUT written integer[], OUT versions integer[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
BEGIN
  base := ledger_ticket();
  WITH locked AS MATERIALIZED (
    SELECT o.job_id, o.tenant_id, o.version + 1 AS version, c.state, c.body, c.n
      FROM unnest(p_ids, p_attempts, p_states, p_bodies) WITH ORDINALITY AS c(id, attempt, state, body, n)
      CROSS JOIN LATERAL (
        SELECT * FROM open_jobs r WHERE r.job_id = c.id
          -- "is not distinct from" cannot use the index on worker, which looks cheap to the planner and is not
          AND r.worker IS NOT DISTINCT FROM p_worker AND r.attempt = c.attempt
          FOR UPDATE SKIP LOCKED) AS o
  ), gone AS (
    DELETE FROM open_jobs o USING locked WHERE o.job_id = locked.job_id
  ), stored AS (
    INSERT INTO ledger
      (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
    SELECT tenant_id, job_id, version, base + n - 1, now_at, 'job.completed', state, body,
           ledger_leaf(tenant_id, job_id, version, now_microseconds, 'job.completed', state)
    FROM locked
  )
  SELECT array_agg(n::integer), array_agg(version) INTO written, versions FROM locked;
END $$;

-- Any change of open jobs: their further events, and what the queue has to know. A job whose guard does not hold is
-- not touched. p_event_jobs holds the 1-based job of each event; the events of a job come in their order. No job comes
-- twice.
CREATE FUNCTION change_jobs(
  p_ids uuid[], p_tenants text[], p_expected_versions integer[], p_workers text[], p_attempts integer[],
  p_cancel_expected boolean[],
  p_event_jobs integer[], p_event_offsets integer[], p_topics text[], p_states bytea[], p_bodies bytea[],
  p_statuses text[], p_removes boolean[], p_counted integer[], p_allowed integer[], p_stalls integer[],
  p_cancel_reasons text[], p_priorities integer[], p_due_at timestamptz[], p_payloads bytea[],
  OUT base bigint, OUT written integer[], OUT versions integer[], OUT locked_elsewhere integer[], OUT missing integer[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
  seen integer[];
  written_ids uuid[];
BEGIN
  -- rows first, in the order of their ids, then the ledger
  WITH rows AS MATERIALIZED (
    SELECT o.job_id, o.tenant_id, o.version, o.worker, o.attempt, o.cancel_reason FROM open_jobs o
      WHERE o.job_id = ANY (p_ids) ORDER BY o.job_id FOR UPDATE OF o SKIP LOCKED
  ), judged AS (
    SELECT c.n::integer AS n, o.job_id, o.version,
           (c.expected IS NULL OR o.version = c.expected)
           AND (c.holder IS NULL
                OR (o.worker IS NOT DISTINCT FROM c.holder AND o.attempt = c.attempt
                    AND (c.cancel_expected IS NULL OR c.cancel_expected = (o.cancel_reason IS NOT NULL)))) AS fits
      FROM unnest(p_ids, p_tenants, p_expected_versions, p_workers, p_attempts, p_cancel_expected)
        WITH ORDINALITY AS c(id, tenant, expected, holder, attempt, cancel_expected, n)
      JOIN rows o ON o.job_id = c.id AND o.tenant_id = c.tenant
  )
  SELECT array_agg(n), array_agg(n) FILTER (WHERE fits), array_agg(version) FILTER (WHERE fits),
         array_agg(job_id) FILTER (WHERE fits)
    INTO seen, written, versions, written_ids FROM judged;
  IF cardinality(p_ids) > coalesce(cardinality(seen), 0) THEN
    SELECT array_agg(n) FILTER (WHERE is_there), array_agg(n) FILTER (WHERE NOT is_there)
      INTO locked_elsewhere, missing
      FROM (SELECT c.n::integer AS n,
                   EXISTS (SELECT FROM open_jobs o WHERE o.job_id = c.id AND o.tenant_id = c.tenant) AS is_there
              FROM unnest(p_ids, p_tenants) WITH ORDINALITY AS c(id, tenant, n)
              WHERE seen IS NULL OR c.n <> ALL (seen)) AS unseen;
  END IF;
  IF written IS NULL THEN
    RETURN;
  END IF;
  base := ledger_ticket();
  INSERT INTO ledger
    (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
  SELECT tenant, id, version, base + n - 1, now_at, topic, state, body,
         ledger_leaf(tenant, id, version, now_microseconds, topic, state)
    FROM (SELECT c.tenant, c.id, w.version + e.at AS version, e.n, e.topic, e.state, e.body
            FROM unnest(p_event_jobs, p_event_offsets, p_topics, p_states, p_bodies)
              WITH ORDINALITY AS e(job, at, topic, state, body, n)
            JOIN unnest(written, versions) AS w(n, version) ON w.n = e.job
            JOIN unnest(p_ids, p_tenants) WITH ORDINALITY AS c(id, tenant, n) ON c.n = e.job) AS events;
  SELECT array_agg(w.version + e.events ORDER BY w.place) INTO versions
    FROM unnest(written, versions) WITH ORDINALITY AS w(n, version, place)
    JOIN (SELECT job, count(*)::integer AS events FROM unnest(p_event_jobs) AS j(job) GROUP BY job) AS e ON e.job = w.n;
  DELETE FROM open_jobs o
    WHERE o.job_id = ANY (ARRAY(SELECT p_ids[w.n] FROM unnest(written) AS w(n) WHERE p_removes[w.n]));
  -- a status other than in_progress clears the lease; null keeps a column
  UPDATE open_jobs o SET
      version = w.version,
      status = coalesce(c.status, o.status),
      worker = CASE WHEN coalesce(c.status, o.status) = 'in_progress' THEN o.worker END,
      started_at = CASE WHEN coalesce(c.status, o.status) = 'in_progress' THEN o.started_at END,
      attempts_counted = coalesce(c.counted, o.attempts_counted),
      attempts_allowed = coalesce(c.allowed, o.attempts_allowed),
      stalls = coalesce(c.stalls, o.stalls),
      cancel_reason = CASE WHEN c.status IS NULL THEN o.cancel_reason ELSE c.cancel_reason END,
      priority = coalesce(c.priority, o.priority),
      due_at = coalesce(c.due_at, o.due_at),
      payload = coalesce(c.payload, o.payload)
    FROM unnest(written, versions) AS w(n, version)
    JOIN unnest(p_ids, p_removes, p_statuses, p_counted, p_allowed, p_stalls, p_cancel_reasons, p_priorities, p_due_at,
                p_payloads)
      WITH ORDINALITY AS c(id, removes, status, counted, allowed, stalls, cancel_reason, priority, due_at, payload, n)
      ON c.n = w.n
    WHERE o.job_id = c.id AND o.job_id = ANY (written_ids) AND NOT c.removes;
END $$;

-- --- claiming ----------------------------------------------------------------------------------------------------

-- Delayed jobs of a queue that are due become ready: a bounded number with each claim.
CREATE FUNCTION promote_due_jobs(p_queue text, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  promoted integer;
BEGIN
  UPDATE open_jobs SET status = 'pending'
    WHERE job_id IN (SELECT job_id FROM open_jobs
                     WHERE queue = p_queue AND status = 'delayed' AND due_at <= clock_timestamp()
                     ORDER BY due_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS promoted = ROW_COUNT;
  RETURN promoted;
END $$;

-- Tenants that have ready jobs in a queue, after a cursor and round again: a loose index scan, at most p_limit probes.
CREATE FUNCTION tenants_with_ready_jobs(p_queue text, p_cursor text, p_limit integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = jobledger, pg_temp AS $$
DECLARE
  tenant text := p_cursor;
  next_unkeyed text;
  next_keyed text;
  wrapped boolean := false;
BEGIN
  FOR step IN 1..p_limit LOOP
    SELECT tenant_id INTO next_unkeyed FROM open_jobs
      WHERE queue = p_queue AND tenant_id > tenant AND status = 'pending' AND stalls = 0 AND lock_key IS NULL
      ORDER BY tenant_id LIMIT 1;
    SELECT tenant_id INTO next_keyed FROM open_jobs
      WHERE queue = p_queue AND tenant_id > tenant AND status = 'pending' AND stalls = 0 AND lock_key IS NOT NULL
      ORDER BY tenant_id LIMIT 1;
    tenant := least(next_unkeyed, next_keyed);  -- least() ignores nulls
    IF tenant IS NULL THEN
      EXIT WHEN wrapped OR p_cursor = '';
      wrapped := true;
      tenant := '';
      CONTINUE;
    END IF;
    EXIT WHEN wrapped AND tenant > p_cursor;
    RETURN NEXT tenant;
  END LOOP;
END $$;

-- Ready jobs of tenants that are suspended or unknown. Loose index scans over queues and their tenants: it never reads
-- the backlog of those that are active. Delayed and blocked jobs are found once they are ready.
CREATE FUNCTION waiting_of_inactive_tenants(p_limit integer) RETURNS SETOF open_jobs
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  found_jobs integer := 0;
  added integer;
  pair record;
BEGIN
  FOR pair IN
    WITH RECURSIVE queues AS (
      SELECT min(queue) AS queue FROM open_jobs
        WHERE status = 'pending' AND stalls = 0 AND lock_key IS NULL
      UNION ALL
      SELECT (SELECT min(o.queue) FROM open_jobs o
                WHERE o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NULL AND o.queue > queues.queue)
        FROM queues WHERE queues.queue IS NOT NULL
    ), keyed AS (
      SELECT min(queue) AS queue FROM open_jobs
        WHERE status = 'pending' AND stalls = 0 AND lock_key IS NOT NULL
      UNION ALL
      SELECT (SELECT min(o.queue) FROM open_jobs o
                WHERE o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NOT NULL AND o.queue > keyed.queue)
        FROM keyed WHERE keyed.queue IS NOT NULL
    )
    SELECT q.queue, t.tenant FROM (TABLE queues UNION TABLE keyed) AS q
      CROSS JOIN LATERAL tenants_with_ready_jobs(q.queue, '', 10000) AS t(tenant)
      WHERE q.queue IS NOT NULL
        AND NOT EXISTS (SELECT FROM tenants a WHERE a.tenant_id = t.tenant AND a.status = 'active')
  LOOP
    RETURN QUERY SELECT o.* FROM open_jobs o
      WHERE o.queue = pair.queue AND o.tenant_id = pair.tenant AND o.status = 'pending' AND o.stalls = 0
        AND o.lock_key IS NULL LIMIT p_limit - found_jobs;
    GET DIAGNOSTICS added = ROW_COUNT;
    found_jobs := found_jobs + added;
    RETURN QUERY SELECT o.* FROM open_jobs o
      WHERE o.queue = pair.queue AND o.tenant_id = pair.tenant AND o.status = 'pending' AND o.stalls = 0
        AND o.lock_key IS NOT NULL LIMIT p_limit - found_jobs;
    GET DIAGNOSTICS added = ROW_COUNT;
    found_jobs := found_jobs + added;
    EXIT WHEN found_jobs >= p_limit;
  END LOOP;
  RETURN QUERY SELECT o.* FROM open_jobs o
    WHERE o.status = 'pending' AND o.stalls > 0
      AND NOT EXISTS (SELECT FROM tenants a WHERE a.tenant_id = o.tenant_id AND a.status = 'active')
    LIMIT p_limit - found_jobs;
END $$;

-- Takes up to p_limit ready jobs of one queue and records job.started for each, in one durable statement.
--
-- Tenants take turns: at most 100 after the cursor share the batch; priority counts within a tenant. A job that
-- stalled before comes alone, and only where the caller has claimed nothing else (p_with_stalled). Of jobs with a lock key at most one runs per tenant and key. Rows with a null job_id
-- name tenants that are unknown or suspended, whose jobs are not started, and, with version -1, the tenant after which
-- the next claim goes on.
-- job.started is built from fragments, byte for byte what the mapper would write.
CREATE FUNCTION claim_jobs(
  p_queue text, p_job_types text[], p_personas text[], p_tenants text[], p_limit integer, p_cursor text,
  p_worker text, p_metadata_end bytea, p_facts_end bytea, p_with_stalled boolean
) RETURNS TABLE (
  job_id uuid, tenant_id text, version integer, priority integer, due_at timestamptz, attempt integer,
  attempts_counted integer, attempts_allowed integer, stalls integer, job_type text, persona text, lock_key text,
  spec bytea, thread bytea, payload bytea, started_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := clock_timestamp();
  now_microseconds bigint := microseconds(now_at);
  turn text[];
  active text[];
  tenant text;
  last_visited text;
  share integer;
  chosen uuid[] := '{}';
  found_jobs uuid[];
  has_more text[] := '{}';
  keyed boolean;
  base bigint;
BEGIN
  SELECT array[o.job_id] INTO chosen FROM open_jobs o JOIN tenants t ON t.tenant_id = o.tenant_id AND t.status = 'active'
    WHERE p_with_stalled AND o.queue = p_queue AND o.status = 'pending' AND o.stalls > 0 AND o.job_type = ANY (p_job_types)
      AND (p_personas IS NULL OR o.persona = ANY (p_personas)) AND (p_tenants IS NULL OR o.tenant_id = ANY (p_tenants))
      AND (o.lock_key IS NULL OR NOT EXISTS (
             SELECT FROM open_jobs r WHERE r.tenant_id = o.tenant_id AND r.lock_key = o.lock_key AND r.status = 'in_progress'))
      AND (o.lock_key IS NULL OR pg_try_advisory_xact_lock(1818584166, hashtext(o.tenant_id || chr(31) || o.lock_key)))
    ORDER BY o.due_at, o.job_id LIMIT 1 FOR UPDATE OF o SKIP LOCKED;
  -- asked again in a statement of its own: another claim may have taken the key since the one above began
  IF chosen IS NOT NULL AND EXISTS (
      SELECT FROM open_jobs o JOIN open_jobs r ON r.tenant_id = o.tenant_id AND r.lock_key = o.lock_key
        WHERE o.job_id = chosen[1] AND r.status = 'in_progress') THEN
    chosen := NULL;
  END IF;
  IF chosen IS NULL THEN
    chosen := '{}';
    IF p_tenants IS NULL THEN
      SELECT array_agg(t) INTO turn FROM tenants_with_ready_jobs(p_queue, p_cursor, 100) AS t;
    ELSE
      SELECT array_agg(DISTINCT t) INTO turn FROM unnest(p_tenants) AS t;
      turn := ARRAY(SELECT t FROM unnest(turn) AS t ORDER BY t <= p_cursor, t);
    END IF;
    IF turn IS NULL THEN
      RETURN;
    END IF;
    SELECT array_agg(t.tenant_id ORDER BY w.n) INTO active
      FROM unnest(turn) WITH ORDINALITY AS w(tenant, n) JOIN tenants t ON t.tenant_id = w.tenant AND t.status = 'active';
    IF cardinality(turn) > coalesce(cardinality(active), 0) THEN
      RETURN QUERY SELECT null::uuid, t, 0, 0, now_at, 0, 0, 0, 0, '', null::text, null::text, ''::bytea, ''::bytea,
                          ''::bytea, now_at
        FROM unnest(turn) AS t WHERE active IS NULL OR t <> ALL (active);
    END IF;
    last_visited := turn[cardinality(turn)];
    IF active IS NOT NULL THEN
      keyed := EXISTS (SELECT FROM open_jobs o WHERE o.queue = p_queue AND o.status = 'pending' AND o.stalls = 0
                         AND o.lock_key IS NOT NULL);
      share := ceil(p_limit::numeric / cardinality(active))::integer;
      FOREACH tenant IN ARRAY active LOOP
        found_jobs := claim_candidates(p_queue, tenant, p_job_types, p_personas,
                                       least(share, p_limit - cardinality(chosen)), keyed);
        chosen := chosen || found_jobs;
        IF cardinality(found_jobs) = share THEN
          has_more := has_more || tenant;
        END IF;
        IF cardinality(chosen) >= p_limit THEN
          last_visited := tenant;
          EXIT;
        END IF;
      END LOOP;
      -- what some leave goes to the others
      FOREACH tenant IN ARRAY has_more LOOP
        EXIT WHEN cardinality(chosen) >= p_limit OR cardinality(active) = 1;
        found_jobs := claim_candidates(p_queue, tenant, p_job_types, p_personas,
                                       share + p_limit - cardinality(chosen), keyed);
        chosen := chosen || ARRAY(SELECT j FROM unnest(found_jobs) AS j WHERE j <> ALL (chosen));
      END LOOP;
    END IF;
    -- where the next claim goes on, also when there was nothing for this worker
    RETURN QUERY SELECT null::uuid, last_visited, -1, 0, now_at, 0, 0, 0, 0, '', null::text, null::text, ''::bytea,
                        ''::bytea, ''::bytea, now_at;
    IF cardinality(chosen) = 0 THEN
      RETURN;
    END IF;
  END IF;
  base := ledger_ticket();
  RETURN QUERY
  WITH taken AS (
    UPDATE open_jobs o SET status = 'in_progress', version = o.version + 1, attempt = o.attempt + 1,
        attempts_counted = o.attempts_counted + 1, worker = p_worker, started_at = now_at
      FROM unnest(chosen) AS c(id) WHERE o.job_id = c.id
      RETURNING o.*
  ), numbered AS MATERIALIZED (
    SELECT t.*, row_number() OVER (ORDER BY t.priority DESC, t.due_at, t.job_id) - 1 AS n,
           '\x7b'::bytea || t.thread || p_metadata_end || t.identity
             || convert_to(',"attempt":' || t.attempt, 'UTF8') || p_facts_end AS state
      FROM taken t
  ), stored AS (
    INSERT INTO ledger (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, leaf)
    SELECT tenant_id, job_id, version, base + n, now_at, 'job.started', state,
           ledger_leaf(tenant_id, job_id, version, now_microseconds, 'job.started', state)
    FROM numbered
  )
  SELECT job_id, tenant_id, version, priority, due_at, attempt, attempts_counted, attempts_allowed, stalls, job_type,
         persona, lock_key, spec, thread, payload, started_at
    FROM numbered ORDER BY n;
END $$;

-- A tenant's best ready jobs for a worker, locked: those without a lock key and, with p_keyed, the best one of each of
-- its lock keys that is free.
CREATE FUNCTION claim_candidates(
  p_queue text, p_tenant text, p_job_types text[], p_personas text[], p_limit integer, p_keyed boolean
) RETURNS uuid[] LANGUAGE plpgsql SET search_path = jobledger, pg_temp AS $$
DECLARE
  found_jobs uuid[];
  with_key uuid[];
BEGIN
  found_jobs := ARRAY(
    SELECT o.job_id FROM open_jobs o
      WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NULL
        AND o.job_type = ANY (p_job_types) AND (p_personas IS NULL OR o.persona = ANY (p_personas))
      ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit
      FOR UPDATE SKIP LOCKED);
  IF NOT p_keyed THEN
    RETURN found_jobs;
  END IF;
  with_key := claim_candidates_with_key(p_queue, p_tenant, p_job_types, p_personas);
  IF cardinality(with_key) = 0 THEN
    RETURN found_jobs;
  END IF;
  RETURN ARRAY(SELECT o.job_id FROM open_jobs o WHERE o.job_id = ANY (found_jobs || with_key)
                 ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit);
END $$;

-- The best ready job of each lock key that is free, of at most 100 keys: a loose index scan over the keys, so ten
-- thousand jobs behind one key cost one probe. The advisory lock keeps two claims from taking one key at once.
CREATE FUNCTION claim_candidates_with_key(p_queue text, p_tenant text, p_job_types text[], p_personas text[])
RETURNS uuid[] LANGUAGE plpgsql SET search_path = jobledger, pg_temp AS $$
DECLARE
  found_jobs uuid[] := '{}';
  last_key text := '';
  candidate uuid;
BEGIN
  FOR step IN 1..100 LOOP
    -- only keys with a job for this worker: others' keys hide nothing
    SELECT o.lock_key INTO last_key FROM open_jobs o
      WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.lock_key > last_key
        AND o.status = 'pending' AND o.stalls = 0 AND o.lock_key IS NOT NULL
        AND o.job_type = ANY (p_job_types) AND (p_personas IS NULL OR o.persona = ANY (p_personas))
      ORDER BY o.lock_key LIMIT 1;
    EXIT WHEN last_key IS NULL;
    CONTINUE WHEN NOT pg_try_advisory_xact_lock(1818584166, hashtext(p_tenant || chr(31) || last_key));
    CONTINUE WHEN EXISTS (SELECT FROM open_jobs r WHERE r.tenant_id = p_tenant AND r.lock_key = last_key
                            AND r.status = 'in_progress');
    SELECT o.job_id INTO candidate FROM open_jobs o
      WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.lock_key = last_key AND o.status = 'pending'
        AND o.stalls = 0 AND o.job_type = ANY (p_job_types) AND (p_personas IS NULL OR o.persona = ANY (p_personas))
      ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT 1
      FOR UPDATE SKIP LOCKED;
    IF candidate IS NOT NULL THEN
      found_jobs := found_jobs || candidate;
    END IF;
  END LOOP;
  RETURN found_jobs;
END $$;

-- --- the catalogue's writers -------------------------------------------------------------------------------------

CREATE FUNCTION save_tenant(p_tenant text, p_status text, p_display_name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
  INSERT INTO tenants (tenant_id, status, display_name, updated_at)
  VALUES (p_tenant, p_status, p_display_name, clock_timestamp())
  ON CONFLICT (tenant_id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at
$$;

CREATE FUNCTION save_job_type(p_name text, p_definition text, p_fingerprint text, p_code_version text, p_app text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
  INSERT INTO job_types (name, definition, fingerprint, code_version, app, updated_at)
  VALUES (p_name, p_definition, p_fingerprint, p_code_version, p_app, clock_timestamp())
  ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, fingerprint = excluded.fingerprint,
    code_version = excluded.code_version, app = excluded.app, updated_at = excluded.updated_at
$$;

-- --- who may call what -------------------------------------------------------------------------------------------

GRANT EXECUTE ON FUNCTION
  ledger_append(text[], uuid[], integer[], text[], bytea[], bytea[]),
  dispatch_jobs(uuid[], integer[], bytea[], bytea[], timestamptz[], text[], text[], text[], text[], text[], text[], text[],
                text[], integer[], integer[], bytea[], bytea[], bytea[], boolean),
  complete_jobs(text, uuid[], integer[], bytea[], bytea[]),
  change_jobs(uuid[], text[], integer[], text[], integer[], boolean[], integer[], integer[], text[], bytea[], bytea[],
              text[], boolean[], integer[], integer[], integer[], text[], integer[], timestamptz[], bytea[]),
  save_tenant(text, text, text), save_job_type(text, text, text, text, text)
  TO jobledger_worker, jobledger_api;
GRANT EXECUTE ON FUNCTION
  promote_due_jobs(text, integer), waiting_of_inactive_tenants(integer), claim_jobs(text, text[], text[], text[], integer, text, text, bytea, bytea, boolean)
  TO jobledger_worker;
GRANT EXECUTE ON FUNCTION ledger_horizon() TO jobledger_worker, jobledger_api, jobledger_projector, jobledger_auditor;

-- Plans are made once a session, for any number of rows: planning costs more than a small write. Those made while a
-- table is nearly empty must not be ones that read all of it, so only indexes are left to the planner.
DO $$
DECLARE
  function regprocedure;
BEGIN
  FOR function IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'jobledger'::regnamespace
      AND proname IN ('ledger_append', 'dispatch_jobs', 'complete_jobs', 'change_jobs', 'promote_due_jobs',
                      'tenants_with_ready_jobs', 'claim_jobs', 'claim_candidates', 'claim_candidates_with_key',
                      'waiting_of_inactive_tenants') LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', function);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', function);
    IF function::text LIKE '%dispatch_jobs(%' OR function::text LIKE '%change_jobs(%' THEN
      -- they join arrays with arrays; into tables they look by ANY or by subqueries
      EXECUTE format('ALTER FUNCTION %s SET enable_nestloop = off', function);
    ELSE
      EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', function);
      EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', function);
    END IF;
  END LOOP;
END $$;

RESET ROLE;
REVOKE CREATE ON SCHEMA jobledger FROM jobledger_writer;

-- Against transactions that hold readers back: for logins that are these roles; connections of ours also ask for it.
ALTER ROLE jobledger_worker SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE jobledger_api SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE jobledger_projector SET idle_in_transaction_session_timeout = '60s';
