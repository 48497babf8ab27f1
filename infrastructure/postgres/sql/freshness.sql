-- How current a list is.

-- name: freshness
-- With the events of this view that its fold could not take (under row-level security: the tenant's), up to a number.
SELECT c.position, c.recorded_at, (
  SELECT count(*) FROM (
    SELECT 1 FROM parked_events AS p WHERE p.projection = c.projection AND p.error IS NOT NULL LIMIT 1000
  ) AS parked
)
FROM checkpoints AS c WHERE c.projection = %s

-- name: horizon_hold
-- Which transaction keeps readers from what was recorded after it began.
SELECT pid, application, login, state, began_at, waiting_since, now_at FROM ledger_horizon_hold()
