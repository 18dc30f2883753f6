-- The rollups anew from what they sum up: records and adjustments that are posted, in the hours from `since` on. Posting
-- waits meanwhile. Only what differs is written: `corrected` buckets were wrong or missing, `removed` should not have been.

CREATE OR REPLACE FUNCTION billing_rebuild_rollups(
    since timestamptz, OUT buckets bigint, OUT corrected bigint, OUT removed bigint) LANGUAGE plpgsql
SET work_mem = '256MB' AS $$
BEGIN
    -- In a statement of its own: the next one sees what every posting has done, and none is under way. Recomputing
    -- without it loses what is posted meanwhile.
    LOCK TABLE billing_usagerollup IN SHARE ROW EXCLUSIVE MODE;
    WITH item AS (
        SELECT date_trunc('hour', created_at, 'UTC') AS hour, organization_id, project_id, api_key_id, model,
            upstream_id, (state = 'settled')::int AS requests, (state = 'void')::int AS voided, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd,
            overage_nano_usd
        FROM billing_usagerecord r
        WHERE created_at >= since
            AND NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = r.id AND NOT u.is_adjustment)
        UNION ALL
        SELECT date_trunc('hour', created_at, 'UTC'), organization_id, project_id, api_key_id, model, upstream_id,
            requests, -requests, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
            cost_nano_usd, charged_nano_usd, overage_nano_usd
        FROM billing_adjustment a
        WHERE created_at >= since
            AND NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = a.record_id AND u.is_adjustment)
    ), bucket AS MATERIALIZED (
        SELECT hour, organization_id, project_id, api_key_id, model, upstream_id, sum(requests) AS requests,
            sum(voided) AS voided, sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
            sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
            sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd,
            sum(charged_nano_usd) AS charged_nano_usd, sum(overage_nano_usd) AS overage_nano_usd
        FROM item GROUP BY hour, organization_id, project_id, api_key_id, model, upstream_id
    ), gone AS (
        DELETE FROM billing_usagerollup u WHERE hour >= since AND NOT EXISTS (
            SELECT FROM bucket b WHERE b.hour = u.hour AND b.organization_id = u.organization_id
                AND b.project_id = u.project_id AND b.api_key_id = u.api_key_id AND b.model = u.model
                AND b.upstream_id = u.upstream_id)
        RETURNING 1
    ), written AS (
        INSERT INTO billing_usagerollup AS u (
            hour, organization_id, project_id, api_key_id, model, upstream_id, requests, voided, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd,
            overage_nano_usd)
        SELECT * FROM bucket
        ON CONFLICT (hour, organization_id, project_id, api_key_id, model, upstream_id) DO UPDATE SET
            requests = excluded.requests, voided = excluded.voided, input_tokens = excluded.input_tokens,
            cached_tokens = excluded.cached_tokens, cache_write_tokens = excluded.cache_write_tokens,
            output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens,
            cost_nano_usd = excluded.cost_nano_usd, charged_nano_usd = excluded.charged_nano_usd,
            overage_nano_usd = excluded.overage_nano_usd
        WHERE (u.requests, u.voided, u.input_tokens, u.cached_tokens, u.cache_write_tokens, u.output_tokens,
                u.reasoning_tokens, u.cost_nano_usd, u.charged_nano_usd, u.overage_nano_usd)
            IS DISTINCT FROM (excluded.requests, excluded.voided, excluded.input_tokens, excluded.cached_tokens,
                excluded.cache_write_tokens, excluded.output_tokens, excluded.reasoning_tokens,
                excluded.cost_nano_usd, excluded.charged_nano_usd, excluded.overage_nano_usd)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM bucket), (SELECT count(*) FROM written), (SELECT count(*) FROM gone)
    INTO buckets, corrected, removed;
END $$;
