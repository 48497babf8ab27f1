-- Limits and pauses, lanes, weighted turns, and what workers report of themselves.

SET LOCAL search_path = jobledger, pg_temp;

-- What a worker says of itself: JSON.
ALTER TABLE workers ADD COLUMN report text NOT NULL DEFAULT '{}';

-- --- limits: an inline projection of their targets' streams -------------------------------------------------------

-- Queues, tenants, personas and custom keys that are limited or paused; null is no limit. A queue belongs to all
-- tenants, so its tenant is the installation's. A persona's row in which nothing is limited any more stays until no
-- waiting job's lane names the persona (see apply_limits).
CREATE TABLE limits (
  scope        text COLLATE "C" NOT NULL CHECK (scope IN ('queue', 'tenant', 'persona', 'key')),
  tenant_id    text COLLATE "C" NOT NULL,
  subject      text COLLATE "C" NOT NULL,
  concurrency  integer,
  rate_count   integer,
  rate_seconds double precision,
  weight       integer NOT NULL DEFAULT 1,
  paused       boolean NOT NULL DEFAULT false,
  PRIMARY KEY (scope, tenant_id, subject)
);
ALTER TABLE limits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON limits FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON limits FOR SELECT TO jobledger_worker, jobledger_projector, jobledger_auditor USING (true);
CREATE POLICY write ON limits FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON limits TO jobledger_api, jobledger_worker, jobledger_projector, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON limits TO jobledger_writer;

-- Running jobs that count toward a concurrency limit, written by the claims of limited targets only. Endings do not
-- touch it: whoever counts removes what has ended.
CREATE TABLE limit_holds (
  scope     text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  subject   text COLLATE "C" NOT NULL,
  job_id    uuid    NOT NULL,
  attempt   integer NOT NULL,
  PRIMARY KEY (scope, tenant_id, subject, job_id)
);

-- Starts that a rate granted, summed over a hundredth of its window: one row a bucket, changed once a claim. A bucket
-- counts until its end leaves the window, so the limit is never exceeded in any window.
CREATE TABLE limit_uses (
  scope      text COLLATE "C" NOT NULL,
  tenant_id  text COLLATE "C" NOT NULL,
  subject    text COLLATE "C" NOT NULL,
  ends_at    timestamptz NOT NULL,
  tokens     integer     NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (scope, tenant_id, subject, ends_at)
) WITH (fillfactor = 50);
CREATE INDEX limit_uses_expired ON limit_uses (expires_at);

ALTER TABLE limit_holds ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY read_all ON limit_holds FOR SELECT TO jobledger_worker, jobledger_auditor USING (true);
CREATE POLICY write ON limit_holds FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON limit_holds TO jobledger_worker, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON limit_holds TO jobledger_writer;
ALTER TABLE limit_uses ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY read_all ON limit_uses FOR SELECT TO jobledger_worker, jobledger_auditor USING (true);
CREATE POLICY write ON limit_uses FOR ALL TO jobledger_writer USING (true) WITH CHECK (true);
GRANT SELECT ON limit_uses TO jobledger_worker, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON limit_uses TO jobledger_writer;

-- --- lanes -------------------------------------------------------------------------------------------------------

-- What is bound by a lock key, a limit key or a limited persona waits in a lane; all jobs of a lane are bound by the
-- same things, so a claim looks at the first of each lane and never through a backlog that may not run. Most jobs have
-- none and are found as before.
ALTER TABLE open_jobs ADD COLUMN limit_key text, ADD COLUMN lane text COLLATE "C";

