-- Limits and pauses, lanes, weighted turns, and what workers report of themselves.

SET LOCAL search_path = jobledger, pg_temp;

-- What a worker says of itself: JSON.
ALTER TABLE workers ADD COLUMN report text NOT NULL DEFAULT '{}';

-- --- for counting the queue ---------------------------------------------------------------------------------------
-- What neither waits for its turn nor runs; few jobs ever come here, so it costs the others nothing.
CREATE INDEX open_jobs_parked ON open_jobs (queue, status)
  WHERE status IN ('blocked', 'dlq');
