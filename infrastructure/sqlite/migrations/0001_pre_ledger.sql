-- The ledger, the work queue and the catalogue.
--
-- Data types, the same values as on PostgreSQL: ids are 16 bytes (they sort as uuid does), times are microseconds since
-- 1970 (UTC), JSON is text. SQLite has one writer, so an AUTOINCREMENT position is already the order of commits, and it
-- is never used twice, whatever was deleted.

CREATE TABLE ledger (
    notification_id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT NOT NULL,
    originator_id BLOB NOT NULL CHECK (length(originator_id) = 16),
    originator_version INTEGER NOT NULL CHECK (originator_version > 0),
    recorded_at INTEGER NOT NULL,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    body BLOB,
    leaf BLOB NOT NULL CHECK (length(leaf) = 32)
) STRICT;
CREATE UNIQUE INDEX ledger_stream ON ledger (originator_id, originator_version);
CREATE INDEX ledger_tenant_position ON ledger (tenant_id, notification_id);

-- --- the work queue: an inline projection, one row an unfinished job -------------------------------------------------

CREATE TABLE open_jobs (
    job_id BLOB NOT NULL PRIMARY KEY CHECK (length(job_id) = 16),
    tenant_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delayed', 'blocked', 'in_progress', 'dlq')),
    queue TEXT NOT NULL,
    job_type TEXT NOT NULL,
    persona TEXT,
    priority INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    attempts_counted INTEGER NOT NULL DEFAULT 0,
    attempts_allowed INTEGER NOT NULL,
    stalls INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    started_at INTEGER,
    lock_key TEXT,
    cancel_reason TEXT,
    spec BLOB NOT NULL,
    identity BLOB NOT NULL,
    thread BLOB NOT NULL,
    payload BLOB NOT NULL
) STRICT;

-- In exact claim order. A job with a lock key, and one that stalled before, are claimed in their own way.
CREATE INDEX open_jobs_ready ON open_jobs (queue, tenant_id, priority DESC, due_at, job_id)
    WHERE status = 'pending' AND stalls = 0 AND lock_key IS NULL;
CREATE INDEX open_jobs_ready_keyed ON open_jobs (queue, tenant_id, lock_key, priority DESC, due_at, job_id)
    WHERE status = 'pending' AND stalls = 0 AND lock_key IS NOT NULL;
CREATE INDEX open_jobs_ready_stalled ON open_jobs (queue, due_at, job_id) WHERE status = 'pending' AND stalls > 0;
CREATE INDEX open_jobs_delayed ON open_jobs (due_at, queue) WHERE status = 'delayed';
CREATE INDEX open_jobs_held ON open_jobs (worker) WHERE worker IS NOT NULL;
CREATE UNIQUE INDEX open_jobs_running_key ON open_jobs (tenant_id, lock_key)
    WHERE status = 'in_progress' AND lock_key IS NOT NULL;
CREATE INDEX open_jobs_tenant ON open_jobs (tenant_id, job_id);

-- Keys outlive the job.
CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    key TEXT NOT NULL,
    job_id BLOB NOT NULL,
    payload_sha256 TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, job_type, key)
) STRICT, WITHOUT ROWID;

-- --- the catalogue: tenants and job types, inline projections of their streams ---------------------------------------

CREATE TABLE tenants (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    display_name TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_types (
    name TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    code_version TEXT NOT NULL,
    app TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- --- the installation ------------------------------------------------------------------------------------------------

-- One row a worker; renewing it renews all its leases. `queues` is a JSON array.
CREATE TABLE workers (
    worker TEXT NOT NULL PRIMARY KEY,
    code_version TEXT NOT NULL,
    queues TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    running INTEGER NOT NULL,
    lease_seconds REAL NOT NULL,
    started_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE installation (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO installation VALUES ('incarnation', lower(hex(randomblob(4))));

-- How far consumers that use the library's tracking have come, each for itself, apart from our own checkpoints.
CREATE TABLE tracking (
    consumer TEXT NOT NULL,
    application_name TEXT NOT NULL,
    notification_id INTEGER NOT NULL,
    PRIMARY KEY (consumer, application_name)
) STRICT, WITHOUT ROWID;
