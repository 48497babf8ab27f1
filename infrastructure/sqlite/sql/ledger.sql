-- Appending to the ledger, and the tables that change in the same transaction.

-- name: last_position
-- AUTOINCREMENT's memory: it stays where it was when the newest events are deleted. Beside it the highest position that
-- any projection has reached: a ledger that ends below it was restored to an earlier moment.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ledger'), 0),
       coalesce((SELECT max(position) FROM checkpoints), 0)

-- name: append_event
INSERT INTO ledger
    (notification_id, tenant_id, originator_id, originator_version, recorded_at, topic, state, body, leaf)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: stream_end
-- The last version of a stream and its tenant, in one look at the index.
SELECT originator_version, tenant_id FROM ledger WHERE originator_id = ? ORDER BY originator_version DESC LIMIT 1

-- name: find_key
SELECT job_id, payload_sha256 FROM idempotency_keys WHERE tenant_id = ? AND job_type = ? AND key = ?

-- name: insert_key
INSERT INTO idempotency_keys (tenant_id, job_type, key, job_id, payload_sha256, recorded_at) VALUES (?, ?, ?, ?, ?, ?)

-- name: insert_open_job
INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempts_allowed,
                       lock_key, limit_key, lane, spec, identity, thread, payload)
VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: find_open_job
-- What the guards of a change look at.
SELECT tenant_id, version, worker, attempt, cancel_reason IS NOT NULL FROM open_jobs WHERE job_id = ?

-- name: change_open_job
-- Without a status only the version moves; any status but in_progress ends the lease.
UPDATE open_jobs SET
    version = ?2,
    status = coalesce(?3, status),
    worker = CASE WHEN coalesce(?3, status) = 'in_progress' THEN worker END,
    started_at = CASE WHEN coalesce(?3, status) = 'in_progress' THEN started_at END,
    attempts_counted = coalesce(?4, attempts_counted),
    attempts_allowed = coalesce(?5, attempts_allowed),
    stalls = coalesce(?6, stalls),
    cancel_reason = CASE WHEN ?3 IS NULL THEN cancel_reason ELSE ?7 END,
    priority = coalesce(?8, priority),
    due_at = coalesce(?9, due_at),
    payload = coalesce(?10, payload)
WHERE job_id = ?1

-- name: delete_open_job
DELETE FROM open_jobs WHERE job_id = ?

-- name: save_tenant
INSERT INTO tenants (tenant_id, status, display_name, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant_id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at

-- name: save_api_key
INSERT INTO api_keys (key_id) VALUES (?) ON CONFLICT (key_id) DO NOTHING

-- name: save_job_type
INSERT INTO job_types (name, definition, fingerprint, code_version, app, updated_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, fingerprint = excluded.fingerprint,
    code_version = excluded.code_version, app = excluded.app, updated_at = excluded.updated_at
