-- Turns: which process does a chore now. One transaction, and nothing else happens in it.

-- name: take_turn
-- 1818584168 is this program's class of advisory locks for chores.
SELECT pg_try_advisory_xact_lock(1818584168, hashtext(%s))

-- name: turn_timeout
-- A process that froze loses its turn.
SET LOCAL idle_in_transaction_session_timeout = %s