-- The separator is doubled where a key holds it: no two bounds share a lane.
CREATE FUNCTION job_lane(lock_key text, limit_key text, limited_persona text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT nullif(concat_ws(chr(31), 'l' || replace(lock_key, chr(31), chr(31) || chr(31)),
                          'k' || replace(limit_key, chr(31), chr(31) || chr(31)),
                          'p' || replace(limited_persona, chr(31), chr(31) || chr(31))), '')
$$;
GRANT EXECUTE ON FUNCTION job_lane(text, text, text) TO jobledger_writer;

-- Row-level security is forced: the owner of the table sees none of its rows.
SET LOCAL ROLE jobledger_writer;
UPDATE open_jobs SET lane = job_lane(lock_key, null, null) WHERE lock_key IS NOT NULL;
SET LOCAL ROLE jobledger_owner;

DROP INDEX open_jobs_ready;
DROP INDEX open_jobs_ready_keyed;
CREATE INDEX open_jobs_ready ON open_jobs (queue, tenant_id, priority DESC, due_at, job_id)
  WHERE status = 'pending' AND stalls = 0 AND lane IS NULL;
-- For workers that run the jobs of some personas only.
CREATE INDEX open_jobs_ready_of_persona ON open_jobs (queue, tenant_id, persona, priority DESC, due_at, job_id)
  WHERE status = 'pending' AND stalls = 0 AND lane IS NULL AND persona IS NOT NULL;
CREATE INDEX open_jobs_ready_in_lane ON open_jobs (queue, tenant_id, lane, priority DESC, due_at, job_id)
  WHERE status = 'pending' AND stalls = 0 AND lane IS NOT NULL;

-- --- for counting the queue ---------------------------------------------------------------------------------------
-- What neither waits for its turn nor runs; few jobs ever come here, so it costs the others nothing.
CREATE INDEX open_jobs_parked ON open_jobs (queue, status)
  WHERE status IN ('blocked', 'dlq');

RESET ROLE;
GRANT CREATE ON SCHEMA jobledger TO jobledger_writer;
SET LOCAL ROLE jobledger_writer;
SET LOCAL search_path = jobledger, pg_temp;

-- --- keeping limits ----------------------------------------------------------------------------------------------

-- The row of a target. Waits for claims under way and holds new ones up for a moment, so that what runs now is counted
-- and nothing starts that the limit does not know.
CREATE FUNCTION save_limit(
  p_scope text, p_tenant text, p_subject text, p_concurrency integer, p_rate_count integer,
  p_rate_seconds double precision, p_weight integer, p_paused boolean
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  nothing boolean := p_concurrency IS NULL AND p_rate_count IS NULL AND p_weight = 1 AND NOT p_paused;
  prefix text := CASE WHEN p_scope = 'key' AND right(p_subject, 1) = '*' THEN left(p_subject, -1) END;
  now_at timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(1818584168);
  IF nothing AND p_scope <> 'persona' THEN
    DELETE FROM limits WHERE scope = p_scope AND tenant_id = p_tenant AND subject = p_subject;
  ELSE
    INSERT INTO limits VALUES
      (p_scope, p_tenant, p_subject, p_concurrency, p_rate_count, p_rate_seconds, p_weight, p_paused)
      ON CONFLICT (scope, tenant_id, subject) DO UPDATE SET concurrency = excluded.concurrency,
        rate_count = excluded.rate_count, rate_seconds = excluded.rate_seconds, weight = excluded.weight,
        paused = excluded.paused;
  END IF;
  -- A key whose own limits go, or do not count what runs, may fall under a prefix that does, now or later.
  IF p_concurrency IS NOT NULL OR p_scope = 'key' THEN
    INSERT INTO limit_holds (scope, tenant_id, subject, job_id, attempt)
      SELECT p_scope, p_tenant, CASE p_scope WHEN 'key' THEN o.limit_key ELSE p_subject END, o.job_id, o.attempt
        FROM open_jobs o
        WHERE o.worker IS NOT NULL AND o.status = 'in_progress' AND (p_scope = 'queue' OR o.tenant_id = p_tenant)
          AND CASE p_scope
                WHEN 'queue' THEN o.queue = p_subject
                WHEN 'persona' THEN o.persona = p_subject
                WHEN 'key' THEN o.limit_key = p_subject OR starts_with(o.limit_key, prefix)
                ELSE true END
      ON CONFLICT (scope, tenant_id, subject, job_id) DO UPDATE SET attempt = excluded.attempt;
  END IF;
  -- What a rate granted was started by now: the buckets of another window must not count for longer than that, and
  -- are kept for as long as this one looks back.
  now_at := clock_timestamp();
  UPDATE limit_uses u SET expires_at = u.ends_at + make_interval(secs => p_rate_seconds)
    WHERE u.scope = p_scope AND u.tenant_id = p_tenant AND (u.subject = p_subject OR starts_with(u.subject, prefix))
      AND u.expires_at < u.ends_at + make_interval(secs => p_rate_seconds);
  WITH unfinished AS (
    DELETE FROM limit_uses u
      WHERE u.scope = p_scope AND u.tenant_id = p_tenant AND (u.subject = p_subject OR starts_with(u.subject, prefix))
        AND u.ends_at > now_at
      RETURNING *
  )
  INSERT INTO limit_uses (scope, tenant_id, subject, ends_at, tokens, expires_at)
    SELECT u.scope, u.tenant_id, u.subject, now_at, sum(u.tokens), max(u.expires_at)
      FROM unfinished u GROUP BY u.scope, u.tenant_id, u.subject
    ON CONFLICT (scope, tenant_id, subject, ends_at) DO UPDATE SET tokens = limit_uses.tokens + excluded.tokens,
      expires_at = greatest(limit_uses.expires_at, excluded.expires_at);
END $$;

-- Brings the lanes of waiting jobs in line with limits of personas that came or went since the jobs were dispatched,
-- and clears away what no limit counts any more. Returns how many jobs were changed: at most p_limit.
CREATE FUNCTION apply_limits(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  changed integer := 0;
BEGIN
  IF EXISTS (SELECT FROM limits l WHERE l.scope = 'persona') THEN
    UPDATE open_jobs o SET lane = wrong.right_lane
      FROM (
        SELECT w.job_id, r.right_lane FROM open_jobs w
          JOIN limits l ON l.scope = 'persona' AND l.tenant_id = w.tenant_id AND l.subject = w.persona
          CROSS JOIN LATERAL (
            SELECT job_lane(w.lock_key, w.limit_key, CASE WHEN l.concurrency IS NOT NULL OR l.rate_count IS NOT NULL
                                                            OR l.paused THEN l.subject END)) AS r(right_lane)
          WHERE w.status <> 'in_progress' AND w.lane IS DISTINCT FROM r.right_lane
          LIMIT p_limit FOR UPDATE OF w SKIP LOCKED) AS wrong
      WHERE o.job_id = wrong.job_id;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed < p_limit THEN
      DELETE FROM limits l
        WHERE l.scope = 'persona' AND l.concurrency IS NULL AND l.rate_count IS NULL AND NOT l.paused
          AND NOT EXISTS (SELECT FROM open_jobs w WHERE w.tenant_id = l.tenant_id AND w.persona = l.subject
                            AND w.status <> 'in_progress'
                            AND w.lane IS DISTINCT FROM job_lane(w.lock_key, w.limit_key, NULL));
    END IF;
  END IF;
  -- Last, and never waiting: claims meet these rows. A claim that took its time may still ask for uses of a moment ago.
  DELETE FROM limit_uses u USING (
    SELECT e.scope, e.tenant_id, e.subject, e.ends_at FROM limit_uses e
      WHERE e.expires_at < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED) AS expired
    WHERE (u.scope, u.tenant_id, u.subject, u.ends_at)
        = (expired.scope, expired.tenant_id, expired.subject, expired.ends_at);
  DELETE FROM limit_holds h USING (
    SELECT e.scope, e.tenant_id, e.subject, e.job_id FROM limit_holds e
      WHERE NOT EXISTS (SELECT FROM open_jobs o WHERE o.job_id = e.job_id AND o.attempt = e.attempt
                          AND o.status = 'in_progress') FOR UPDATE OF e SKIP LOCKED) AS ended
    WHERE (h.scope, h.tenant_id, h.subject, h.job_id) = (ended.scope, ended.tenant_id, ended.subject, ended.job_id);
  RETURN changed;
END $$;

-- --- dispatching: as in the first migration, with limit keys and lanes --------------------------------------------

DROP FUNCTION dispatch_jobs(uuid[], integer[], bytea[], bytea[], timestamptz[], text[], text[], text[], text[], text[],
  text[], text[], text[], integer[], integer[], bytea[], bytea[], bytea[], boolean);

-- Dispatches: version 1 of each job, its queue row and its idempotency key.
--
-- p_limit_keys may be empty: then no job has one. What jobs of a batch share stands once, in a profile; p_profiles
-- holds the 1-based profile of each job. A key that a caller's open transaction holds is "deferred": nobody waits for it
-- here. With p_waits (a caller's own transaction) the key's advisory lock is taken instead. Returns the base, and one entry for each job not written.
CREATE FUNCTION dispatch_jobs(
  p_ids uuid[], p_profiles integer[], p_states bytea[], p_bodies bytea[], p_due_at timestamptz[], p_lock_keys text[],
  p_limit_keys text[], p_keys text[], p_payload_sha256 text[],
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
  limited integer[] := '{}';
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
  IF EXISTS (SELECT FROM limits l WHERE l.scope = 'persona') THEN
    SELECT coalesce(array_agg(p.p::integer), '{}') INTO limited
      FROM unnest(p_tenants, p_personas) WITH ORDINALITY AS p(tenant, persona, p)
      WHERE EXISTS (SELECT FROM limits l WHERE l.scope = 'persona' AND l.tenant_id = p.tenant AND l.subject = p.persona);
  END IF;
  INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at,
                         attempts_allowed, lock_key, limit_key, lane, spec, identity, thread, payload)
  SELECT j.id, p.tenant, 1, p.status, p.queue, p.job_type, p.persona, p.priority, j.due_at,
         p.attempts_allowed, j.lock_key, j.limit_key,
         CASE WHEN j.lock_key IS NULL AND j.limit_key IS NULL AND j.p <> ALL (limited) THEN NULL
              ELSE job_lane(j.lock_key, j.limit_key, CASE WHEN j.p = ANY (limited) THEN p.persona END) END,
         p.spec, p.identity, p.thread, j.body
    FROM unnest(p_ids, p_profiles, p_bodies, p_due_at, p_lock_keys, p_limit_keys)
      WITH ORDINALITY AS j(id, p, body, due_at, lock_key, limit_key, n)
    JOIN unnest(p_tenants, p_job_types, p_queues, p_personas, p_statuses, p_priorities, p_attempts_allowed, p_specs,
                p_identities, p_threads)
      WITH ORDINALITY AS p(tenant, job_type, queue, persona, status, priority, attempts_allowed, spec, identity, thread, p)
      ON p.p = j.p
    WHERE refused IS NULL OR j.n <> ALL (refused);
END $$;

-- --- claiming: tenants take weighted turns, nothing goes above a limit ---------------------------------------------
-- Functions without settings (a search path among them) are called only by those that have them: each call of one with
-- settings pays for making and undoing them.

DROP FUNCTION claim_jobs(text, text[], text[], text[], integer, text, text, bytea, bytea, boolean);
DROP FUNCTION claim_candidates(text, text, text[], text[], integer, boolean);
DROP FUNCTION claim_candidates_with_key(text, text, text[], text[]);

-- Tenants that have ready jobs in a queue, after a cursor and round again: a loose index scan, at most p_limit probes.
CREATE OR REPLACE FUNCTION tenants_with_ready_jobs(p_queue text, p_cursor text, p_limit integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  tenant text := p_cursor;
  next_plain text;
  next_in_lane text;
  wrapped boolean := false;
BEGIN
  FOR step IN 1..p_limit LOOP
    SELECT tenant_id INTO next_plain FROM open_jobs
      WHERE queue = p_queue AND tenant_id > tenant AND status = 'pending' AND stalls = 0 AND lane IS NULL
      ORDER BY tenant_id LIMIT 1;
    SELECT tenant_id INTO next_in_lane FROM open_jobs
      WHERE queue = p_queue AND tenant_id > tenant AND status = 'pending' AND stalls = 0 AND lane IS NOT NULL
      ORDER BY tenant_id LIMIT 1;
    tenant := least(next_plain, next_in_lane);  -- least() ignores nulls
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

-- How many more may start under a limit, null where it limits nothing; when a rate that holds jobs back allows the next
-- one; and whether there is a rate, under which at most p_at_once may start. With p_locks it takes the target's lock
-- until the transaction ends, and what it says holds: where another claim has it, nothing is left for this one, and
-- nobody waits. Without, it only tells where looking further is in vain.
CREATE FUNCTION limit_room(
  p_limit limits, p_subject text, p_at_once integer, p_locks boolean,
  OUT room integer, OUT again_at timestamptz, OUT rated boolean
) LANGUAGE plpgsql AS $$
DECLARE
  now_at timestamptz;
  running integer;
  used integer;
  first_ends_at timestamptz;
BEGIN
  rated := false;
  IF p_limit.scope IS NULL OR p_limit.paused THEN
    room := CASE WHEN p_limit.paused THEN 0 END;
    RETURN;
  END IF;
  IF p_limit.concurrency IS NULL AND p_limit.rate_count IS NULL THEN
    RETURN;
  END IF;
  IF p_locks AND NOT pg_try_advisory_xact_lock(
      1818584167, hashtext(p_limit.scope || chr(31) || p_limit.tenant_id || chr(31) || p_subject)) THEN
    room := 0;
    RETURN;
  END IF;
  IF p_limit.concurrency IS NOT NULL THEN
    SELECT count(*) INTO running FROM limit_holds h
      JOIN open_jobs o ON o.job_id = h.job_id AND o.attempt = h.attempt AND o.status = 'in_progress'
      WHERE h.scope = p_limit.scope AND h.tenant_id = p_limit.tenant_id AND h.subject = p_subject;
    room := greatest(0, p_limit.concurrency - running);
  END IF;
  IF p_limit.rate_count IS NOT NULL THEN
    rated := true;
    now_at := clock_timestamp();  -- after the lock: claims of a target follow each other in time
    SELECT coalesce(sum(u.tokens), 0), min(u.ends_at) INTO used, first_ends_at FROM limit_uses u
      WHERE u.scope = p_limit.scope AND u.tenant_id = p_limit.tenant_id AND u.subject = p_subject
        AND u.ends_at > now_at - make_interval(secs => p_limit.rate_seconds);
    room := least(room, greatest(0, p_limit.rate_count - used), p_at_once);  -- least() ignores nulls
    IF used >= p_limit.rate_count THEN
      again_at := first_ends_at + make_interval(secs => p_limit.rate_seconds);
    END IF;
  END IF;
END $$;

-- Counts jobs that a claim starts at p_now toward a limit whose lock it has, and forgets what does not count any more.
-- The moment is one after the lock was taken.
CREATE FUNCTION limit_take(p_limit limits, p_subject text, p_jobs uuid[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  width double precision := p_limit.rate_seconds / 100;
  bucket_ends_at timestamptz;
BEGIN
  IF p_limit.concurrency IS NOT NULL THEN
    DELETE FROM limit_holds h
      WHERE h.scope = p_limit.scope AND h.tenant_id = p_limit.tenant_id AND h.subject = p_subject
        AND h.job_id IN (
          SELECT e.job_id FROM limit_holds e
            WHERE e.scope = p_limit.scope AND e.tenant_id = p_limit.tenant_id AND e.subject = p_subject
              AND NOT EXISTS (SELECT FROM open_jobs o WHERE o.job_id = e.job_id AND o.attempt = e.attempt
                                AND o.status = 'in_progress') FOR UPDATE OF e SKIP LOCKED);
    INSERT INTO limit_holds (scope, tenant_id, subject, job_id, attempt)
      SELECT p_limit.scope, p_limit.tenant_id, p_subject, o.job_id, o.attempt + 1
        FROM open_jobs o WHERE o.job_id = ANY (p_jobs)
      ON CONFLICT (scope, tenant_id, subject, job_id) DO UPDATE SET attempt = excluded.attempt;
  END IF;
  IF p_limit.rate_count IS NOT NULL THEN
    bucket_ends_at := to_timestamp((floor(extract(epoch FROM p_now)::float8 / width) + 1) * width);
    DELETE FROM limit_uses u
      WHERE u.scope = p_limit.scope AND u.tenant_id = p_limit.tenant_id AND u.subject = p_subject
        AND u.ends_at IN (
          SELECT e.ends_at FROM limit_uses e
            WHERE e.scope = p_limit.scope AND e.tenant_id = p_limit.tenant_id AND e.subject = p_subject
              AND e.ends_at <= p_now - make_interval(secs => p_limit.rate_seconds) FOR UPDATE SKIP LOCKED);
    INSERT INTO limit_uses (scope, tenant_id, subject, ends_at, tokens, expires_at)
      VALUES (p_limit.scope, p_limit.tenant_id, p_subject, bucket_ends_at, cardinality(p_jobs),
              bucket_ends_at + make_interval(secs => p_limit.rate_seconds))
      ON CONFLICT (scope, tenant_id, subject, ends_at) DO UPDATE SET tokens = limit_uses.tokens + excluded.tokens,
        expires_at = greatest(limit_uses.expires_at, excluded.expires_at);
  END IF;
END $$;

-- The limit of a custom key: its own, else that of the longest prefix ("gateway:*" is for each key that begins so).
CREATE FUNCTION limit_of_key(p_tenant text, p_key text) RETURNS limits
LANGUAGE sql STABLE AS $$
  SELECT l FROM limits l
    WHERE l.scope = 'key' AND l.tenant_id = p_tenant
      AND (l.subject = p_key OR (right(l.subject, 1) = '*' AND starts_with(p_key, left(l.subject, -1))))
    ORDER BY l.subject = p_key DESC, length(l.subject) DESC LIMIT 1
$$;

CREATE FUNCTION limit_of(p_scope text, p_tenant text, p_subject text) RETURNS limits
LANGUAGE sql STABLE AS $$
  SELECT l FROM limits l WHERE l.scope = p_scope AND l.tenant_id = p_tenant AND l.subject = p_subject
$$;

-- What a persona's limit leaves (see limit_room). Jobs in p_chosen count as started.
CREATE FUNCTION room_of_persona(
  p_tenant text, p_persona text, p_chosen uuid[], p_at_once integer, p_locks boolean,
  OUT room integer, OUT again_at timestamptz, OUT rated boolean
) LANGUAGE plpgsql AS $$
BEGIN
  SELECT r.room, r.again_at, r.rated INTO room, again_at, rated
    FROM limit_room(limit_of('persona', p_tenant, p_persona), p_persona, p_at_once, p_locks) AS r;
  IF room > 0 AND cardinality(p_chosen) > 0 THEN
    room := room - (SELECT count(*) FROM open_jobs o
                      WHERE o.job_id = ANY (p_chosen) AND o.tenant_id = p_tenant AND o.persona = p_persona);
  END IF;
END $$;

-- What the limit of a custom key leaves (see limit_room). Jobs in p_chosen count as started.
CREATE FUNCTION room_of_key(
  p_tenant text, p_key text, p_chosen uuid[], p_at_once integer, p_locks boolean,
  OUT room integer, OUT again_at timestamptz, OUT rated boolean
) LANGUAGE plpgsql AS $$
BEGIN
  SELECT r.room, r.again_at, r.rated INTO room, again_at, rated
    FROM limit_room(limit_of_key(p_tenant, p_key), p_key, p_at_once, p_locks) AS r;
  IF room > 0 AND cardinality(p_chosen) > 0 THEN
    room := room - (SELECT count(*) FROM open_jobs o
                      WHERE o.job_id = ANY (p_chosen) AND o.tenant_id = p_tenant AND o.limit_key = p_key);
  END IF;
END $$;

-- A tenant's best ready jobs in lanes, not locked yet. At most 100 lanes with a job that may run are taken from, and
-- 1,000 looked at, from the one after p_cursor and round again, so that none starves; of each, as many jobs as its
-- bounds leave. Then the best of all, as long as each bound leaves room: a persona limited to one runs its oldest job,
-- whatever lanes its jobs are in. lane_cursor is where the next claim begins, '' where all lanes were seen. rated is
-- how many of the jobs fall under a rate of their persona or key: at most p_at_once.
--
-- The lanes are looked at without a lock. Locks are taken for what is chosen only: they stay until the transaction
-- ends, and the server has room for some thousands of them.
CREATE FUNCTION claim_candidates_in_lanes(
  p_queue text, p_tenant text, p_job_types text[], p_personas text[], p_limit integer, p_limited boolean,
  p_chosen uuid[], p_cursor text, p_at_once integer,
  OUT jobs uuid[], OUT limited boolean, OUT again_at timestamptz, OUT lane_cursor text, OUT rated integer
) LANGUAGE plpgsql AS $$
DECLARE
  visited record;
  candidate record;
  left_by record;
  room integer;
  of_one_persona boolean;
  of_rate boolean;
  found_before integer;
  taken_from integer := 0;
  last_lane text := p_cursor;
  wrapped boolean := p_cursor = '';
  found_jobs uuid[] := '{}';
  priorities integer[] := '{}';
  due_times timestamptz[] := '{}';
  lock_keys text[] := '{}';
  limit_keys text[] := '{}';
  personas text[] := '{}';
  taken_locks text[] := '{}';
  rooms jsonb := '{}';  -- of keys ('k' and the key) and personas ('p' and the persona), as they look
  sure_rooms jsonb := '{}';  -- with their locks
  rates text[] := '{}';  -- those of them that have one
BEGIN
  jobs := '{}';
  limited := false;
  lane_cursor := '';
  rated := 0;
  FOR step IN 1..1000 LOOP
    SELECT o.lane, o.lock_key, o.limit_key, o.persona INTO visited FROM open_jobs o
      WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.lane > last_lane
        AND o.status = 'pending' AND o.stalls = 0 AND o.lane IS NOT NULL
      ORDER BY o.lane LIMIT 1;
    IF NOT FOUND THEN
      lane_cursor := '';
      EXIT WHEN wrapped;
      wrapped := true;
      last_lane := '';
      CONTINUE;
    END IF;
    IF wrapped AND p_cursor <> '' AND visited.lane > p_cursor THEN
      lane_cursor := '';
      EXIT;
    END IF;
    last_lane := visited.lane;
    lane_cursor := last_lane;
    of_one_persona := visited.lane = job_lane(visited.lock_key, visited.limit_key, visited.persona)
      AND visited.persona IS NOT NULL;
    CONTINUE WHEN of_one_persona AND visited.persona <> ALL (p_personas);
    room := p_limit;
    IF visited.lock_key IS NOT NULL THEN
      CONTINUE WHEN EXISTS (SELECT FROM open_jobs r WHERE r.tenant_id = p_tenant AND r.lock_key = visited.lock_key
                              AND r.status = 'in_progress');
      CONTINUE WHEN EXISTS (SELECT FROM open_jobs r WHERE r.job_id = ANY (p_chosen) AND r.lock_key = visited.lock_key);
      room := 1;
    END IF;
    IF p_limited AND visited.limit_key IS NOT NULL THEN
      IF NOT rooms ? ('k' || visited.limit_key) THEN
        SELECT * INTO left_by FROM room_of_key(p_tenant, visited.limit_key, p_chosen, p_at_once, false);
        rooms := rooms || jsonb_build_object('k' || visited.limit_key, left_by.room);
        limited := limited OR left_by.room IS NOT NULL;
        again_at := least(again_at, left_by.again_at);
      END IF;
      room := least(room, (rooms ->> ('k' || visited.limit_key))::integer);
    END IF;
    IF p_limited AND of_one_persona THEN
      IF NOT rooms ? ('p' || visited.persona) THEN
        SELECT * INTO left_by FROM room_of_persona(p_tenant, visited.persona, p_chosen, p_at_once, false);
        rooms := rooms || jsonb_build_object('p' || visited.persona, left_by.room);
        limited := limited OR left_by.room IS NOT NULL;
        again_at := least(again_at, left_by.again_at);
      END IF;
      room := least(room, (rooms ->> ('p' || visited.persona))::integer);
    END IF;
    CONTINUE WHEN room <= 0;
    found_before := cardinality(found_jobs);
    FOR candidate IN
      SELECT o.job_id, o.priority, o.due_at, o.persona FROM open_jobs o
        WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.lane = visited.lane AND o.status = 'pending'
          AND o.stalls = 0 AND o.lane IS NOT NULL
          AND o.job_type = ANY (p_job_types) AND (p_personas IS NULL OR o.persona = ANY (p_personas))
          AND o.job_id <> ALL (p_chosen)
        ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT room
    LOOP
      found_jobs := found_jobs || candidate.job_id;
      priorities := priorities || candidate.priority;
      due_times := due_times || candidate.due_at;
      lock_keys := lock_keys || visited.lock_key;
      limit_keys := limit_keys || visited.limit_key;
      personas := personas || candidate.persona;
    END LOOP;
    taken_from := taken_from + (cardinality(found_jobs) > found_before)::integer;
    EXIT WHEN taken_from >= 100;
  END LOOP;
  FOR candidate IN
    SELECT c.*, 'k' || c.limit_key AS of_key, 'p' || c.persona AS of_persona
      FROM unnest(found_jobs, priorities, due_times, lock_keys, limit_keys, personas)
        AS c(job_id, priority, due_at, lock_key, limit_key, persona)
      ORDER BY c.priority DESC, c.due_at, c.job_id
  LOOP
    EXIT WHEN cardinality(jobs) >= p_limit;
    CONTINUE WHEN candidate.lock_key = ANY (taken_locks);
    of_rate := false;
    IF p_limited THEN
      -- what is known to have no room needs no lock
      CONTINUE WHEN (sure_rooms ->> candidate.of_key)::integer <= 0
        OR (sure_rooms ->> candidate.of_persona)::integer <= 0;
      IF candidate.limit_key IS NOT NULL AND NOT sure_rooms ? candidate.of_key THEN
        SELECT * INTO left_by FROM room_of_key(p_tenant, candidate.limit_key, p_chosen, p_at_once, true);
        sure_rooms := sure_rooms || jsonb_build_object(candidate.of_key, left_by.room);
        rates := CASE WHEN left_by.rated THEN rates || candidate.of_key ELSE rates END;
        limited := limited OR left_by.room IS NOT NULL;
        again_at := least(again_at, left_by.again_at);
      END IF;
      -- in a lane made before its persona was limited, jobs of several personas wait
      IF candidate.persona IS NOT NULL AND NOT sure_rooms ? candidate.of_persona THEN
        SELECT * INTO left_by FROM room_of_persona(p_tenant, candidate.persona, p_chosen, p_at_once, true);
        sure_rooms := sure_rooms || jsonb_build_object(candidate.of_persona, left_by.room);
        rates := CASE WHEN left_by.rated THEN rates || candidate.of_persona ELSE rates END;
        limited := limited OR left_by.room IS NOT NULL;
        again_at := least(again_at, left_by.again_at);
      END IF;
      CONTINUE WHEN (sure_rooms ->> candidate.of_key)::integer <= 0
        OR (sure_rooms ->> candidate.of_persona)::integer <= 0;
      of_rate := coalesce(candidate.of_key = ANY (rates), false) OR coalesce(candidate.of_persona = ANY (rates), false);
      CONTINUE WHEN of_rate AND rated >= p_at_once;
    END IF;
    IF candidate.lock_key IS NOT NULL THEN
      CONTINUE WHEN NOT pg_try_advisory_xact_lock(1818584166, hashtext(p_tenant || chr(31) || candidate.lock_key));
      CONTINUE WHEN EXISTS (SELECT FROM open_jobs r WHERE r.tenant_id = p_tenant AND r.lock_key = candidate.lock_key
                              AND r.status = 'in_progress');
      taken_locks := taken_locks || candidate.lock_key;
    END IF;
    jobs := jobs || candidate.job_id;
    rated := rated + of_rate::integer;
    IF sure_rooms ->> candidate.of_persona IS NOT NULL THEN
      sure_rooms := sure_rooms
        || jsonb_build_object(candidate.of_persona, (sure_rooms ->> candidate.of_persona)::integer - 1);
    END IF;
    IF sure_rooms ->> candidate.of_key IS NOT NULL THEN
      sure_rooms := sure_rooms
        || jsonb_build_object(candidate.of_key, (sure_rooms ->> candidate.of_key)::integer - 1);
    END IF;
  END LOOP;
END $$;

-- A tenant's best ready jobs without a lane for a worker of some personas, locked.
CREATE FUNCTION claim_candidates_of_personas(
  p_queue text, p_tenant text, p_job_types text[], p_personas text[], p_limited_personas text[], p_limit integer,
  p_chosen uuid[]
) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  wanted text;
  found_jobs uuid[] := '{}';
BEGIN
  FOREACH wanted IN ARRAY p_personas LOOP
    CONTINUE WHEN wanted = ANY (p_limited_personas);
    found_jobs := found_jobs || ARRAY(
      SELECT o.job_id FROM open_jobs o
        WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.persona = wanted
          AND o.status = 'pending' AND o.stalls = 0 AND o.lane IS NULL AND o.persona IS NOT NULL
          AND o.job_type = ANY (p_job_types) AND o.job_id <> ALL (p_chosen)
        ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN ARRAY(SELECT o.job_id FROM open_jobs o WHERE o.job_id = ANY (found_jobs)
                 ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit);
END $$;

-- A tenant's best ready jobs for a worker, locked; those in p_chosen were chosen before. Jobs without a lane of a
-- persona that is limited by now wait for their lane (see apply_limits).
CREATE FUNCTION claim_candidates(
  p_queue text, p_tenant text, p_job_types text[], p_personas text[], p_limit integer, p_in_lanes boolean,
  p_limited boolean, p_chosen uuid[], p_lane_cursor text, p_at_once integer,
  OUT jobs uuid[], OUT limited boolean, OUT again_at timestamptz, OUT lane_cursor text, OUT rated integer
) LANGUAGE plpgsql AS $$
DECLARE
  limited_personas text[];
  in_lanes uuid[];
BEGIN
  IF p_limited THEN
    SELECT array_agg(l.subject) INTO limited_personas FROM limits l
      WHERE l.scope = 'persona' AND l.tenant_id = p_tenant
        AND (l.paused OR l.concurrency IS NOT NULL OR l.rate_count IS NOT NULL);
  END IF;
  IF p_personas IS NULL THEN
    jobs := ARRAY(
      SELECT o.job_id FROM open_jobs o
        WHERE o.queue = p_queue AND o.tenant_id = p_tenant AND o.status = 'pending' AND o.stalls = 0 AND o.lane IS NULL
          AND o.job_type = ANY (p_job_types)
          AND (limited_personas IS NULL OR o.persona IS NULL OR o.persona <> ALL (limited_personas))
          AND o.job_id <> ALL (p_chosen)
        ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
  ELSE
    jobs := claim_candidates_of_personas(p_queue, p_tenant, p_job_types, p_personas, limited_personas, p_limit, p_chosen);
  END IF;
  limited := limited_personas IS NOT NULL;
  lane_cursor := '';
  rated := 0;
  IF NOT p_in_lanes THEN
    RETURN;
  END IF;
  SELECT l.jobs, l.limited OR limited_personas IS NOT NULL, l.again_at, l.lane_cursor, l.rated
    INTO in_lanes, limited, again_at, lane_cursor, rated
    FROM claim_candidates_in_lanes(p_queue, p_tenant, p_job_types, p_personas, p_limit, p_limited, p_chosen,
                                   p_lane_cursor, p_at_once) AS l;
  IF cardinality(in_lanes) = 0 THEN
    RETURN;
  END IF;
  in_lanes := ARRAY(SELECT o.job_id FROM open_jobs o WHERE o.job_id = ANY (in_lanes) AND o.status = 'pending'
                      FOR UPDATE SKIP LOCKED);
  jobs := ARRAY(SELECT o.job_id FROM open_jobs o WHERE o.job_id = ANY (jobs || in_lanes)
                  ORDER BY o.priority DESC, o.due_at, o.job_id LIMIT p_limit);
END $$;

-- What the limits of a stalled job's tenant, persona and key leave (see limit_room), null where none limits it.
CREATE FUNCTION room_of_stalled(
  p_tenant text, p_persona text, p_limit_key text, p_locks boolean, OUT room integer, OUT again_at timestamptz
) LANGUAGE sql AS $$
  SELECT min(rooms.room), min(rooms.again_at) FROM (
    SELECT r.room, r.again_at FROM limit_room(limit_of('tenant', p_tenant, p_tenant), p_tenant, 1, p_locks) AS r
    UNION ALL
    SELECT r.room, r.again_at FROM room_of_persona(p_tenant, p_persona, '{}', 1, p_locks) AS r
      WHERE p_persona IS NOT NULL
    UNION ALL
    SELECT r.room, r.again_at FROM room_of_key(p_tenant, p_limit_key, '{}', 1, p_locks) AS r
      WHERE p_limit_key IS NOT NULL) AS rooms
$$;

-- A job that stalled before, locked: the first that no key and no limit holds back, of 100 after the one that
-- p_after_due and p_after_id name. Where all of these are held back, next_due and next_id are where the next claim goes
-- on.
CREATE FUNCTION claim_stalled(
  p_queue text, p_job_types text[], p_personas text[], p_tenants text[], p_except_tenants text[], p_limited boolean,
  p_after_due timestamptz, p_after_id uuid,
  OUT job uuid, OUT limited boolean, OUT again_at timestamptz, OUT next_due timestamptz, OUT next_id uuid
) LANGUAGE plpgsql AS $$
DECLARE
  candidate record;
  left_by record;
  looked_at integer := 0;
BEGIN
  limited := false;
  FOR candidate IN
    SELECT o.job_id, o.tenant_id, o.lock_key, o.limit_key, o.persona, o.due_at FROM open_jobs o
      JOIN tenants t ON t.tenant_id = o.tenant_id AND t.status = 'active'
      WHERE o.queue = p_queue AND o.status = 'pending' AND o.stalls > 0 AND o.job_type = ANY (p_job_types)
        AND (o.due_at, o.job_id) > (p_after_due, p_after_id)
        AND (p_personas IS NULL OR o.persona = ANY (p_personas))
        AND (p_tenants IS NULL OR o.tenant_id = ANY (p_tenants)) AND o.tenant_id <> ALL (p_except_tenants)
      ORDER BY o.due_at, o.job_id LIMIT 100
  LOOP
    looked_at := looked_at + 1;
    next_due := candidate.due_at;
    next_id := candidate.job_id;
    CONTINUE WHEN candidate.lock_key IS NOT NULL AND EXISTS (
      SELECT FROM open_jobs r WHERE r.tenant_id = candidate.tenant_id AND r.lock_key = candidate.lock_key
        AND r.status = 'in_progress');
    IF p_limited THEN
      limited := true;
      SELECT * INTO left_by
        FROM room_of_stalled(candidate.tenant_id, candidate.persona, candidate.limit_key, false);
      again_at := least(again_at, left_by.again_at);
      CONTINUE WHEN left_by.room <= 0;
      SELECT * INTO left_by FROM room_of_stalled(candidate.tenant_id, candidate.persona, candidate.limit_key, true);
      CONTINUE WHEN left_by.room <= 0;
    END IF;
    IF candidate.lock_key IS NOT NULL THEN
      CONTINUE WHEN NOT pg_try_advisory_xact_lock(
        1818584166, hashtext(candidate.tenant_id || chr(31) || candidate.lock_key));
      CONTINUE WHEN EXISTS (SELECT FROM open_jobs r WHERE r.tenant_id = candidate.tenant_id
                              AND r.lock_key = candidate.lock_key AND r.status = 'in_progress');
    END IF;
    SELECT o.job_id INTO job FROM open_jobs o
      WHERE o.job_id = candidate.job_id AND o.status = 'pending' FOR UPDATE SKIP LOCKED;
    EXIT WHEN FOUND;
  END LOOP;
  IF job IS NOT NULL OR looked_at < 100 THEN
    next_due := NULL;
    next_id := NULL;
  END IF;
END $$;

-- Up to a hundred tenants after a cursor that have ready jobs, or all of those asked for, less p_except_tenants; and
-- where the next claim goes on: null where there are no jobs. are_all says whether there are no more.
CREATE FUNCTION claim_hundred(
  p_queue text, p_tenants text[], p_except_tenants text[], p_cursor text,
  OUT active text[], OUT inactive text[], OUT last_visited text, OUT first_visited text, OUT are_all boolean
) LANGUAGE plpgsql AS $$
DECLARE
  turn text[];
BEGIN
  IF p_tenants IS NULL THEN
    turn := ARRAY(SELECT tenants_with_ready_jobs(p_queue, p_cursor, 100));
  ELSE
    turn := ARRAY(SELECT t FROM (SELECT DISTINCT t FROM unnest(p_tenants) AS t) AS wanted ORDER BY t <= p_cursor, t);
  END IF;
  are_all := cardinality(turn) < 100 OR p_tenants IS NOT NULL;
  first_visited := turn[1];
  -- where all were seen the next claim begins after the first one: nobody is first for ever
  last_visited := CASE WHEN are_all THEN turn[1] ELSE turn[100] END;
  IF cardinality(p_except_tenants) > 0 THEN
    turn := ARRAY(SELECT w.tenant FROM unnest(turn) WITH ORDINALITY AS w(tenant, n)
                    WHERE w.tenant <> ALL (p_except_tenants) ORDER BY w.n);
  END IF;
  active := ARRAY(SELECT w.tenant FROM unnest(turn) WITH ORDINALITY AS w(tenant, n)
                    JOIN tenants t ON t.tenant_id = w.tenant AND t.status = 'active' ORDER BY w.n);
  inactive := '{}';
  IF cardinality(turn) > cardinality(active) THEN
    inactive := ARRAY(SELECT t FROM unnest(turn) AS t WHERE t <> ALL (active));
  END IF;
END $$;

-- Whose turn it is under limits: those of a hundred that have room, as it looks without a lock, with their rooms and
-- weights; where none of these has room, those of the next hundred, up to a thousand.
CREATE FUNCTION claim_turn(
  p_queue text, p_tenants text[], p_except_tenants text[], p_cursor text, p_limit integer, p_at_once integer,
  OUT active text[], OUT rooms integer[], OUT weights integer[], OUT inactive text[], OUT last_visited text,
  OUT limited boolean, OUT again_at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  hundred record;
  first_visited text;
  left_by record;
  tenant_limit limits;
  tenant text;
BEGIN
  active := '{}';
  rooms := '{}';
  weights := '{}';
  inactive := '{}';
  limited := false;
  FOR number IN 1..10 LOOP
    SELECT * INTO hundred
      FROM claim_hundred(p_queue, p_tenants, p_except_tenants, coalesce(last_visited, p_cursor));
    EXIT WHEN hundred.last_visited IS NULL OR first_visited = ANY (hundred.active || hundred.inactive);
    first_visited := coalesce(first_visited, hundred.first_visited);
    last_visited := hundred.last_visited;
    inactive := inactive || hundred.inactive;
    FOREACH tenant IN ARRAY hundred.active LOOP
      tenant_limit := limit_of('tenant', tenant, tenant);
      SELECT * INTO left_by FROM limit_room(tenant_limit, tenant, p_at_once, false);
      limited := limited OR left_by.room IS NOT NULL;
      again_at := least(again_at, left_by.again_at);
      CONTINUE WHEN left_by.room <= 0;
      active := active || tenant;
      rooms := rooms || least(p_limit, left_by.room);
      weights := weights || coalesce(tenant_limit.weight, 1);
    END LOOP;
    EXIT WHEN cardinality(active) > 0 OR hundred.are_all;
  END LOOP;
END $$;

-- Counts what a claim is about to start toward every limit that it falls under.
CREATE FUNCTION take_limits(p_queue text, p_jobs uuid[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  taken record;
BEGIN
  PERFORM limit_take(l, p_queue, p_jobs, p_now) FROM limits l
    WHERE l.scope = 'queue' AND l.tenant_id = 'system' AND l.subject = p_queue;
  FOR taken IN
    SELECT 'tenant' AS scope, o.tenant_id AS tenant, o.tenant_id AS subject, array_agg(o.job_id) AS jobs
      FROM open_jobs o WHERE o.job_id = ANY (p_jobs) GROUP BY o.tenant_id
    UNION ALL
    SELECT 'persona', o.tenant_id, o.persona, array_agg(o.job_id)
      FROM open_jobs o WHERE o.job_id = ANY (p_jobs) AND o.persona IS NOT NULL GROUP BY o.tenant_id, o.persona
    UNION ALL
    SELECT 'key', o.tenant_id, o.limit_key, array_agg(o.job_id)
      FROM open_jobs o WHERE o.job_id = ANY (p_jobs) AND o.limit_key IS NOT NULL GROUP BY o.tenant_id, o.limit_key
  LOOP
    PERFORM limit_take(l, taken.subject, taken.jobs, p_now)
      FROM (SELECT CASE taken.scope WHEN 'key' THEN limit_of_key(taken.tenant, taken.subject)
                     ELSE limit_of(taken.scope, taken.tenant, taken.subject) END AS l) AS found
      WHERE (found.l).scope IS NOT NULL;
  END LOOP;
END $$;

-- Takes up to p_limit ready jobs of one queue and records job.started for each, in one durable statement.
--
-- Tenants take turns: at most 100 after the cursor share the batch by their weights; priority counts within a tenant.
-- A job that stalled before comes alone, and only where the caller has claimed nothing else (p_with_stalled). Of jobs
-- with a lock key at most one runs per tenant and key, and no more than their limits allow of a queue, a tenant, a
-- persona or a limit key. At most p_at_once jobs are taken under a rate: those begin at once.
--
-- Rows with a null job_id tell, by their version: 0 a tenant that is unknown or suspended, whose jobs are not started;
-- -1 the tenant after which the next claim goes on; -2 the lane (in persona) of a tenant after which it goes on;
-- -3 that limits had a say and, with attempt 1, when (due_at) a rate allows more; -4 the stalled job (due_at and, in
-- persona, its id) after which the next look goes on.
-- job.started is built from fragments, byte for byte what the mapper would write.
CREATE FUNCTION claim_jobs(
  p_queue text, p_job_types text[], p_personas text[], p_tenants text[], p_except_tenants text[], p_limit integer,
  p_at_once integer, p_cursor text, p_lane_tenants text[], p_lane_cursors text[],
  p_worker text, p_metadata_end bytea, p_facts_end bytea, p_with_stalled boolean,
  p_stalled_due timestamptz DEFAULT NULL, p_stalled_id uuid DEFAULT NULL
) RETURNS TABLE (
  job_id uuid, tenant_id text, version integer, priority integer, due_at timestamptz, attempt integer,
  attempts_counted integer, attempts_allowed integer, stalls integer, job_type text, persona text, lock_key text,
  limit_key text, spec bytea, thread bytea, payload bytea, started_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz;
  now_microseconds bigint;
  under_limits boolean;
  limited boolean := false;
  next_at timestamptz;
  found_room record;
  stalled record;
  turn record;
  candidates record;
  active text[];
  rooms integer[];
  weights integer[];
  even boolean := true;
  lane_cursors text[];  -- null where the tenant was not come to
  mine uuid[];
  round integer := 0;
  visiting integer[] := '{}';
  unsated integer[];
  all_weights integer;
  share numeric;
  reached numeric;
  n integer;
  tenant text;
  wanted integer;
  last_visited text;
  chosen uuid[] := '{}';
  of_rates integer := 0;
  rated boolean[];
  in_lanes boolean;
  base bigint;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1818584168);  -- see save_limit
  under_limits := EXISTS (SELECT FROM limits);
  IF under_limits THEN
    SELECT * INTO found_room FROM limit_room(limit_of('queue', 'system', p_queue), p_queue, p_at_once, true);
    limited := found_room.room IS NOT NULL;
    next_at := found_room.again_at;
    p_limit := least(p_limit, found_room.room);
  END IF;
  IF p_with_stalled AND p_limit > 0 THEN
    SELECT * INTO stalled
      FROM claim_stalled(p_queue, p_job_types, p_personas, p_tenants, p_except_tenants, under_limits,
                         coalesce(p_stalled_due, '-infinity'),
                         coalesce(p_stalled_id, '00000000-0000-0000-0000-000000000000'));
    limited := limited OR stalled.limited;
    next_at := least(next_at, stalled.again_at);
    IF stalled.job IS NOT NULL THEN
      chosen := ARRAY[stalled.job];
    END IF;
    IF stalled.next_id IS NOT NULL THEN
      RETURN QUERY SELECT null::uuid, '', -4, 0, stalled.next_due, 0, 0, 0, 0, '', stalled.next_id::text, null::text,
                          null::text, ''::bytea, ''::bytea, ''::bytea, stalled.next_due;
    END IF;
  END IF;
  IF cardinality(chosen) = 0 AND p_limit > 0 THEN
    IF under_limits THEN
      SELECT * INTO turn
        FROM claim_turn(p_queue, p_tenants, p_except_tenants, p_cursor, p_limit, p_at_once);
      limited := limited OR turn.limited;
      next_at := least(next_at, turn.again_at);
      active := turn.active;
      rooms := turn.rooms;
      weights := turn.weights;
      even := NOT EXISTS (SELECT FROM unnest(weights) AS w WHERE w <> weights[1]);
    ELSE
      SELECT * INTO turn FROM claim_hundred(p_queue, p_tenants, p_except_tenants, p_cursor);
      active := turn.active;
      rooms := array_fill(p_limit, ARRAY[cardinality(active)]);
    END IF;
    last_visited := turn.last_visited;
    IF cardinality(turn.inactive) > 0 THEN
      RETURN QUERY SELECT null::uuid, t, 0, 0, clock_timestamp(), 0, 0, 0, 0, '', null::text, null::text, null::text,
                          ''::bytea, ''::bytea, ''::bytea, clock_timestamp()
        FROM unnest(turn.inactive) AS t;
    END IF;
    IF cardinality(active) > 0 THEN
      FOR i IN 1..cardinality(active) LOOP
        visiting := visiting || i;
      END LOOP;
      rated := array_fill(false, ARRAY[cardinality(active)]);
      in_lanes := EXISTS (SELECT FROM open_jobs o WHERE o.queue = p_queue AND o.status = 'pending' AND o.stalls = 0
                            AND o.lane IS NOT NULL);
    END IF;
    -- what some leave goes to the others, by their weights again
    WHILE cardinality(visiting) > 0 AND cardinality(chosen) < p_limit LOOP
      round := round + 1;
      all_weights := cardinality(visiting);
      IF NOT even THEN
        SELECT sum(weights[v]) INTO all_weights FROM unnest(visiting) AS v;
        reached := random();
      END IF;
      share := (p_limit - cardinality(chosen))::numeric / all_weights;
      unsated := '{}';
      FOREACH n IN ARRAY visiting LOOP
        EXIT WHEN cardinality(chosen) >= p_limit;
        tenant := active[n];
        mine := '{}';
        IF round > 1 THEN
          mine := ARRAY(SELECT o.job_id FROM open_jobs o WHERE o.job_id = ANY (chosen) AND o.tenant_id = tenant);
        ELSIF under_limits THEN
          SELECT * INTO found_room
            FROM limit_room(limit_of('tenant', tenant, tenant), tenant, p_at_once - of_rates, true);
          next_at := least(next_at, found_room.again_at);
          rooms[n] := least(rooms[n], found_room.room);
          rated[n] := found_room.rated;
        END IF;
        -- uneven shares are rounded by chance, to the batch in all: so they hold for batches of one as well
        IF even THEN
          wanted := ceil(share);
        ELSE
          wanted := floor(reached + share * weights[n]) - floor(reached);
          reached := reached + share * weights[n];
        END IF;
        IF rated[n] THEN
          rooms[n] := least(rooms[n], p_at_once - of_rates);
        END IF;
        CONTINUE WHEN rooms[n] <= 0;
        wanted := least(wanted, rooms[n], p_limit - cardinality(chosen));
        IF wanted = 0 THEN
          unsated := unsated || n;
          CONTINUE;
        END IF;
        IF round = 1 THEN
          lane_cursors[n] := coalesce(p_lane_cursors[array_position(p_lane_tenants, tenant)], '');
        END IF;
        SELECT * INTO candidates FROM claim_candidates(
          p_queue, tenant, p_job_types, p_personas, wanted, in_lanes, under_limits, mine,
          coalesce(lane_cursors[n], ''), p_at_once - of_rates);
        limited := limited OR candidates.limited;
        next_at := least(next_at, candidates.again_at);
        chosen := chosen || candidates.jobs;
        of_rates := of_rates + CASE WHEN rated[n] THEN cardinality(candidates.jobs) ELSE candidates.rated END;
        rooms[n] := rooms[n] - cardinality(candidates.jobs);
        lane_cursors[n] := candidates.lane_cursor;
        IF cardinality(candidates.jobs) = wanted THEN
          unsated := unsated || n;
        END IF;
        IF cardinality(chosen) >= p_limit AND n < cardinality(active) THEN
          last_visited := tenant;
        END IF;
      END LOOP;
      visiting := unsated;
    END LOOP;
    IF in_lanes OR cardinality(p_lane_tenants) > 0 THEN
      RETURN QUERY SELECT null::uuid, active[v], -2, 0, now_at, 0, 0, 0, 0, '', lane_cursors[v], null::text,
                          null::text, ''::bytea, ''::bytea, ''::bytea, now_at
        FROM generate_series(1, cardinality(active)) AS v
        WHERE lane_cursors[v] <> '' OR lane_cursors[v] = '' AND active[v] = ANY (p_lane_tenants);
    END IF;
    IF last_visited IS NOT NULL THEN
      -- where the next claim goes on, also when there was nothing for this worker
      RETURN QUERY SELECT null::uuid, last_visited, -1, 0, now_at, 0, 0, 0, 0, '', null::text, null::text, null::text,
                          ''::bytea, ''::bytea, ''::bytea, now_at;
    END IF;
  END IF;
  -- After all locks: what starts now lies in the windows of rates as they were looked at, or later.
  now_at := clock_timestamp();
  now_microseconds := microseconds(now_at);
  IF limited THEN
    RETURN QUERY SELECT null::uuid, '', -3, 0, coalesce(next_at, now_at), (next_at IS NOT NULL)::integer, 0, 0, 0, '',
                        null::text, null::text, null::text, ''::bytea, ''::bytea, ''::bytea, now_at;
  END IF;
  IF cardinality(chosen) = 0 THEN
    RETURN;
  END IF;
  IF under_limits THEN
    PERFORM take_limits(p_queue, chosen, now_at);
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
         persona, lock_key, limit_key, spec, thread, payload, started_at
    FROM numbered ORDER BY n;
END $$;

-- Ready jobs of tenants that are suspended or unknown. Loose index scans over queues and their tenants: it never reads
-- the backlog of those that are active. Delayed and blocked jobs are found once they are ready.
CREATE OR REPLACE FUNCTION waiting_of_inactive_tenants(p_limit integer) RETURNS SETOF open_jobs
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
DECLARE
  found_jobs integer := 0;
  added integer;
  pair record;
BEGIN
  FOR pair IN
    WITH RECURSIVE queues AS (
      SELECT min(queue) AS queue FROM open_jobs
        WHERE status = 'pending' AND stalls = 0 AND lane IS NULL
      UNION ALL
      SELECT (SELECT min(o.queue) FROM open_jobs o
                WHERE o.status = 'pending' AND o.stalls = 0 AND o.lane IS NULL AND o.queue > queues.queue)
        FROM queues WHERE queues.queue IS NOT NULL
    ), in_lanes AS (
      SELECT min(queue) AS queue FROM open_jobs
        WHERE status = 'pending' AND stalls = 0 AND lane IS NOT NULL
      UNION ALL
      SELECT (SELECT min(o.queue) FROM open_jobs o
                WHERE o.status = 'pending' AND o.stalls = 0 AND o.lane IS NOT NULL AND o.queue > in_lanes.queue)
        FROM in_lanes WHERE in_lanes.queue IS NOT NULL
    )
    SELECT q.queue, t.tenant FROM (TABLE queues UNION TABLE in_lanes) AS q
      CROSS JOIN LATERAL tenants_with_ready_jobs(q.queue, '', 10000) AS t(tenant)
      WHERE q.queue IS NOT NULL
        AND NOT EXISTS (SELECT FROM tenants a WHERE a.tenant_id = t.tenant AND a.status = 'active')
  LOOP
    RETURN QUERY SELECT o.* FROM open_jobs o
      WHERE o.queue = pair.queue AND o.tenant_id = pair.tenant AND o.status = 'pending' AND o.stalls = 0
        AND o.lane IS NULL LIMIT p_limit - found_jobs;
    GET DIAGNOSTICS added = ROW_COUNT;
    found_jobs := found_jobs + added;
    RETURN QUERY SELECT o.* FROM open_jobs o
      WHERE o.queue = pair.queue AND o.tenant_id = pair.tenant AND o.status = 'pending' AND o.stalls = 0
        AND o.lane IS NOT NULL LIMIT p_limit - found_jobs;
    GET DIAGNOSTICS added = ROW_COUNT;
    found_jobs := found_jobs + added;
    EXIT WHEN found_jobs >= p_limit;
  END LOOP;
  RETURN QUERY SELECT o.* FROM open_jobs o
    WHERE o.status = 'pending' AND o.stalls > 0
      AND NOT EXISTS (SELECT FROM tenants a WHERE a.tenant_id = o.tenant_id AND a.status = 'active')
    LIMIT p_limit - found_jobs;
END $$;

-- --- who may call what -------------------------------------------------------------------------------------------

GRANT EXECUTE ON FUNCTION
  dispatch_jobs(uuid[], integer[], bytea[], bytea[], timestamptz[], text[], text[], text[], text[], text[], text[],
                text[], text[], text[], integer[], integer[], bytea[], bytea[], bytea[], boolean),
  save_limit(text, text, text, integer, integer, double precision, integer, boolean)
  TO jobledger_worker, jobledger_api;
GRANT EXECUTE ON FUNCTION
  apply_limits(integer),
  claim_jobs(text, text[], text[], text[], text[], integer, integer, text, text[], text[], text, bytea, bytea, boolean,
             timestamptz, uuid)
  TO jobledger_worker;

-- Plans as in the first migration: made once a session, with indexes only.
DO $$
DECLARE
  function regprocedure;
BEGIN
  FOR function IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'jobledger'::regnamespace
      AND proname IN ('dispatch_jobs', 'claim_jobs', 'waiting_of_inactive_tenants') LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', function);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', function);
    IF function::text LIKE '%claim_jobs(%' THEN
      -- a claim waits for changes of limits only, which are soon over: better late than failed
      EXECUTE format('ALTER FUNCTION %s SET lock_timeout = %L', function, '2s');
    END IF;
    IF function::text LIKE '%dispatch_jobs(%' THEN
      EXECUTE format('ALTER FUNCTION %s SET enable_nestloop = off', function);
    ELSE
      EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', function);
      EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', function);
    END IF;
  END LOOP;
END $$;

RESET ROLE;
REVOKE CREATE ON SCHEMA jobledger FROM jobledger_writer;

-- --- the dead-letter queue's filters -------------------------------------------------------------------------------
-- Rows are written once and deleted, so indexes cost little here. Behind the order of the pages stands what is tested
-- inside the index, without visiting rows; what tells one error from all others leads an index of its own. A list shows
-- errors cut to 500 characters, so an entry always fits.
SET LOCAL ROLE jobledger_owner;
DROP INDEX dlq_jobs_by_time;
CREATE INDEX dlq_jobs_by_time ON dlq_jobs (tenant_id, dead_at, job_id, job_type, kind, queue, reason, persona);
CREATE INDEX dlq_jobs_by_error ON dlq_jobs (tenant_id, error_type, dead_at, job_id);
CREATE INDEX dlq_jobs_by_fingerprint ON dlq_jobs (tenant_id, fingerprint, dead_at, job_id);
RESET ROLE;
