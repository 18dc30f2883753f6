-- The fast path of a batch: its ends, its holds, and then the windows of both, each changed once; all or nothing. Where a
-- step gives up (TG001) nothing is done, and the items go through the exact functions (metering.sql).

-- sum(bigint) reckons in numeric, at several times the price.
CREATE OR REPLACE AGGREGATE billing_total(bigint) (sfunc = int8pl, stype = bigint, initcond = '0');

CREATE OR REPLACE FUNCTION billing_not_open() RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a hold of the batch needs a window' USING ERRCODE = 'TG001';
END $$;

-- Returns the ids whose hold it ended. Raises TG001 where some hold does not fit or a window has to be opened first, a
-- unique violation where an item is not new. Items and their ids are in the order of ids. One function with a few narrow
-- statements, of which those that have nothing to do are not begun: half the price of a small batch is their start.
CREATE OR REPLACE FUNCTION billing_write(end_ids uuid[], ends json, hold_ids uuid[], holds json) RETURNS uuid[]
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ended uuid[] := '{}';
    is_alone boolean;
    are_new boolean;
    ended_on bigint[];  -- windows, what the ends free of them and what they spend
    freed bigint[];
    spent bigint[];
    held_on bigint[];  -- windows, and what the holds take of them
    taken bigint[];
    changing bigint[];
    more_held bigint[];
    more_posted bigint[];
    needed bigint[];  -- null: nothing new is held there, which always fits
    changed bigint;
