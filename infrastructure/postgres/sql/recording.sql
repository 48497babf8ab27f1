-- What the library's recorders need beside the ledger's own statements.

-- name: select_events
SELECT originator_id, originator_version, topic, state, tenant_id, body FROM ledger
WHERE originator_id = %s AND originator_version > %s AND originator_version <= %s
ORDER BY originator_version
LIMIT %s

-- name: select_events_backwards
SELECT originator_id, originator_version, topic, state, tenant_id, body FROM ledger
WHERE originator_id = %s AND originator_version > %s AND originator_version <= %s
ORDER BY originator_version DESC
LIMIT %s

-- name: select_notifications
SELECT originator_id, originator_version, topic, state, notification_id FROM ledger
WHERE notification_id >= %s AND notification_id <= %s AND (%s::text[] IS NULL OR topic = ANY (%s))
ORDER BY notification_id
LIMIT %s

-- name: last_notification
SELECT max(notification_id) FROM ledger WHERE notification_id <= %s

-- name: insert_tracking
-- Only ever forward: no row is changed by a notification that was processed before.
INSERT INTO tracking (consumer, application_name, notification_id) VALUES (%s, %s, %s)
ON CONFLICT (consumer, application_name) DO UPDATE SET notification_id = excluded.notification_id
  WHERE tracking.notification_id < excluded.notification_id
RETURNING notification_id

-- name: max_tracking_id
SELECT notification_id FROM tracking WHERE consumer = %s AND application_name = %s
