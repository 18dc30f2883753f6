-- Quotas and their windows. A quota points to its current window; the one who finds that it is over opens the next.

-- Half of each page is left free, so that a change of what is posted and held stays on its page and touches no index.
ALTER TABLE billing_quotawindow SET (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);

-- Locks are taken in the order: quotas by id, then windows by id.
CREATE OR REPLACE FUNCTION billing_open_windows(scopes uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    quota record;
    today timestamp;  -- in the organization's time zone
    first timestamptz;
    next timestamptz;
    opened bigint;
BEGIN
    FOR quota IN
        SELECT q.id, q.metric, q.period, q.is_hard, q.limit_amount, q.window_ends_at, o.time_zone
        FROM billing_quota q JOIN accounts_organization o ON o.id = q.organization_id
        WHERE q.scope_id = ANY (scopes) AND q.retired_at IS NULL
            AND (q.window_ends_at IS NULL OR q.window_ends_at <= now())
        ORDER BY q.id FOR NO KEY UPDATE OF q
    LOOP
        IF quota.period = 'forever' THEN
            first := now();
            next := '9999-12-31T00:00:00Z';
        ELSE
            today := date_trunc(quota.period, now() AT TIME ZONE quota.time_zone);
            -- Not before the last one ended: the organization may have moved to another time zone.
            first := greatest(today AT TIME ZONE quota.time_zone, quota.window_ends_at);
            next := (today + ('1 ' || quota.period)::interval) AT TIME ZONE quota.time_zone;
        END IF;
        INSERT INTO billing_quotawindow (
            quota_id, starts_at, ends_at, metric, is_hard, limit_amount, ceiling, posted, held)
        VALUES (quota.id, first, next, quota.metric, quota.is_hard, quota.limit_amount,
            CASE WHEN quota.is_hard THEN quota.limit_amount END, 0, 0)
        RETURNING id INTO opened;
        UPDATE billing_quota SET window_id = opened, window_ends_at = next WHERE id = quota.id;
    END LOOP;
END $$;

-- A new limit counts at once. A hard quota's ceiling never falls below what is used: what is used stays legal.
CREATE OR REPLACE FUNCTION billing_set_limit(quota uuid, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_quota SET limit_amount = amount WHERE id = quota;
    UPDATE billing_quotawindow w
        SET limit_amount = amount, ceiling = CASE WHEN w.is_hard THEN greatest(amount, w.posted + w.held) END
        FROM billing_quota q WHERE q.id = quota AND w.id = q.window_id AND w.ends_at > now();
END $$;

-- How people call what a quota is on.
CREATE OR REPLACE FUNCTION billing_scope_name(level text, scope uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE level
        WHEN 'organization' THEN (SELECT name FROM accounts_organization WHERE id = scope)
        WHEN 'project' THEN (
            SELECT o.name || '/' || p.name FROM accounts_project p JOIN accounts_organization o ON o.id = p.organization_id
            WHERE p.id = scope)
        ELSE (SELECT name || ' ' || hint FROM accounts_apikey WHERE id = scope) END;
$$;
