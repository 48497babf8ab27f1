-- Reading the ledger and the catalogue.

-- name: set_tenant
-- For the rest of the transaction: what row-level security lets through.
SELECT set_config('jobledger.tenant', %s, true)

-- name: act_as
-- Role, tenant and settings of one transaction: behind a pooler the next one of this session is another program's.
SELECT count(set_config(name, value, true)) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)

-- name: stream
-- Without bodies: folds never read one.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL::bytea
FROM ledger
WHERE tenant_id = %s AND originator_id = %s AND originator_version > %s
ORDER BY originator_version
LIMIT %s

-- name: stream_with_bodies
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, body
FROM ledger
WHERE tenant_id = %s AND originator_id = %s AND originator_version > %s
ORDER BY originator_version
LIMIT %s

-- name: last_version
SELECT originator_version FROM ledger WHERE tenant_id = %s AND originator_id = %s
ORDER BY originator_version DESC LIMIT 1

-- name: beginnings
-- One look into one partition for each.
SELECT l.originator_id, l.originator_version, l.tenant_id, l.notification_id, l.recorded_at, l.topic, l.state,
       NULL::bytea
FROM unnest(%s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
  SELECT * FROM ledger WHERE tenant_id = %s AND originator_id = wanted.id
  ORDER BY originator_version LIMIT %s
) AS l

-- name: stream_part
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL::bytea
FROM ledger
WHERE tenant_id = %(tenant)s AND originator_id = %(stream)s
  AND originator_version > %(after)s AND originator_version <= %(until)s
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[])) AND topic <> ALL (%(without)s::text[])
  AND (%(recorded_after)s::timestamptz IS NULL OR recorded_at > %(recorded_after)s)
ORDER BY originator_version
LIMIT %(limit)s

-- name: stream_part_newest_first
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL::bytea
FROM ledger
WHERE tenant_id = %(tenant)s AND originator_id = %(stream)s
  AND originator_version > %(after)s AND originator_version <= %(until)s
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[])) AND topic <> ALL (%(without)s::text[])
  AND (%(recorded_after)s::timestamptz IS NULL OR recorded_at > %(recorded_after)s)
ORDER BY originator_version DESC
LIMIT %(limit)s

-- name: topics
SELECT topic FROM ledger
WHERE tenant_id = %s AND originator_id = %s AND originator_version > %s AND originator_version <= %s
ORDER BY originator_version

-- name: streams
-- Joined, not "= ANY": each id then looks into its own partition only.
SELECT l.originator_id, l.originator_version, l.tenant_id, l.notification_id, l.recorded_at, l.topic, l.state,
       NULL::bytea
FROM unnest(%s::uuid[]) AS wanted (id)
JOIN ledger AS l ON l.originator_id = wanted.id
WHERE l.tenant_id = %s
ORDER BY l.originator_id, l.originator_version

-- name: horizon
-- In a statement of its own, before the one that reads: only a later snapshot sees all that it promises.
SELECT ledger_horizon()

-- name: last_ticket
-- Sequences are outside of transactions: who was just told of a position finds its ticket drawn.
SELECT last_value FROM ledger_ticket

-- name: read_after
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE notification_id > %s AND notification_id < %s
ORDER BY notification_id
LIMIT %s

-- name: read_topics_after
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state
FROM ledger
WHERE notification_id > %s AND notification_id < %s AND topic = ANY (%s)
ORDER BY notification_id
LIMIT %s

-- name: scan_end_of_all
SELECT notification_id FROM ledger WHERE notification_id > %(after)s AND notification_id <= %(until)s
ORDER BY notification_id OFFSET %(scan)s LIMIT 1

-- name: scan_end_of_tenant
SELECT notification_id FROM ledger
WHERE tenant_id = %(tenant)s AND notification_id > %(after)s AND notification_id <= %(until)s
ORDER BY notification_id OFFSET %(scan)s LIMIT 1

-- name: events_of_all
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL::bytea
FROM ledger
WHERE notification_id > %(after)s AND notification_id <= %(until)s
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[])
       OR split_part(topic, '.', 1) = ANY (%(families)s::text[]))
  AND topic <> ALL (%(without)s::text[])
  AND (topic <> %(marked)s OR position(%(mark)s::bytea IN state) > 0)
  AND (%(recorded_from)s::timestamptz IS NULL OR recorded_at >= %(recorded_from)s)
  AND (%(recorded_to)s::timestamptz IS NULL OR recorded_at < %(recorded_to)s)
ORDER BY notification_id
LIMIT %(limit)s

-- name: tenant_events
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL::bytea
FROM ledger
WHERE tenant_id = %(tenant)s AND notification_id > %(after)s AND notification_id <= %(until)s
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[])
       OR split_part(topic, '.', 1) = ANY (%(families)s::text[]))
  AND topic <> ALL (%(without)s::text[])
  AND (topic <> %(marked)s OR position(%(mark)s::bytea IN state) > 0)
  AND (%(recorded_from)s::timestamptz IS NULL OR recorded_at >= %(recorded_from)s)
  AND (%(recorded_to)s::timestamptz IS NULL OR recorded_at < %(recorded_to)s)
ORDER BY notification_id
LIMIT %(limit)s

-- name: tenant_events_with_bodies
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, body
FROM ledger
WHERE tenant_id = %(tenant)s AND notification_id > %(after)s AND notification_id <= %(until)s
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[])
       OR split_part(topic, '.', 1) = ANY (%(families)s::text[]))
  AND topic <> ALL (%(without)s::text[])
  AND (topic <> %(marked)s OR position(%(mark)s::bytea IN state) > 0)
  AND (%(recorded_from)s::timestamptz IS NULL OR recorded_at >= %(recorded_from)s)
  AND (%(recorded_to)s::timestamptz IS NULL OR recorded_at < %(recorded_to)s)
ORDER BY notification_id
LIMIT %(limit)s

-- name: incarnation
SELECT value FROM installation WHERE key = 'incarnation'

-- name: tenant
SELECT tenant_id, status, display_name FROM tenants WHERE tenant_id = %s

-- name: tenants
SELECT tenant_id, status, display_name FROM tenants ORDER BY tenant_id

-- name: job_type
SELECT definition, fingerprint, code_version, app FROM job_types WHERE name = %s

-- name: limits
-- A persona's row that limits nothing any more only waits for lanes to be changed back.
SELECT scope, tenant_id, subject, concurrency, rate_count, rate_seconds, weight, paused FROM limits
WHERE concurrency IS NOT NULL OR rate_count IS NOT NULL OR weight <> 1 OR paused
ORDER BY scope, tenant_id, subject

-- name: job_types
SELECT definition, fingerprint, code_version, app FROM job_types ORDER BY name
