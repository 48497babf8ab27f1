-- The read models: tables that hold what projections/*.py fold from the ledger. All can be thrown away and rebuilt.
--
-- The table of a projection has its name, its columns and its key; a test compares. Each listed query has an index in
-- the order of its pages. Times are microseconds since 1970 (UTC), ids 16 bytes, which sort as they do on PostgreSQL.
-- The tables are their own primary key index, so every other index ends in job_id by itself.

-- How far each projection has come. `position` is the last one read, `recorded_at` that of the last event applied,
-- `version` that of the fold that wrote the rows.
CREATE TABLE checkpoints (
    projection TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    recorded_at INTEGER,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_jobs (
    job_id BLOB NOT NULL,
    tenant_id TEXT NOT NULL,
    persona TEXT,
    status TEXT NOT NULL,
    failed INTEGER NOT NULL,
    job_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    attempts_counted INTEGER NOT NULL,
    attempts_allowed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    due_at INTEGER,
    started_at INTEGER,
    completed_at INTEGER,
    error_type TEXT,
    error_message TEXT,
    progress REAL,
    PRIMARY KEY (job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tenant_jobs_by_time ON tenant_jobs (tenant_id, created_at, job_id);
CREATE INDEX tenant_jobs_by_status ON tenant_jobs (tenant_id, status, created_at, job_id);
CREATE INDEX tenant_jobs_failed ON tenant_jobs (tenant_id, created_at, job_id) WHERE failed;
CREATE INDEX tenant_jobs_by_type ON tenant_jobs (tenant_id, job_type, created_at, job_id);
CREATE INDEX tenant_jobs_by_kind ON tenant_jobs (tenant_id, kind, created_at, job_id);
CREATE INDEX tenant_jobs_by_queue ON tenant_jobs (tenant_id, queue, created_at, job_id);

CREATE TABLE job_short_ids (
    tenant_id TEXT NOT NULL,
    short_id TEXT NOT NULL,
    job_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, short_id, job_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE persona_jobs (
    job_id BLOB NOT NULL,
    tenant_id TEXT NOT NULL,
    persona TEXT NOT NULL,
    status TEXT NOT NULL,
    failed INTEGER NOT NULL,
    job_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    attempts_counted INTEGER NOT NULL,
    attempts_allowed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    due_at INTEGER,
    started_at INTEGER,
    completed_at INTEGER,
    error_type TEXT,
    error_message TEXT,
    progress REAL,
    PRIMARY KEY (job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX persona_jobs_by_time ON persona_jobs (tenant_id, persona, created_at, job_id);
CREATE INDEX persona_jobs_by_status ON persona_jobs (tenant_id, persona, status, created_at, job_id);
CREATE INDEX persona_jobs_failed ON persona_jobs (tenant_id, persona, created_at, job_id) WHERE failed;
CREATE INDEX persona_jobs_by_type ON persona_jobs (tenant_id, persona, job_type, created_at, job_id);
CREATE INDEX persona_jobs_by_kind ON persona_jobs (tenant_id, persona, kind, created_at, job_id);
CREATE INDEX persona_jobs_by_queue ON persona_jobs (tenant_id, persona, queue, created_at, job_id);

CREATE TABLE dlq_jobs (
    job_id BLOB NOT NULL,
    tenant_id TEXT NOT NULL,
    persona TEXT,
    job_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    reason TEXT NOT NULL,
    error_type TEXT NOT NULL,
    error_message TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    dead_at INTEGER NOT NULL,
    PRIMARY KEY (job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dlq_jobs_by_time ON dlq_jobs (tenant_id, dead_at, job_id);
