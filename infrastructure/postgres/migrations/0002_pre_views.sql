-- The read models: tables that hold what projections/*.py fold from the ledger. All can be thrown away and rebuilt.
--
-- The table of a projection has its name, its columns and its key; a test compares. The key is the job's id alone,
-- which is unique across tenants.
--
-- Every index costs some 3 microseconds for each version of a row, and a changed status makes a new entry in all of
-- them, so they are few: the order of the pages with what never changes behind it (type, kind and queue are looked up
-- inside that index, without visiting rows), the status, what failed. They ascend and are read backward, because rows
-- arrive in ascending order and PostgreSQL packs such an index well. A page keeps room for a row's next version.
-- Collation "C": no page depends on the system's locale, and comparing is cheapest.

CREATE TABLE tenant_jobs (
  job_id uuid NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  persona text COLLATE "C",
  status text COLLATE "C" NOT NULL,
  failed boolean NOT NULL,
  job_type text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  priority integer NOT NULL,
  attempt integer NOT NULL,
  attempts_counted integer NOT NULL,
  attempts_allowed integer NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  due_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  error_type text COLLATE "C",
  error_message text COLLATE "C",
  progress double precision,
  CONSTRAINT tenant_jobs_pkey PRIMARY KEY (job_id)
) WITH (fillfactor = 70);
CREATE INDEX tenant_jobs_by_time ON tenant_jobs (tenant_id, created_at, job_id, job_type, kind, queue);
CREATE INDEX tenant_jobs_by_status ON tenant_jobs (tenant_id, status, created_at, job_id);
CREATE INDEX tenant_jobs_failed ON tenant_jobs (tenant_id, created_at, job_id) WHERE failed;

CREATE TABLE persona_jobs (
  job_id uuid NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  persona text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  failed boolean NOT NULL,
  job_type text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  priority integer NOT NULL,
  attempt integer NOT NULL,
  attempts_counted integer NOT NULL,
  attempts_allowed integer NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  due_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  error_type text COLLATE "C",
  error_message text COLLATE "C",
  progress double precision,
  CONSTRAINT persona_jobs_pkey PRIMARY KEY (job_id)
) WITH (fillfactor = 70);
CREATE INDEX persona_jobs_by_time ON persona_jobs (tenant_id, persona, created_at, job_id, job_type, kind, queue);
CREATE INDEX persona_jobs_by_status ON persona_jobs (tenant_id, persona, status, created_at, job_id);
CREATE INDEX persona_jobs_failed ON persona_jobs (tenant_id, persona, created_at, job_id) WHERE failed;

CREATE TABLE dlq_jobs (
  job_id uuid NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  persona text COLLATE "C",
  job_type text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  error_type text COLLATE "C" NOT NULL,
  error_message text COLLATE "C" NOT NULL,
  fingerprint text COLLATE "C" NOT NULL,
  attempt integer NOT NULL,
  created_at timestamptz NOT NULL,
  dead_at timestamptz NOT NULL,
  CONSTRAINT dlq_jobs_pkey PRIMARY KEY (job_id)
);
CREATE INDEX dlq_jobs_by_time ON dlq_jobs (tenant_id, dead_at, job_id);

-- Written once a job: in a table whose rows change, an index in this random order would be written for each version.
CREATE TABLE job_short_ids (
  tenant_id text COLLATE "C" NOT NULL,
  short_id text COLLATE "C" NOT NULL,
  job_id uuid NOT NULL,
  CONSTRAINT job_short_ids_pkey PRIMARY KEY (tenant_id, short_id, job_id)
);

ALTER TABLE tenant_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON tenant_jobs FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON tenant_jobs FOR SELECT TO jobledger_auditor USING (true);
CREATE POLICY write ON tenant_jobs FOR ALL TO jobledger_projector USING (true) WITH CHECK (true);
GRANT SELECT ON tenant_jobs TO jobledger_api, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON tenant_jobs TO jobledger_projector;

ALTER TABLE persona_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON persona_jobs FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON persona_jobs FOR SELECT TO jobledger_auditor USING (true);
CREATE POLICY write ON persona_jobs FOR ALL TO jobledger_projector USING (true) WITH CHECK (true);
GRANT SELECT ON persona_jobs TO jobledger_api, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON persona_jobs TO jobledger_projector;

ALTER TABLE dlq_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON dlq_jobs FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON dlq_jobs FOR SELECT TO jobledger_auditor USING (true);
CREATE POLICY write ON dlq_jobs FOR ALL TO jobledger_projector USING (true) WITH CHECK (true);
GRANT SELECT ON dlq_jobs TO jobledger_api, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON dlq_jobs TO jobledger_projector;

ALTER TABLE job_short_ids ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON job_short_ids FOR SELECT TO jobledger_api
  USING (tenant_id = nullif(current_setting('jobledger.tenant', true), ''));
CREATE POLICY read_all ON job_short_ids FOR SELECT TO jobledger_auditor USING (true);
CREATE POLICY write ON job_short_ids FOR ALL TO jobledger_projector USING (true) WITH CHECK (true);
GRANT SELECT ON job_short_ids TO jobledger_api, jobledger_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON job_short_ids TO jobledger_projector;
