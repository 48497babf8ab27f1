-- The work queue as a whole, beside the ledger: for verifying and rebuilding it.

-- name: this_moment
-- The first statement of the transaction: the clock is read after the snapshot was taken.
SELECT clock_timestamp()

-- name: events_of_jobs
-- Streams with natural keys begin with ff; they are no jobs.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE originator_id < 'ff000000-0000-0000-0000-000000000000'
ORDER BY originator_id, originator_version

-- name: rows_of_queue
-- Of the payload its tag (p: plain) and its hash.
SELECT job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
       attempts_allowed, stalls, worker, started_at, lock_key, limit_key, lane, cancel_reason, spec, identity, thread,
       CASE WHEN substr(payload, 1, 1) = '\x70' THEN 'p:' ELSE '?:' END || encode(sha256(substr(payload, 2)), 'hex')
FROM open_jobs
ORDER BY job_id

-- name: wait_for_writers
SELECT set_config('lock_timeout', %s, true)

-- name: keep_writers_out
-- Readers go on; whoever claims, dispatches or changes a job waits.
LOCK TABLE open_jobs IN EXCLUSIVE MODE

-- name: delete_rows
DELETE FROM open_jobs WHERE job_id = ANY (%s::uuid[])

-- name: insert_rows
-- The payload is the body of the event that brought it. A persona that is limited now belongs into the lane.
INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt,
                       attempts_counted, attempts_allowed, stalls, worker, started_at, lock_key, limit_key, lane,
                       cancel_reason, spec, identity, thread, payload)
SELECT r.job_id, r.tenant_id, r.version, r.status, r.queue, r.job_type, r.persona, r.priority, r.due_at, r.attempt,
       r.attempts_counted, r.attempts_allowed, r.stalls, r.worker, r.started_at, r.lock_key, r.limit_key,
       job_lane(r.lock_key, r.limit_key, CASE WHEN EXISTS (
         SELECT FROM limits l WHERE l.scope = 'persona' AND l.tenant_id = r.tenant_id AND l.subject = r.persona
           AND (l.concurrency IS NOT NULL OR l.rate_count IS NOT NULL OR l.paused)) THEN r.persona END),
       r.cancel_reason, r.spec, r.identity, r.thread, CASE WHEN r.has_payload THEN e.body ELSE '\x70' END
FROM unnest(
  %s::uuid[], %s::text[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[],
  %s::timestamptz[], %s::integer[], %s::integer[], %s::integer[], %s::integer[], %s::text[], %s::timestamptz[],
  %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::bytea[], %s::boolean[], %s::integer[]
) AS r (job_id, tenant_id, version, status, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
        attempts_allowed, stalls, worker, started_at, lock_key, limit_key, cancel_reason, spec, identity, thread,
        has_payload, payload_version)
JOIN ledger e ON e.originator_id = r.job_id AND e.originator_version = r.payload_version
WHERE e.body IS NOT NULL OR NOT r.has_payload
RETURNING job_id
