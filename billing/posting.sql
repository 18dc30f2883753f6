-- Ended records into hourly rollups and the ledger, for billing/ledger.py. Celery carries no truth: the table is the
-- queue, what is claimed is added exactly once, in one statement, and a call that dies has done nothing.

CREATE OR REPLACE FUNCTION billing_post_settled(most int) RETURNS bigint LANGUAGE sql AS $$
    WITH claimed AS MATERIALIZED (
        SELECT id, date_trunc('hour', created_at, 'UTC') AS hour, organization_id, project_id, api_key_id, model, upstream_id,
            state, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd,
            charged_nano_usd, overage_nano_usd
        FROM billing_usagerecord
        WHERE posted_at IS NULL AND state <> 'pending'
        ORDER BY id LIMIT most
        FOR NO KEY UPDATE SKIP LOCKED
    ), marked AS (
        UPDATE billing_usagerecord r SET posted_at = now() FROM claimed c WHERE r.id = c.id RETURNING r.id
    ), bucket AS (
        SELECT hour, organization_id, project_id, api_key_id, model, upstream_id,
            count(*) FILTER (WHERE state = 'settled') AS requests, count(*) FILTER (WHERE state = 'void') AS voided,
            sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
            sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
            sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd,
            sum(charged_nano_usd) AS charged_nano_usd, sum(overage_nano_usd) AS overage_nano_usd
        FROM claimed GROUP BY hour, organization_id, project_id, api_key_id, model, upstream_id
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
        SELECT gen_random_uuid() AS posting_id, organization_id, hour, sum(charged_nano_usd) AS amount
        FROM claimed GROUP BY organization_id, hour HAVING sum(charged_nano_usd) <> 0
    ), entered AS (
        INSERT INTO billing_ledgerentry (posting_id, kind, account, organization_id, hour, amount_nano_usd)
        SELECT posting_id, 'charge', side.account, organization_id, hour, side.sign * amount
        FROM charge CROSS JOIN (VALUES ('organization', -1), ('revenue', 1)) AS side(account, sign)
        ORDER BY organization_id, hour, side.account
    )
    SELECT count(*) FROM marked;
$$;
