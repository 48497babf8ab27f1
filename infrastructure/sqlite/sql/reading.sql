-- Reading streams, the whole ledger, and what the installation knows.

-- name: stream
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE originator_id = ?1 AND tenant_id = ?2 AND originator_version > ?3
ORDER BY originator_version LIMIT ?4

-- name: stream_with_bodies
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, body
FROM ledger WHERE originator_id = ?1 AND tenant_id = ?2 AND originator_version > ?3
ORDER BY originator_version LIMIT ?4

-- name: stream_part
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE originator_id = ?1 AND tenant_id = ?2 AND originator_version > ?3 AND originator_version <= ?4
  AND (?5 IS NULL OR topic IN (SELECT value FROM json_each(?5))) AND topic NOT IN (SELECT value FROM json_each(?6))
  AND (?7 IS NULL OR recorded_at > ?7)
ORDER BY originator_version LIMIT ?8

-- name: stream_part_newest_first
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE originator_id = ?1 AND tenant_id = ?2 AND originator_version > ?3 AND originator_version <= ?4
  AND (?5 IS NULL OR topic IN (SELECT value FROM json_each(?5))) AND topic NOT IN (SELECT value FROM json_each(?6))
  AND (?7 IS NULL OR recorded_at > ?7)
ORDER BY originator_version DESC LIMIT ?8

-- name: topics
SELECT topic FROM ledger
WHERE originator_id = ?1 AND tenant_id = ?2 AND originator_version > ?3 AND originator_version <= ?4
ORDER BY originator_version

-- name: last_version
SELECT originator_version FROM ledger WHERE originator_id = ?1 AND tenant_id = ?2
ORDER BY originator_version DESC LIMIT 1

-- name: read_after
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE notification_id > ? ORDER BY notification_id LIMIT ?

-- name: scan_end_of_all
-- ?1 is the tenant that is not asked for.
SELECT notification_id FROM ledger WHERE ?1 IS NULL AND notification_id > ?2 AND notification_id <= ?3
ORDER BY notification_id LIMIT 1 OFFSET ?4

-- name: scan_end_of_tenant
SELECT notification_id FROM ledger WHERE tenant_id = ?1 AND notification_id > ?2 AND notification_id <= ?3
ORDER BY notification_id LIMIT 1 OFFSET ?4

-- name: events_of_all
-- ?1 is the tenant that is not asked for.
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE ?1 IS NULL AND notification_id > ?2 AND notification_id <= ?3
  AND (?4 IS NULL OR topic IN (SELECT value FROM json_each(?4))
       OR substr(topic, 1, instr(topic, '.') - 1) IN (SELECT value FROM json_each(?8)))
  AND topic NOT IN (SELECT value FROM json_each(?9)) AND (topic <> ?10 OR instr(state, ?11) > 0)
  AND (?5 IS NULL OR recorded_at >= ?5) AND (?6 IS NULL OR recorded_at < ?6)
ORDER BY notification_id LIMIT ?7

-- name: tenant_events
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, NULL
FROM ledger WHERE tenant_id = ?1 AND notification_id > ?2 AND notification_id <= ?3
  AND (?4 IS NULL OR topic IN (SELECT value FROM json_each(?4))
       OR substr(topic, 1, instr(topic, '.') - 1) IN (SELECT value FROM json_each(?8)))
  AND topic NOT IN (SELECT value FROM json_each(?9)) AND (topic <> ?10 OR instr(state, ?11) > 0)
  AND (?5 IS NULL OR recorded_at >= ?5) AND (?6 IS NULL OR recorded_at < ?6)
ORDER BY notification_id LIMIT ?7

-- name: tenant_events_with_bodies
SELECT originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state, body
FROM ledger WHERE tenant_id = ?1 AND notification_id > ?2 AND notification_id <= ?3
  AND (?4 IS NULL OR topic IN (SELECT value FROM json_each(?4))
       OR substr(topic, 1, instr(topic, '.') - 1) IN (SELECT value FROM json_each(?8)))
  AND topic NOT IN (SELECT value FROM json_each(?9)) AND (topic <> ?10 OR instr(state, ?11) > 0)
  AND (?5 IS NULL OR recorded_at >= ?5) AND (?6 IS NULL OR recorded_at < ?6)
ORDER BY notification_id LIMIT ?7

-- name: head
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ledger'), 0)

-- name: incarnation
SELECT value FROM installation WHERE key = 'incarnation'

-- name: tenant
SELECT tenant_id, status, display_name FROM tenants WHERE tenant_id = ?

-- name: tenants
SELECT tenant_id, status, display_name FROM tenants ORDER BY tenant_id

-- name: job_type
SELECT definition, fingerprint, code_version, app FROM job_types WHERE name = ?

-- name: job_types
SELECT definition, fingerprint, code_version, app FROM job_types ORDER BY name
