-- How current a list is.

-- name: freshness
-- With a tenant's events of this view that its fold could not take, up to a number (NULL: everybody's).
SELECT c.position, c.recorded_at, (
    SELECT count(*) FROM (
        SELECT 1 FROM parked_events p
        WHERE p.projection = c.projection AND p.error IS NOT NULL AND (?2 IS NULL OR p.tenant_id = ?2) LIMIT 1000))
FROM checkpoints c WHERE c.projection = ?1
