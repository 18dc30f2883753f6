-- The functions that gateway/ownership/ calls. A batch is a JSON array; the answer is one too, in the same order.

-- Owner rows and what was issued; the first owner of an id keeps it. An id is one upstream's: what another upstream calls
-- the same is something else. True for each item whose id is its project's own.
CREATE OR REPLACE FUNCTION gateway_own(items json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    number int;
    named int;  -- of them with an id
    added int;
    deletes boolean;
BEGIN
    INSERT INTO gateway_issued (record_id, organization_id, project_id, upstream_id, digests)
    SELECT i.record_id, i.organization_id, i.project_id, i.upstream_id, i.digests
    FROM json_to_recordset(items) AS i(
        organization_id uuid, project_id uuid, upstream_id uuid, record_id uuid, digests bigint[])
    WHERE cardinality(i.digests) > 0 ORDER BY i.record_id
    ON CONFLICT DO NOTHING;
    IF strpos(items::text, '"response_id":') = 0 THEN  -- a key that no item has: answers that are not stored
        RETURN array_to_json(array_fill(true, ARRAY[json_array_length(items)]));
    END IF;
    WITH item AS MATERIALIZED (
        SELECT * FROM ROWS FROM (json_to_recordset(items) AS (
            response_id text, organization_id uuid, project_id uuid, upstream_id uuid, record_id uuid,
            is_deleted boolean)) WITH ORDINALITY
            AS i(response_id, organization_id, project_id, upstream_id, record_id, is_deleted, n)
    ), owned AS (
        -- In the order of ids: two processes that insert the same ones do not wait for each other.
        INSERT INTO gateway_responseowner (response_id, organization_id, project_id, upstream_id, record_id, created_at)
        SELECT DISTINCT ON (response_id, upstream_id) response_id, organization_id, project_id, upstream_id, record_id, now()
        FROM item WHERE response_id <> '' ORDER BY response_id, upstream_id, n
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT count(*), count(*) FILTER (WHERE response_id <> ''), (SELECT count(*) FROM owned), bool_or(is_deleted)
    INTO number, named, added, deletes FROM item;
    IF deletes THEN
        UPDATE gateway_responseowner o SET deleted_at = now()
        FROM json_to_recordset(items) AS i(response_id text, project_id uuid, upstream_id uuid, is_deleted boolean)
        WHERE i.is_deleted AND o.deleted_at IS NULL
            AND (o.response_id, o.upstream_id, o.project_id) = (i.response_id, i.upstream_id, i.project_id)
            -- So that no plan, made while there were few owners, reads all of them.
            AND o.response_id = ANY (ARRAY(SELECT item ->> 'response_id' FROM json_array_elements(items) item));
    END IF;
    IF added = named THEN  -- nobody had any of them
        RETURN array_to_json(array_fill(true, ARRAY[number]));
    END IF;
    -- A statement of its own: it sees the rows for which the first one waited.
    RETURN (
        SELECT json_agg(coalesce(o.project_id = i.project_id, true) ORDER BY i.n)
        FROM ROWS FROM (json_to_recordset(items) AS (response_id text, project_id uuid, upstream_id uuid)) WITH ORDINALITY
            AS i(response_id, project_id, upstream_id, n)
        LEFT JOIN gateway_responseowner o ON (o.response_id, o.upstream_id) = (i.response_id, i.upstream_id));
END;
$$;

-- For each item the project's own among the responses it names, the oldest first, with what their records have used where
-- that was reported; and by upstream to whom its digests were issued: `scope` is the nearest, 0 the project, 1 another one
-- of the organization, 2 somebody else; `is_own` where the project was the first.
CREATE OR REPLACE FUNCTION gateway_named(items json) RETURNS json LANGUAGE plpgsql STABLE
SET enable_bitmapscan = on AS $$ -- all that a GIN index can
BEGIN
    RETURN (
        SELECT json_agg(json_build_object(
            'responses', (
                SELECT coalesce(json_agg(json_build_object(
                    'response_id', o.response_id, 'organization_id', o.organization_id, 'project_id', o.project_id,
                    'upstream_id', o.upstream_id, 'record_id', o.record_id, 'tokens', r.tokens) ORDER BY o.created_at), '[]')
                FROM gateway_responseowner o
                LEFT JOIN LATERAL (
                    SELECT u.input_tokens + u.output_tokens AS tokens FROM billing_usagerecord u
                    WHERE u.id = o.record_id AND u.usage_source IN ('reported', 'drained', 'recovered')) r ON true
                WHERE o.response_id = ANY (i.responses) AND o.project_id = i.project_id AND o.deleted_at IS NULL),
            'issued', (
                SELECT coalesce(json_agg(d), '[]') FROM (
                    SELECT digest, upstream_id, min(scope) AS scope, (array_agg(scope ORDER BY record_id))[1] = 0 AS is_own
                    FROM (
                        SELECT digest, s.record_id, s.upstream_id, CASE WHEN s.project_id = i.project_id THEN 0
                            WHEN s.organization_id = i.organization_id THEN 1 ELSE 2 END AS scope
                        -- Each by itself: two long lists would be compared name by name where no index is used.
                        FROM unnest(i.digests) AS digest CROSS JOIN LATERAL (
                            SELECT * FROM gateway_issued WHERE digests @> ARRAY[digest] OFFSET 0) s) s
                    GROUP BY digest, upstream_id ORDER BY (array_agg(record_id ORDER BY record_id DESC))[1] DESC) d)) ORDER BY i.n)
        FROM ROWS FROM (json_to_recordset(items) AS (
            responses text[], digests bigint[], organization_id uuid, project_id uuid)) WITH ORDINALITY
            AS i(responses, digests, organization_id, project_id, n));
END;
$$;
