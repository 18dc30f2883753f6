-- Holds that the database lost (a failover to a replica that lagged), though their requests went upstream: made anew, so
-- that the requests can be ended. Each takes what fits, in the current windows: what a request may be charged is its
-- hold, the rest becomes overage. A quota of requests without room does not count it. What is there, open or ended, stays
-- as it is; so does all of a key that is not known here. Locks as billing_hold_exactly; `holds` in the order of ids.
CREATE OR REPLACE FUNCTION billing_hold_anew(holds json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    item record;
    taken record;
    windows bigint[];
BEGIN
    windows := ARRAY(SELECT id FROM billing_lock_windows(holds));
    FOR item IN
        SELECT * FROM billing_holds_of(holds)
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM billing_hold WHERE id = item.id)
            OR EXISTS (SELECT FROM billing_usagerecord WHERE id = item.id)
            OR NOT EXISTS (
                SELECT FROM accounts_apikey k JOIN accounts_project p ON p.id = k.project_id
                WHERE k.id = item.api_key_id AND p.id = item.project_id AND p.organization_id = item.organization_id);
        IF EXISTS (
            SELECT FROM billing_quota q
            WHERE q.scope_id IN (item.organization_id, item.project_id, item.api_key_id) AND q.retired_at IS NULL
                AND (q.window_id = ANY (windows)) IS NOT TRUE) THEN  -- set, or begun anew, this very moment
            RAISE EXCEPTION 'quotas changed meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
        WITH room AS (
            SELECT q.window_id, q.held_as, greatest(0, w.limit_amount - w.posted - w.held) AS amount
            FROM billing_quota q JOIN billing_quotawindow w ON w.id = q.window_id
            WHERE q.scope_id IN (item.organization_id, item.project_id, item.api_key_id) AND q.retired_at IS NULL
        ), fitting AS (
            SELECT least(item.hold_nano_usd, min(amount) FILTER (WHERE held_as = 'hard cost')) AS nano_usd,
                least(item.hold_tokens, min(amount) FILTER (WHERE held_as = 'hard tokens')) AS tokens
            FROM room
        )
        SELECT f.nano_usd, f.tokens, coalesce(array_agg(r.window_id) FILTER (WHERE r.counts), '{}') AS window_ids,
            coalesce(array_agg(r.held_as) FILTER (WHERE r.counts), '{}') AS held_as,
            coalesce(array_agg(billing_held_amount(r.held_as, f.nano_usd, f.tokens)) FILTER (WHERE r.counts), '{}')
                AS amounts,
            coalesce(bool_or(r.held_as = 'hard cost'), false) AS is_bound
        INTO taken
        FROM fitting f LEFT JOIN (
            SELECT *, window_id IS NOT NULL AND NOT (held_as = 'hard requests' AND amount < 1) AS counts FROM room) r ON true
        GROUP BY f.nano_usd, f.tokens;
        INSERT INTO billing_hold (
            id, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id, upstream,
            upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count, request_bytes,
            hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, flags, created_at)
        VALUES (item.id, item.organization_id, item.project_id, item.api_key_id, item.process_id, item.endpoint,
            item.model, item.upstream_id, item.upstream, item.upstream_model, item.price_id, item.stream,
            item.asked_service_tier, item.client_request_id, item.retry_count, item.request_bytes, taken.nano_usd,
            taken.tokens, taken.is_bound, taken.window_ids, taken.held_as, taken.amounts,
            item.flags || '{hold_lost}'::text[], now())
        ON CONFLICT DO NOTHING;
        IF FOUND THEN  -- else another call has just written it
            PERFORM billing_post_to_windows(taken.window_ids,
                ARRAY(SELECT -amount FROM unnest(taken.amounts) AS amount),
                array_fill(0::bigint, ARRAY[cardinality(taken.window_ids)]));
        END IF;
    END LOOP;
END $$;
