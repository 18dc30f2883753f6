-- The functions that billing/metering calls. What a batch is says items.sql. Locks are taken in one order everywhere: holds
-- and records by id, then windows by id.

-- What a request takes of a quota: `amount` against a hard one, nothing against a soft one.
CREATE OR REPLACE FUNCTION billing_held_amount(held_as text, nano_usd bigint, tokens bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE held_as WHEN 'hard cost' THEN nano_usd WHEN 'hard tokens' THEN tokens WHEN 'hard requests' THEN 1 ELSE 0 END;
$$;

-- What a request that has ended leaves on a window. Never more than it held of a hard one.
CREATE OR REPLACE FUNCTION billing_posted_amount(
    held_as text, held bigint, cost bigint, charged bigint, tokens bigint, requests int) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE held_as WHEN 'hard cost' THEN charged WHEN 'soft cost' THEN cost WHEN 'hard tokens' THEN least(tokens, held)
        WHEN 'soft tokens' THEN tokens ELSE requests END;
$$;

CREATE OR REPLACE FUNCTION billing_end_flags(
    flags text[], overage bigint, tokens bigint, hold_tokens bigint, held_as text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT flags || CASE WHEN overage > 0 THEN '{overage}'::text[] ELSE '{}' END
        || CASE WHEN tokens > hold_tokens AND 'hard tokens' = ANY (held_as) THEN '{tokens_over_hold}'::text[] ELSE '{}' END;
$$;

-- Opens what windows the holds need, locks all that they count on, in their order, and returns them as they are then.
CREATE OR REPLACE FUNCTION billing_lock_windows(holds json) RETURNS SETOF billing_quotawindow LANGUAGE plpgsql AS $$
DECLARE
    scopes uuid[] := ARRAY(
        SELECT DISTINCT scope.id FROM json_to_recordset(holds) AS h(organization_id uuid, project_id uuid, api_key_id uuid)
        CROSS JOIN LATERAL (VALUES (h.organization_id), (h.project_id), (h.api_key_id)) AS scope(id));
BEGIN
    PERFORM billing_open_windows(scopes);
    RETURN QUERY SELECT * FROM billing_quotawindow WHERE id IN (
        SELECT q.window_id FROM billing_quota q WHERE q.scope_id = ANY (scopes) AND q.retired_at IS NULL)
    ORDER BY id FOR NO KEY UPDATE;
END $$;

-- Holds one by one, where the fast path gave up: all windows are locked first, and each changed once. Returns a JSON
-- object of the ids: {"outcome": "held" | "exists" | "ended" | "refused" | "unpriced", "lacking": [{level, name, metric,
-- period, is_credit, limit, needed, left, renews_at}]}, the quota with the least left first. "exists": it is held; "ended":
-- so is nothing any more, and the request may not begin.
CREATE OR REPLACE FUNCTION billing_hold_exactly(holds json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    item record;
    taken record;
    found_as text;
    lacking json;
    outcomes jsonb := '{}';
    windows bigint[];
    room bigint[];
    added bigint[];
BEGIN
    -- Read as they are once locked; what was current a moment later is not among them.
    SELECT array_agg(w.id), array_agg(w.limit_amount - w.posted - w.held), array_agg(0::bigint) INTO windows, room, added
    FROM billing_lock_windows(holds) w;
    FOR item IN
        SELECT * FROM billing_holds_of(holds)
    LOOP
        found_as := CASE WHEN EXISTS (SELECT FROM billing_usagerecord WHERE id = item.id) THEN 'ended'
            WHEN EXISTS (SELECT FROM billing_hold WHERE id = item.id) THEN 'exists' END;
        IF found_as IS NOT NULL THEN
            outcomes := outcomes || jsonb_build_object(item.id, jsonb_build_object('outcome', found_as));
            CONTINUE;
        END IF;
        SELECT coalesce(array_agg(array_position(windows, q.window_id)), '{}') AS positions,
            coalesce(array_agg(q.window_id), '{}') AS window_ids, coalesce(array_agg(q.held_as), '{}') AS held_as,
            coalesce(array_agg(billing_held_amount(q.held_as, item.hold_nano_usd, item.hold_tokens)), '{}') AS amounts,
            coalesce(bool_or(q.held_as = 'hard cost'), false) AS is_bound
        INTO taken
        FROM billing_quota q
        WHERE q.scope_id IN (item.organization_id, item.project_id, item.api_key_id) AND q.retired_at IS NULL;
        IF array_position(taken.positions, NULL) IS NOT NULL THEN  -- set, or begun anew, this very moment
            RAISE EXCEPTION 'quotas changed meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
        IF taken.is_bound AND item.price_id IS NULL THEN
            outcomes := outcomes || jsonb_build_object(item.id, jsonb_build_object('outcome', 'unpriced'));
            CONTINUE;
        END IF;
        SELECT json_agg(json_build_object('level', q.level, 'name', billing_scope_name(q.level, q.scope_id),
                'metric', q.metric, 'period', q.period, 'is_credit', q.is_credit, 'limit', q.limit_amount,
                'needed', t.amount, 'left', greatest(0, room[t.position]),
                'renews_at', CASE WHEN q.period <> 'forever' THEN q.window_ends_at END)
            ORDER BY room[t.position], t.position)
        INTO lacking
        FROM unnest(taken.positions, taken.window_ids, taken.amounts) AS t(position, window_id, amount)
        JOIN billing_quota q ON q.window_id = t.window_id
        WHERE t.amount > room[t.position] AND t.amount > 0;
        IF lacking IS NOT NULL THEN
            outcomes := outcomes
                || jsonb_build_object(item.id, jsonb_build_object('outcome', 'refused', 'lacking', lacking));
            CONTINUE;
        END IF;
        INSERT INTO billing_hold (
            id, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id, upstream,
            upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count, request_bytes,
            hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, flags, created_at)
        VALUES (item.id, item.organization_id, item.project_id, item.api_key_id, item.process_id, item.endpoint,
            item.model, item.upstream_id, item.upstream, item.upstream_model, item.price_id, item.stream,
            item.asked_service_tier, item.client_request_id, item.retry_count, item.request_bytes, item.hold_nano_usd,
            item.hold_tokens, taken.is_bound, taken.window_ids, taken.held_as, taken.amounts, item.flags, now())
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN  -- another call has just written it
            outcomes := outcomes || jsonb_build_object(item.id, jsonb_build_object('outcome', 'exists'));
            CONTINUE;
        END IF;
        FOR i IN 1 .. coalesce(array_length(taken.positions, 1), 0) LOOP
            room[taken.positions[i]] := room[taken.positions[i]] - taken.amounts[i];
            added[taken.positions[i]] := added[taken.positions[i]] + taken.amounts[i];
        END LOOP;
        outcomes := outcomes || jsonb_build_object(item.id, jsonb_build_object('outcome', 'held'));
    END LOOP;
    UPDATE billing_quotawindow w SET held = w.held + a.amount
    FROM unnest(windows, added) AS a(id, amount) WHERE w.id = a.id AND a.amount > 0;
    RETURN outcomes;
END $$;

-- How good a source of usage is: what is reported, drained or recovered is the truth.
CREATE OR REPLACE FUNCTION billing_is_truth(usage_source text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT usage_source IN ('reported', 'drained', 'recovered');
$$;

-- Ends whose hold is not there (any more): a repetition changes nothing, the truth after an estimate becomes the
-- record's one adjustment. Returns a JSON object: id -> "exists" | "adjusted" | "unknown".
-- A hold that came back to life beside its record (a call whose connection was lost, carried out late) is released.
CREATE OR REPLACE FUNCTION billing_end_exactly(ends json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[] := ARRAY(SELECT (value ->> 'id')::uuid FROM json_array_elements(ends));
    item record;
    ended billing_usagerecord;
    ghost billing_hold;
    outcomes jsonb := '{}';
BEGIN
    -- All locks first, in the order of all. Who is just ending one of them has done so when these return.
    PERFORM FROM billing_hold WHERE id = ANY (ids) ORDER BY id FOR UPDATE;
    PERFORM FROM billing_usagerecord WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    PERFORM FROM billing_quotawindow WHERE id IN (
        SELECT unnest(window_ids) FROM billing_hold WHERE id = ANY (ids)
        UNION SELECT unnest(window_ids) FROM billing_usagerecord WHERE id = ANY (ids))
    ORDER BY id FOR NO KEY UPDATE;
    FOR item IN SELECT e.id, e.value FROM (
        SELECT (value ->> 'id')::uuid AS id, value FROM json_array_elements(ends)) e ORDER BY e.id
    LOOP
        SELECT * INTO ended FROM billing_usagerecord WHERE id = item.id;
        IF NOT FOUND THEN
            IF EXISTS (SELECT FROM billing_hold WHERE id = item.id) THEN
                PERFORM billing_write(ARRAY[item.id], json_build_array(item.value), '{}', '[]');
                outcomes := outcomes || jsonb_build_object(item.id, 'ended');
            ELSE
                outcomes := outcomes || jsonb_build_object(item.id, 'unknown');
            END IF;
            CONTINUE;
        END IF;
        DELETE FROM billing_hold WHERE id = item.id RETURNING * INTO ghost;
        IF FOUND THEN
            PERFORM billing_post_to_windows(ghost.window_ids, ghost.held_amounts,
                array_fill(0::bigint, ARRAY[cardinality(ghost.window_ids)]));
        END IF;
        IF billing_is_truth(ended.usage_source) OR NOT billing_is_truth(item.value ->> 'usage_source')
            OR EXISTS (SELECT FROM billing_adjustment WHERE record_id = item.id) THEN
            outcomes := outcomes || jsonb_build_object(item.id, 'exists');
        ELSE
            PERFORM billing_adjust(ended, item.value);
            outcomes := outcomes || jsonb_build_object(item.id, 'adjusted');
        END IF;
    END LOOP;
    RETURN outcomes;
END $$;

-- Releases `held` and posts `posted`, window by window. The caller has locked them.
CREATE OR REPLACE FUNCTION billing_post_to_windows(window_ids bigint[], held bigint[], posted bigint[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE billing_quotawindow w SET held = w.held - d.held, posted = w.posted + d.posted
    FROM (SELECT * FROM unnest(window_ids, held, posted) AS d(id, held, posted)) d WHERE w.id = d.id;
$$;

-- The difference that the truth makes to a record that ended by an estimate, or as void. The record stays as it is; its
-- windows, which the caller has locked, are posted what fits, the rest is overage.
CREATE OR REPLACE FUNCTION billing_adjust(was billing_usagerecord, truth json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new record;
    charge bigint;
    charged bigint;
    tokens bigint;
    requests int;
    changes bigint[];
BEGIN
    SELECT * INTO new FROM billing_ends_of(json_build_array(truth));
    IF least(new.input_tokens, new.cached_tokens, new.cache_write_tokens, new.output_tokens, new.reasoning_tokens,
        new.cost_nano_usd) < 0 THEN
        RAISE EXCEPTION 'usage below zero' USING ERRCODE = 'check_violation';
    END IF;
    tokens := new.input_tokens + new.output_tokens;
    requests := (was.state = 'void')::int;
    charge := CASE WHEN was.is_bound THEN least(new.cost_nano_usd, was.hold_nano_usd) ELSE new.cost_nano_usd END;
    -- A charge counts on each hard cost window, so the fullest decides. What was charged before stays posted.
    SELECT least(charge, was.charged_nano_usd + min(w.ceiling - w.posted - w.held)) INTO charged
    FROM unnest(was.window_ids, was.held_as) AS h(id, held_as) JOIN billing_quotawindow w ON w.id = h.id
    WHERE h.held_as = 'hard cost';
    charged := coalesce(charged, charge);
    SELECT array_agg(least(
            billing_posted_amount(h.held_as, h.held, new.cost_nano_usd, charged, tokens, 1)
                - billing_posted_amount(h.held_as, h.held, was.cost_nano_usd, was.charged_nano_usd,
                    was.input_tokens + was.output_tokens, (was.state = 'settled')::int),
            w.ceiling - w.posted - w.held) ORDER BY h.position)
        INTO changes
    FROM unnest(was.window_ids, was.held_as, was.held_amounts) WITH ORDINALITY AS h(id, held_as, held, position)
    JOIN billing_quotawindow w ON w.id = h.id;
    PERFORM billing_post_to_windows(was.window_ids, array_fill(0::bigint, ARRAY[cardinality(was.window_ids)]), changes);
    INSERT INTO billing_adjustment (
        record_id, organization_id, project_id, api_key_id, model, upstream_id, usage_source, response_id, served_model,
        service_tier, requests, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
        tool_calls, reported_usage, cost_nano_usd, charged_nano_usd, overage_nano_usd, window_ids, posted_amounts, lines,
        flags, created_at)
    VALUES (was.id, was.organization_id, was.project_id, was.api_key_id, was.model, was.upstream_id, new.usage_source,
        new.response_id, new.served_model, new.service_tier, requests, new.input_tokens - was.input_tokens,
        new.cached_tokens - was.cached_tokens, new.cache_write_tokens - was.cache_write_tokens,
        new.output_tokens - was.output_tokens, new.reasoning_tokens - was.reasoning_tokens, new.tool_calls,
        new.reported_usage, new.cost_nano_usd - was.cost_nano_usd, charged - was.charged_nano_usd,
        (new.cost_nano_usd - charged) - was.overage_nano_usd, was.window_ids, coalesce(changes, '{}'), new.lines,
        billing_end_flags(new.flags, new.cost_nano_usd - charged, tokens, was.hold_tokens, was.held_as), now());
    INSERT INTO billing_unposted (record_id, is_adjustment) VALUES (was.id, true);
END $$;

-- What is known so far of open requests, in case that all of their host is lost.
CREATE OR REPLACE FUNCTION billing_mark_progress(marks json) RETURNS void LANGUAGE sql AS $$
    UPDATE billing_hold h SET response_id = m.response_id, progress = m.progress
    FROM json_to_recordset(marks) AS m(id uuid, response_id text, progress jsonb) WHERE h.id = m.id;
$$;
