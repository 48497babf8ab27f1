-- API keys: which there are, when they were used last, and sessions of theirs that were ended.

-- name: key_ids
SELECT key_id FROM api_keys WHERE key_id > %s ORDER BY key_id LIMIT %s

-- name: key_uses
SELECT key_id, last_used_at, address FROM api_key_uses WHERE key_id = ANY (%s)

-- name: record_key_uses
-- The latest stays, in whatever order the processes of an installation come.
INSERT INTO api_key_uses (key_id, last_used_at, address)
SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[])
ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at, address = excluded.address
WHERE api_key_uses.last_used_at < excluded.last_used_at

-- name: end_console_session
INSERT INTO ended_sessions (session_sha256, ends_at) VALUES (%s, %s) ON CONFLICT (session_sha256) DO NOTHING

-- name: forget_console_sessions
DELETE FROM ended_sessions WHERE ends_at < %s

-- name: is_console_session_ended
SELECT 1 FROM ended_sessions WHERE session_sha256 = %s
