-- API keys: which there are (what they are, their streams say), and when each was used last. They belong to the
-- installation, not to a tenant.

SET LOCAL search_path = jobledger, pg_temp;

CREATE TABLE api_keys (
  key_id text COLLATE "C" NOT NULL PRIMARY KEY
);
GRANT SELECT ON api_keys TO jobledger_api, jobledger_worker, jobledger_projector, jobledger_auditor;
GRANT INSERT, SELECT ON api_keys TO jobledger_writer;

-- No history: one row a key, changed once a minute at most.
CREATE TABLE api_key_uses (
  key_id       text COLLATE "C" NOT NULL PRIMARY KEY,
  last_used_at timestamptz NOT NULL,
  address      text
) WITH (fillfactor = 50);
GRANT SELECT ON api_key_uses TO jobledger_auditor;
GRANT SELECT, INSERT, UPDATE ON api_key_uses TO jobledger_api, jobledger_worker;

-- Sessions of the console that somebody ended: until they would have ended by themselves.
CREATE TABLE ended_sessions (
  session_sha256 text COLLATE "C" NOT NULL PRIMARY KEY,
  ends_at        timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON ended_sessions TO jobledger_api, jobledger_worker;

RESET ROLE;
GRANT CREATE ON SCHEMA jobledger TO jobledger_writer;  -- for the function below; taken back at the end
SET LOCAL ROLE jobledger_writer;
SET LOCAL search_path = jobledger, pg_temp;

CREATE FUNCTION save_api_key(p_key_id text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = jobledger, pg_temp AS $$
  INSERT INTO api_keys (key_id) VALUES (p_key_id) ON CONFLICT (key_id) DO NOTHING
$$;
GRANT EXECUTE ON FUNCTION save_api_key(text) TO jobledger_worker, jobledger_api;

RESET ROLE;
REVOKE CREATE ON SCHEMA jobledger FROM jobledger_writer;
SET LOCAL ROLE jobledger_owner;

-- A rebuild may be of one tenant. Who rebuilds (tables are put in place as their owner) and who looks after the
-- installation see all of them, nobody else sees any.
ALTER TABLE rebuilds ENABLE ROW LEVEL SECURITY;
ALTER TABLE rebuilds FORCE ROW LEVEL SECURITY;
CREATE POLICY write_all ON rebuilds TO jobledger_projector, jobledger_owner USING (true) WITH CHECK (true);
CREATE POLICY read_all ON rebuilds FOR SELECT TO jobledger_worker, jobledger_auditor USING (true);

RESET ROLE;
ALTER ROLE jobledger_auditor SET idle_in_transaction_session_timeout = '60s';  -- as the others, see 0001
SET LOCAL ROLE jobledger_owner;
