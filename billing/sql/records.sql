-- An admitted request is one row: of billing_hold while it is open, of billing_usagerecord once it has ended. Only
-- batches.sql, metering.sql and lost_holds.sql write them, and move a request from the one to the other in one
-- transaction.

CREATE TABLE billing_hold (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    project_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    process_id uuid NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    upstream_id uuid NOT NULL,
    upstream text NOT NULL,
    upstream_model text NOT NULL,
    price_id uuid,
    stream boolean NOT NULL,
    asked_service_tier text NOT NULL,
    client_request_id text NOT NULL,
    retry_count smallint NOT NULL,
    request_bytes bigint NOT NULL,
    hold_nano_usd bigint NOT NULL,
    hold_tokens bigint NOT NULL,
    is_bound boolean NOT NULL,
    window_ids bigint[] NOT NULL,
    held_as text[] NOT NULL,
    held_amounts bigint[] NOT NULL,
    flags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    response_id text NOT NULL DEFAULT '',
    progress jsonb,
    CONSTRAINT hold_is_not_below_zero CHECK (least(request_bytes, hold_nano_usd, hold_tokens) >= 0)
) WITH (
    -- As many rows leave as come: dead ones are taken away by their number, not by their share.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);

-- By month of the id, a UUIDv7 whose first 48 bits are milliseconds since 1970. A record is never changed.
CREATE TABLE billing_usagerecord (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('settled', 'void')),
    usage_source text NOT NULL CHECK (usage_source IN ('reported', 'drained', 'estimated', 'recovered', 'none')),
    organization_id uuid NOT NULL,
    project_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    process_id uuid NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    upstream_id uuid NOT NULL,
    upstream text NOT NULL,
    upstream_model text NOT NULL,
    price_id uuid,
    stream boolean NOT NULL,
    asked_service_tier text NOT NULL,
    client_request_id text NOT NULL,
    retry_count smallint NOT NULL,
    request_bytes bigint NOT NULL,
    status smallint,
    response_id text NOT NULL,
    served_model text NOT NULL,
    service_tier text NOT NULL,
    upstream_request_id text NOT NULL,
    input_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    delta_events bigint NOT NULL,
    tool_calls jsonb NOT NULL,
    reported_usage jsonb,
    hold_nano_usd bigint NOT NULL,
    hold_tokens bigint NOT NULL,
    is_bound boolean NOT NULL,
    window_ids bigint[] NOT NULL,
    held_as text[] NOT NULL,
    held_amounts bigint[] NOT NULL,
    cost_nano_usd bigint NOT NULL,
    charged_nano_usd bigint NOT NULL,
    overage_nano_usd bigint NOT NULL,
    lines jsonb NOT NULL,
    flags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    first_byte_ms integer,
    latency_ms integer,
    -- In one: each constraint is read anew by every call that writes here.
    CONSTRAINT nothing_is_below_zero CHECK (
        least(input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, delta_events,
            cost_nano_usd, charged_nano_usd, overage_nano_usd) >= 0),
    CONSTRAINT cost_is_charged_or_overage CHECK (cost_nano_usd = charged_nano_usd + overage_nano_usd),
    CONSTRAINT bound_charge_is_within_its_hold CHECK (NOT is_bound OR charged_nano_usd <= hold_nano_usd),
    CONSTRAINT void_costs_nothing CHECK (state <> 'void' OR cost_nano_usd = 0)
) PARTITION BY RANGE (id);

CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;
-- Not by id: a plan made while the table was small would look ids up here, reading all of it once it has grown.
CREATE INDEX billing_usagerecord_of_organization ON billing_usagerecord (organization_id, created_at);
-- Rows lie in the order of their ends, nearly in that of their beginnings: a few bytes for each thousand of them.
CREATE INDEX billing_usagerecord_by_time ON billing_usagerecord USING brin (created_at, ended_at)
    WITH (autosummarize = on);

-- What has ended, or was adjusted, and is not in the rollups and the ledger yet. The posting takes it out.
CREATE TABLE billing_unposted (
    record_id uuid NOT NULL,
    is_adjustment boolean NOT NULL DEFAULT false,
    PRIMARY KEY (record_id, is_adjustment)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE OR REPLACE FUNCTION billing_first_id_of(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(trunc(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
$$;

-- Makes this month's partition and those of the months ahead where they are missing; returns how many it made. What the
-- default partition holds of such a month moves over. Nobody can write meanwhile: where the lock cannot be had at once,
-- the call fails, and there are months of time for the next.
CREATE OR REPLACE FUNCTION billing_make_partitions(months_ahead int) RETURNS int LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
    month timestamp;  -- in UTC
    name text;
    first uuid;
    next uuid;
    made int := 0;
BEGIN
    FOR i IN 0..months_ahead LOOP
        month := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i);
        name := 'billing_usagerecord_' || to_char(month, 'YYYY_MM');
        IF to_regclass(name) IS NULL THEN
            LOCK TABLE billing_usagerecord IN ACCESS EXCLUSIVE MODE;
            first := billing_first_id_of(month AT TIME ZONE 'UTC');
            next := billing_first_id_of((month + make_interval(months => 1)) AT TIME ZONE 'UTC');
            EXECUTE format('CREATE TABLE %I (LIKE billing_usagerecord INCLUDING ALL)', name);
            EXECUTE format('WITH moved AS (DELETE FROM billing_usagerecord_default WHERE id >= %L AND id < %L RETURNING *)
                INSERT INTO %I SELECT * FROM moved', first, next, name);
            EXECUTE format('ALTER TABLE billing_usagerecord ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                first, next);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
