-- Statistics: buckets of a time, summed up by what is asked for. What a group is not told apart by is null.
--
-- Those of tenants as jobledger_api: row-level security adds the tenant once more. Those of queues as jobledger_auditor.
-- Columns in the order of StatisticsGroup: the key, the counters, both histograms with their sums, the cost. The tables
-- are read by their primary keys: a tenant and a time, or a time.

-- name: tenant_statistics
SELECT
  CASE WHEN %(by_bucket)s::boolean THEN bucket_at END,
  CASE WHEN %(by_persona)s::boolean THEN persona END,
  CASE WHEN %(by_job_type)s::boolean THEN job_type END,
  CASE WHEN %(by_queue)s::boolean THEN queue END,
  sum(dispatched), sum(started), sum(completed), sum(failed), sum(retried), sum(dead), sum(stalled),
  sum(interrupted), sum(cancelled),
  sum(waited_10ms), sum(waited_30ms), sum(waited_100ms), sum(waited_300ms), sum(waited_1s), sum(waited_3s),
  sum(waited_10s), sum(waited_30s), sum(waited_2min), sum(waited_5min), sum(waited_15min), sum(waited_1h),
  sum(waited_more), sum(waited_seconds),
  sum(ran_10ms), sum(ran_30ms), sum(ran_100ms), sum(ran_300ms), sum(ran_1s), sum(ran_3s), sum(ran_10s), sum(ran_30s),
  sum(ran_2min), sum(ran_5min), sum(ran_15min), sum(ran_1h), sum(ran_more), sum(ran_seconds),
  sum(estimated_cost)
FROM tenant_statistics
WHERE tenant_id = %(tenant)s
  AND bucket_at >= %(since)s::timestamptz AND bucket_at < %(until)s::timestamptz
GROUP BY 1, 2, 3, 4
ORDER BY 1 DESC, sum(dispatched) + sum(started) DESC, 2, 3, 4
LIMIT %(limit)s

-- name: queue_statistics
SELECT
  CASE WHEN %(by_bucket)s::boolean THEN bucket_at END,
  NULL::text,
  NULL::text,
  CASE WHEN %(by_queue)s::boolean THEN queue END,
  sum(dispatched), sum(started), sum(completed), sum(failed), sum(retried), sum(dead), sum(stalled),
  sum(interrupted), sum(cancelled),
  sum(waited_10ms), sum(waited_30ms), sum(waited_100ms), sum(waited_300ms), sum(waited_1s), sum(waited_3s),
  sum(waited_10s), sum(waited_30s), sum(waited_2min), sum(waited_5min), sum(waited_15min), sum(waited_1h),
  sum(waited_more), sum(waited_seconds),
  sum(ran_10ms), sum(ran_30ms), sum(ran_100ms), sum(ran_300ms), sum(ran_1s), sum(ran_3s), sum(ran_10s), sum(ran_30s),
  sum(ran_2min), sum(ran_5min), sum(ran_15min), sum(ran_1h), sum(ran_more), sum(ran_seconds),
  sum(estimated_cost)
FROM queue_statistics
WHERE bucket_at >= %(since)s::timestamptz AND bucket_at < %(until)s::timestamptz
GROUP BY 1, 2, 3, 4
ORDER BY 1 DESC, sum(dispatched) + sum(started) DESC, 4
LIMIT %(limit)s
