-- Limits and pauses, lanes, weighted turns, and what workers report of themselves.

SET LOCAL search_path = jobledger, pg_temp;

-- What a worker says of itself: JSON.
ALTER TABLE workers ADD COLUMN report text NOT NULL DEFAULT '{}';
