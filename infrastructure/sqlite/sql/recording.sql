-- What the library's recorders need beside the ledger's own statements.

-- name: select_events
SELECT originator_id, originator_version, topic, state, tenant_id, body FROM ledger
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version LIMIT ?

-- name: select_events_backwards
SELECT originator_id, originator_version, topic, state, tenant_id, body FROM ledger
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version DESC LIMIT ?

-- name: select_notifications
SELECT originator_id, originator_version, topic, state, notification_id FROM ledger
WHERE notification_id >= ?1 AND notification_id <= ?2
  AND (?3 IS NULL OR topic IN (SELECT value FROM json_each(?3)))
ORDER BY notification_id LIMIT ?4

-- name: insert_tracking
-- Only ever forward: no row is changed by a notification that was processed before.
INSERT INTO tracking (consumer, application_name, notification_id) VALUES (?, ?, ?)
ON CONFLICT (consumer, application_name) DO UPDATE SET notification_id = excluded.notification_id
    WHERE tracking.notification_id < excluded.notification_id
RETURNING notification_id

-- name: max_tracking_id
SELECT notification_id FROM tracking WHERE consumer = ? AND application_name = ?
