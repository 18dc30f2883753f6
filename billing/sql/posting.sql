-- Ended records and adjustments into hourly rollups and the ledger, for billing/books/ledger.py. Celery carries no truth:
-- billing_unposted is the queue, what is taken out of it is added exactly once, in one statement, and a call that dies
-- has done nothing. A record counts in the hour in which it was admitted, an adjustment in the hour in which it came.

CREATE OR REPLACE FUNCTION billing_post_settled(most int) RETURNS bigint LANGUAGE sql AS $$
    WITH oldest AS MATERIALIZED (  -- as a subquery it might be run for each row, and each time skip what it locked
        SELECT record_id, is_adjustment FROM billing_unposted
        ORDER BY record_id, is_adjustment LIMIT most FOR UPDATE SKIP LOCKED
    ), claimed AS MATERIALIZED (
        DELETE FROM billing_unposted u USING oldest c
        WHERE u.record_id = c.record_id AND u.is_adjustment = c.is_adjustment
        RETURNING u.record_id, u.is_adjustment
    ), item AS MATERIALIZED (
        -- Record by record (OFFSET 0 keeps the planner from a join): each is looked for in its own partition alone.
        SELECT 'charge' AS kind, date_trunc('hour', created_at, 'UTC') AS hour, organization_id, project_id, api_key_id,
            model, upstream_id, (state = 'settled')::int AS requests, (state = 'void')::int AS voided, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd,
            overage_nano_usd
        FROM claimed
            CROSS JOIN LATERAL (SELECT * FROM billing_usagerecord WHERE id = claimed.record_id OFFSET 0) AS record
        WHERE NOT is_adjustment
        UNION ALL
        SELECT 'adjustment', date_trunc('hour', created_at, 'UTC'), organization_id, project_id, api_key_id, model,
            upstream_id, requests, -requests, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
            reasoning_tokens, cost_nano_usd, charged_nano_usd, overage_nano_usd
        FROM billing_adjustment JOIN claimed USING (record_id) WHERE is_adjustment
    ), bucket AS (
        SELECT hour, organization_id, project_id, api_key_id, model, upstream_id, sum(requests) AS requests,
            sum(voided) AS voided, sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
            sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
            sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd,
            sum(charged_nano_usd) AS charged_nano_usd, sum(overage_nano_usd) AS overage_nano_usd
        FROM item GROUP BY hour, organization_id, project_id, api_key_id, model, upstream_id
    ), rolled AS (
        INSERT INTO billing_usagerollup AS u (
            hour, organization_id, project_id, api_key_id, model, upstream_id, requests, voided, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd,
            overage_nano_usd)
        SELECT * FROM bucket ORDER BY hour, organization_id, project_id, api_key_id, model, upstream_id
        ON CONFLICT (hour, organization_id, project_id, api_key_id, model, upstream_id) DO UPDATE SET
            requests = u.requests + excluded.requests, voided = u.voided + excluded.voided,
            input_tokens = u.input_tokens + excluded.input_tokens,
            cached_tokens = u.cached_tokens + excluded.cached_tokens,
            cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens,
            output_tokens = u.output_tokens + excluded.output_tokens,
            reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
            cost_nano_usd = u.cost_nano_usd + excluded.cost_nano_usd,
            charged_nano_usd = u.charged_nano_usd + excluded.charged_nano_usd,
            overage_nano_usd = u.overage_nano_usd + excluded.overage_nano_usd
    ), charge AS (
        SELECT gen_random_uuid() AS posting_id, kind, organization_id, hour, sum(charged_nano_usd) AS amount
        FROM item GROUP BY kind, organization_id, hour HAVING sum(charged_nano_usd) <> 0
    ), entered AS (
        INSERT INTO billing_ledgerentry (posting_id, kind, account, organization_id, hour, amount_nano_usd, reason)
        SELECT posting_id, kind, side.account, organization_id, hour, side.sign * amount, ''
        FROM charge CROSS JOIN (VALUES ('organization', -1), ('revenue', 1)) AS side(account, sign)
        ORDER BY organization_id, hour, kind, side.account
    )
    SELECT count(*) FROM claimed;
$$;
