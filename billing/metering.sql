-- The two functions that billing/metering.py calls: one round trip for everything that gathered since the last one.
-- A batch is a JSON array of objects whose keys are the record's columns. Both may be repeated without harm.

CREATE OR REPLACE FUNCTION billing_hold(batch json) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    held uuid[];
BEGIN
    INSERT INTO billing_usagerecord (
        id, state, usage_source, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id,
        upstream, upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count, response_id,
        served_model, service_tier, upstream_request_id, input_tokens, cached_tokens, cache_write_tokens,
        output_tokens, reasoning_tokens, tool_calls, hold_nano_usd, cost_nano_usd, charged_nano_usd, overage_nano_usd,
        lines, flags, created_at)
    SELECT h.id, 'pending', 'none', h.organization_id, h.project_id, h.api_key_id, h.process_id, h.endpoint, h.model,
        h.upstream_id, h.upstream, h.upstream_model, h.price_id, h.stream, h.asked_service_tier, h.client_request_id,
        h.retry_count, '', '', '', '', 0, 0, 0, 0, 0, '{}', h.hold_nano_usd, 0, 0, 0, '[]', h.flags, now()
    FROM json_to_recordset(batch) AS h(
        id uuid, organization_id uuid, project_id uuid, api_key_id uuid, process_id uuid, endpoint text, model text,
        upstream_id uuid, upstream text, upstream_model text, price_id uuid, stream boolean, asked_service_tier text,
        client_request_id text, retry_count smallint, hold_nano_usd bigint, flags text[])
    ORDER BY h.id
    ON CONFLICT DO NOTHING;
    -- A hold whose answer was lost comes again with its id: it is as held as a new one.
    SELECT array_agg(h.id) INTO held FROM json_to_recordset(batch) AS h(id uuid);
    RETURN held;
END $$;

-- Ends pending records; `lo` and `hi` are the least and the greatest id of the batch, so that only their partitions
-- are looked at. Returns the ids that this call ended; the others had ended before, and nothing of them changed.
-- There is no join in it, so no plan can read more than the batch's own records: all between `lo` and `hi`, say, which
-- is hours of them where a long stream ends.
CREATE OR REPLACE FUNCTION billing_settle(batch json, lo uuid, hi uuid) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    ends jsonb;
    ended uuid[];
BEGIN
    SELECT array_agg((item ->> 'id')::uuid), jsonb_object_agg(item ->> 'id', item) INTO ids, ends
        FROM json_array_elements(batch) AS item;
    -- Records are locked in the order of their ids, here and in the posting. Those that have ended are left alone: the
    -- posting may be at them.
    PERFORM 1 FROM billing_usagerecord r WHERE r.id = ANY (ids) AND r.id BETWEEN lo AND hi AND r.state = 'pending'
        ORDER BY r.id FOR NO KEY UPDATE;
    WITH settled AS (
        UPDATE billing_usagerecord r SET (
            state, usage_source, status, response_id, served_model, service_tier, upstream_request_id, input_tokens,
            cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, tool_calls, reported_usage,
            cost_nano_usd, charged_nano_usd, overage_nano_usd, lines, flags, first_byte_ms, latency_ms, ended_at
        ) = (
            SELECT s.state, s.usage_source, s.status, s.response_id, s.served_model, s.service_tier,
                s.upstream_request_id, s.input_tokens, s.cached_tokens, s.cache_write_tokens, s.output_tokens,
                s.reasoning_tokens, s.tool_calls, s.reported_usage, s.cost_nano_usd, s.charged_nano_usd,
                s.overage_nano_usd, s.lines, r.flags || s.flags, s.first_byte_ms, s.latency_ms, now()
            FROM jsonb_to_record(ends -> r.id::text) AS s(
                state text, usage_source text, status smallint, response_id text, served_model text, service_tier text,
                upstream_request_id text, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint,
                output_tokens bigint, reasoning_tokens bigint, tool_calls jsonb, reported_usage jsonb,
                cost_nano_usd bigint, charged_nano_usd bigint, overage_nano_usd bigint, lines jsonb, flags text[],
                first_byte_ms int, latency_ms int))
        WHERE r.id = ANY (ids) AND r.id BETWEEN lo AND hi AND r.state = 'pending'
        RETURNING r.id)
    SELECT coalesce(array_agg(id), '{}') INTO ended FROM settled;
    RETURN ended;
END $$;