BEGIN
    IF end_ids <> '{}' THEN
        WITH released AS (
            DELETE FROM billing_hold WHERE id = ANY (end_ids) RETURNING 1
        ), recorded AS (
            INSERT INTO billing_usagerecord (
                id, state, usage_source, organization_id, project_id, api_key_id, process_id, endpoint, model,
                upstream_id, upstream, upstream_model, price_id, stream, asked_service_tier, client_request_id,
                retry_count, request_bytes, status, response_id, served_model, service_tier, upstream_request_id,
                input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, delta_events,
                tool_calls, reported_usage, hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts,
                cost_nano_usd, charged_nano_usd, overage_nano_usd, lines, flags, created_at, ended_at, first_byte_ms,
                latency_ms)
            SELECT e.id, e.state, e.usage_source, h.organization_id, h.project_id, h.api_key_id, h.process_id, h.endpoint,
                h.model, h.upstream_id, h.upstream, h.upstream_model, h.price_id, h.stream, h.asked_service_tier,
                h.client_request_id, h.retry_count, h.request_bytes, e.status, e.response_id, e.served_model,
                e.service_tier, e.upstream_request_id, e.input_tokens, e.cached_tokens, e.cache_write_tokens,
                e.output_tokens, e.reasoning_tokens, e.delta_events, e.tool_calls, e.reported_usage, h.hold_nano_usd,
                h.hold_tokens, h.is_bound, h.window_ids, h.held_as, h.held_amounts, e.cost_nano_usd, h.charged,
                e.cost_nano_usd - h.charged, e.lines,
                billing_end_flags(h.flags || e.flags, e.cost_nano_usd - h.charged, e.input_tokens + e.output_tokens,
                    h.hold_tokens, h.held_as),
                h.created_at, now(), e.first_byte_ms, e.latency_ms
            -- Each by its id, in their order: no plan can read more than the batch's own holds, however many are open.
            FROM billing_ends_of(ends) e CROSS JOIN LATERAL (
                SELECT *, CASE WHEN is_bound THEN least(e.cost_nano_usd, hold_nano_usd) ELSE e.cost_nano_usd END AS charged
                FROM billing_hold WHERE id = e.id OFFSET 0) h
            -- Holds are locked, and gone, before a record is made of the first; the statement still reads them.
            WHERE (SELECT count(*) FROM released) > 0
            RETURNING id, state, window_ids, held_as, held_amounts, cost_nano_usd, charged_nano_usd,
                input_tokens + output_tokens AS tokens
        ), queued AS (
            INSERT INTO billing_unposted (record_id) SELECT id FROM recorded
        )
        SELECT ARRAY(SELECT id FROM recorded), (SELECT count(*) FROM released) = (SELECT count(*) FROM recorded),
            array_agg(w.id), array_agg(w.held), array_agg(billing_posted_amount(
                w.held_as, w.held, w.cost_nano_usd, w.charged_nano_usd, w.tokens, w.requests))
            INTO ended, is_alone, ended_on, freed, spent
        FROM (
            SELECT unnest(window_ids) AS id, unnest(held_as) AS held_as, unnest(held_amounts) AS held, cost_nano_usd,
                charged_nano_usd, tokens, (state = 'settled')::int AS requests
            FROM recorded) w;
        IF NOT is_alone THEN  -- another call has ended one of them since it was read here
            RAISE EXCEPTION 'an end of the batch is not new' USING ERRCODE = 'TG001';
        END IF;
    END IF;

    IF hold_ids <> '{}' THEN
        WITH held AS (
            INSERT INTO billing_hold (
                id, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id, upstream,
                upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count, request_bytes,
                hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, flags, created_at)
            SELECT h.id, h.organization_id, h.project_id, h.api_key_id, h.process_id, h.endpoint, h.model, h.upstream_id,
                h.upstream, h.upstream_model, h.price_id, h.stream, h.asked_service_tier, h.client_request_id,
                h.retry_count, h.request_bytes, h.hold_nano_usd, h.hold_tokens, coalesce(quotas.is_bound, false),
                coalesce(CASE WHEN quotas.are_open IS NOT FALSE THEN quotas.window_ids ELSE billing_not_open() END, '{}'),
                coalesce(quotas.held_as, '{}'), coalesce(quotas.held_amounts, '{}'), h.flags, now()
            FROM billing_holds_of(holds) h CROSS JOIN LATERAL (
                SELECT array_agg(q.window_id) AS window_ids, array_agg(q.held_as) AS held_as,
                    array_agg(billing_held_amount(q.held_as, h.hold_nano_usd, h.hold_tokens)) AS held_amounts,
                    bool_or(q.held_as = 'hard cost') AS is_bound,
                    bool_and(coalesce(q.window_ends_at > now(), false)
                        AND (h.price_id IS NOT NULL OR q.held_as <> 'hard cost')) AS are_open
                FROM billing_quota q
                WHERE q.organization_id = h.organization_id
                    AND q.scope_id = ANY (ARRAY[h.organization_id, h.project_id, h.api_key_id]) AND q.retired_at IS NULL
            ) quotas
            RETURNING window_ids, held_amounts
        )
        -- A call that is carried out long after it was given up must not open again what has ended meanwhile. Between
        -- the first and the last: no partition of another month is opened for it.
        SELECT NOT EXISTS (
                SELECT FROM unnest(hold_ids) AS h(id) CROSS JOIN LATERAL (
                    SELECT state FROM billing_usagerecord
                    WHERE id = h.id AND id BETWEEN hold_ids[1] AND hold_ids[cardinality(hold_ids)] OFFSET 0) r),
            array_agg(w.id), array_agg(w.held)
            INTO are_new, held_on, taken
        FROM (SELECT unnest(window_ids) AS id, unnest(held_amounts) AS held FROM held) w WHERE w.held > 0;
        IF NOT are_new THEN
            RAISE EXCEPTION 'a hold of the batch has ended' USING ERRCODE = 'TG001';
        END IF;
    END IF;

    SELECT array_agg(id), array_agg(held), array_agg(posted), array_agg(CASE WHEN is_held_on THEN held + posted END)
        INTO changing, more_held, more_posted, needed
    FROM (
        SELECT id, billing_total(held) AS held, billing_total(posted) AS posted, bool_or(is_new) AS is_held_on
        FROM (
            SELECT unnest(ended_on) AS id, -unnest(freed) AS held, unnest(spent) AS posted, false AS is_new
            UNION ALL SELECT unnest(held_on), unnest(taken), 0, true) change
        GROUP BY id ORDER BY id) w;
    -- One ordered, checked update. width_bucket: the place of an id among the sorted ids.
    UPDATE billing_quotawindow w
    SET held = w.held + more_held[width_bucket(w.id, changing)],
        posted = w.posted + more_posted[width_bucket(w.id, changing)]
    WHERE w.id = ANY (changing)
        AND (w.limit_amount - w.posted - w.held < needed[width_bucket(w.id, changing)]) IS NOT TRUE;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> coalesce(cardinality(changing), 0) THEN
        RAISE EXCEPTION 'some hold of the batch does not fit' USING ERRCODE = 'TG001';
    END IF;
    RETURN ended;
END $$;
