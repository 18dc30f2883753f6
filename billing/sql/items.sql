-- What is in a batch: a JSON array of objects whose keys are the columns (billing/record.py). What is left out is as in
-- the row given here.

CREATE TYPE billing_new_hold AS (
    id uuid, organization_id uuid, project_id uuid, api_key_id uuid, process_id uuid, endpoint text, model text,
    upstream_id uuid, upstream text, upstream_model text, price_id uuid, stream boolean, asked_service_tier text,
    client_request_id text, retry_count smallint, request_bytes bigint, hold_nano_usd bigint, hold_tokens bigint,
    flags text[]);

CREATE TYPE billing_end AS (
    id uuid, state text, usage_source text, status smallint, response_id text, served_model text, service_tier text,
    upstream_request_id text, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, delta_events bigint, tool_calls jsonb, reported_usage jsonb, cost_nano_usd bigint,
    lines jsonb, flags text[], first_byte_ms int, latency_ms int);

CREATE FUNCTION billing_holds_of(items json) RETURNS SETOF billing_new_hold LANGUAGE sql STABLE AS $$
    SELECT * FROM json_populate_recordset(
        (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', '', 0, NULL, NULL, NULL,
            '{}')::billing_new_hold, items);
$$;

CREATE FUNCTION billing_ends_of(items json) RETURNS SETOF billing_end LANGUAGE sql STABLE AS $$
    SELECT * FROM json_populate_recordset(
        (NULL, NULL, NULL, NULL, '', '', '', '', 0, 0, 0, 0, 0, 0, '{}', NULL, 0, '[]', '{}', NULL, NULL)::billing_end,
        items);
$$;
