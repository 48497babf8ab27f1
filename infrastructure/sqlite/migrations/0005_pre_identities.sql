-- API keys: which there are (what they are, their streams say), and when each was used last. They belong to the
-- installation, not to a tenant.

CREATE TABLE api_keys (
    key_id TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key_uses (
    key_id TEXT NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL,
    address TEXT
) STRICT, WITHOUT ROWID;

-- Sessions of the console that somebody ended: until they would have ended by themselves.
CREATE TABLE ended_sessions (
    session_sha256 TEXT NOT NULL PRIMARY KEY,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
