-- The fast path of a batch: its ends, its holds, and then the windows of both, each changed once; all or nothing. Where a
-- step gives up (TG001) nothing is done, and the items go through the exact functions (metering.sql).

-- sum(bigint) reckons in numeric, at several times the price.
CREATE OR REPLACE AGGREGATE billing_total(bigint) (sfunc = int8pl, stype = bigint, initcond = '0');

-- Ends that have a hold: it becomes the record. Returns their ids, and what they free and spend of which windows.
CREATE OR REPLACE FUNCTION billing_write_ends(
    ends json, OUT ended uuid[], OUT window_ids bigint[], OUT freed bigint[], OUT spent bigint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    is_alone boolean;
BEGIN
    WITH e AS (
        SELECT * FROM json_to_recordset(ends) AS e(
            id uuid, state text, usage_source text, status smallint, response_id text, served_model text,
            service_tier text, upstream_request_id text, input_tokens bigint, cached_tokens bigint,
            cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, delta_events bigint, tool_calls jsonb,
            reported_usage jsonb, cost_nano_usd bigint, lines jsonb, flags text[], first_byte_ms int, latency_ms int)
    ), ended AS MATERIALIZED (
        -- Each by its id, in their order: no plan can read more than the batch's own holds, however many are open.
        SELECT e.*, h.organization_id, h.project_id, h.api_key_id, h.process_id, h.endpoint, h.model, h.upstream_id,
            h.upstream, h.upstream_model, h.price_id, h.stream, h.asked_service_tier, h.client_request_id,
            h.retry_count, h.request_bytes, h.hold_nano_usd, h.hold_tokens, h.is_bound, h.window_ids, h.held_as,
            h.held_amounts, h.flags AS hold_flags, h.created_at, e.input_tokens + e.output_tokens AS tokens,
            CASE WHEN h.is_bound THEN least(e.cost_nano_usd, h.hold_nano_usd) ELSE e.cost_nano_usd END AS charged
        FROM e CROSS JOIN LATERAL (SELECT * FROM billing_hold WHERE id = e.id OFFSET 0) h
    ), released AS (
        DELETE FROM billing_hold WHERE id = ANY (ARRAY(SELECT id FROM ended)) RETURNING 1
    ), recorded AS (
        INSERT INTO billing_usagerecord (
            id, state, usage_source, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id,
            upstream, upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count,
            request_bytes, status, response_id, served_model, service_tier, upstream_request_id, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, delta_events, tool_calls, reported_usage,
            hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, cost_nano_usd, charged_nano_usd,
            overage_nano_usd, lines, flags, created_at, ended_at, first_byte_ms, latency_ms)
        SELECT r.id, r.state, r.usage_source, r.organization_id, r.project_id, r.api_key_id, r.process_id, r.endpoint,
            r.model, r.upstream_id, r.upstream, r.upstream_model, r.price_id, r.stream, r.asked_service_tier,
            r.client_request_id, r.retry_count, r.request_bytes, r.status, r.response_id, r.served_model,
            r.service_tier, r.upstream_request_id, r.input_tokens, r.cached_tokens, r.cache_write_tokens,
            r.output_tokens, r.reasoning_tokens, r.delta_events, r.tool_calls, r.reported_usage, r.hold_nano_usd,
            r.hold_tokens, r.is_bound, r.window_ids, r.held_as, r.held_amounts, r.cost_nano_usd, r.charged,
            r.cost_nano_usd - r.charged, r.lines,
            billing_end_flags(r.hold_flags || r.flags, r.cost_nano_usd - r.charged, r.tokens, r.hold_tokens, r.held_as),
            r.created_at, now(), r.first_byte_ms, r.latency_ms
        FROM ended r
    ), queued AS (
        INSERT INTO billing_unposted (record_id) SELECT id FROM ended
    )
    SELECT ARRAY(SELECT id FROM ended), (SELECT count(*) FROM released) = (SELECT count(*) FROM ended),
        array_agg(w.id), array_agg(w.held),
        array_agg(billing_posted_amount(w.held_as, w.held, w.cost_nano_usd, w.charged, w.tokens, w.requests))
        INTO ended, is_alone, window_ids, freed, spent
    FROM (
        SELECT unnest(window_ids) AS id, unnest(held_as) AS held_as, unnest(held_amounts) AS held, cost_nano_usd, charged,
            tokens, (state = 'settled')::int AS requests
        FROM ended) w;
    IF NOT is_alone THEN  -- another call has ended one of them since it was read here
        RAISE EXCEPTION 'an end of the batch is not new' USING ERRCODE = 'TG001';
    END IF;
END $$;

-- Returns what the holds take of which windows: whether it fits is not known yet.
CREATE OR REPLACE FUNCTION billing_write_holds(holds json, OUT window_ids bigint[], OUT taken bigint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    are_new boolean;
BEGIN
    WITH h AS MATERIALIZED (
        SELECT h.*, quotas.* FROM json_to_recordset(holds) AS h(
            id uuid, organization_id uuid, project_id uuid, api_key_id uuid, process_id uuid, endpoint text, model text,
            upstream_id uuid, upstream text, upstream_model text, price_id uuid, stream boolean,
            asked_service_tier text, client_request_id text, retry_count smallint, request_bytes bigint,
            hold_nano_usd bigint, hold_tokens bigint, flags text[])
        CROSS JOIN LATERAL (
            SELECT array_agg(q.window_id) AS window_ids, array_agg(q.held_as) AS held_as,
                array_agg(billing_held_amount(q.held_as, h.hold_nano_usd, h.hold_tokens)) AS held_amounts,
                bool_or(q.held_as = 'hard cost') AS is_bound,
                bool_and(coalesce(q.window_ends_at > now(), false)
                    AND (h.price_id IS NOT NULL OR q.held_as <> 'hard cost')) AS are_open
            FROM billing_quota q
            WHERE q.organization_id = h.organization_id
                AND q.scope_id = ANY (ARRAY[h.organization_id, h.project_id, h.api_key_id]) AND q.retired_at IS NULL
        ) quotas
    ), held AS (
        INSERT INTO billing_hold (
            id, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id, upstream,
            upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count, request_bytes,
            hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, flags, created_at)
        SELECT h.id, h.organization_id, h.project_id, h.api_key_id, h.process_id, h.endpoint, h.model, h.upstream_id,
            h.upstream, h.upstream_model, h.price_id, h.stream, h.asked_service_tier, h.client_request_id,
            h.retry_count, h.request_bytes, h.hold_nano_usd, h.hold_tokens, coalesce(h.is_bound, false),
            coalesce(h.window_ids, '{}'), coalesce(h.held_as, '{}'), coalesce(h.held_amounts, '{}'), h.flags, now()
        FROM h
    )
    SELECT NOT EXISTS (SELECT FROM h WHERE NOT are_open)
            -- A call that is carried out long after it was given up must not open again what has ended meanwhile.
            AND NOT EXISTS (
                SELECT FROM h CROSS JOIN LATERAL (SELECT state FROM billing_usagerecord WHERE id = h.id OFFSET 0) r),
        array_agg(w.id), array_agg(w.held)
        INTO are_new, window_ids, taken
    FROM (SELECT unnest(window_ids) AS id, unnest(held_amounts) AS held FROM h) w WHERE w.held > 0;
    IF NOT are_new THEN
        RAISE EXCEPTION 'a hold of the batch has ended, or needs a window' USING ERRCODE = 'TG001';
    END IF;
END $$;

-- One ordered, checked update: `freed` and `spent` on the windows of ends, `taken` of those of holds.
CREATE OR REPLACE FUNCTION billing_write_windows(
    ended_on bigint[], freed bigint[], spent bigint[], held_on bigint[], taken bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    more_held bigint[];
    more_posted bigint[];
    needed bigint[];  -- null: nothing new is held there, which always fits
    changed bigint;
BEGIN
    SELECT array_agg(id), array_agg(held), array_agg(posted), array_agg(CASE WHEN is_held_on THEN held + posted END)
        INTO ids, more_held, more_posted, needed
    FROM (
        SELECT id, billing_total(held) AS held, billing_total(posted) AS posted, bool_or(is_new) AS is_held_on
        FROM (
            SELECT unnest(ended_on) AS id, -unnest(freed) AS held, unnest(spent) AS posted, false AS is_new
            UNION ALL SELECT unnest(held_on), unnest(taken), 0, true) change
        GROUP BY id ORDER BY id) w;
    -- width_bucket: the place of an id among the sorted ids.
    UPDATE billing_quotawindow w
    SET held = w.held + more_held[width_bucket(w.id, ids)], posted = w.posted + more_posted[width_bucket(w.id, ids)]
    WHERE w.id = ANY (ids)
        AND (w.limit_amount - w.posted - w.held < needed[width_bucket(w.id, ids)]) IS NOT TRUE;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> coalesce(cardinality(ids), 0) THEN
        RAISE EXCEPTION 'some hold of the batch does not fit' USING ERRCODE = 'TG001';
    END IF;
END $$;

-- Returns the ids whose hold it ended. Raises TG001 where some hold does not fit or a window has to be opened first, a
-- unique violation where an item is not new. Both arrays are in the order of ids; one that is empty costs nothing.
CREATE OR REPLACE FUNCTION billing_write(ends json, holds json) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[] := '{}';
    ended_on bigint[];
    freed bigint[];
    spent bigint[];
    held_on bigint[];
    taken bigint[];
BEGIN
    IF ends::text <> '[]' THEN
        SELECT * INTO ended, ended_on, freed, spent FROM billing_write_ends(ends);
    END IF;
    IF holds::text <> '[]' THEN
        SELECT * INTO held_on, taken FROM billing_write_holds(holds);
    END IF;
    PERFORM billing_write_windows(ended_on, freed, spent, held_on, taken);
    RETURN ended;
END $$;
