-- Quotas and their windows. A quota points to its current window; the one who finds that it is over opens the next.

-- Most of each page is left free: a change of what is posted and held stays on its page, touches no index, and the page
-- is tidied seldom.
ALTER TABLE billing_quotawindow SET (
    fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);

-- The calendar day or month in which `moment` lies, in that time zone; a quota for ever has one window from then on.
CREATE OR REPLACE FUNCTION billing_window_at(
    period text, time_zone text, moment timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    first timestamp;  -- midnight, by the zone's clocks
BEGIN
    IF period = 'forever' THEN
        starts_at := moment;
        ends_at := '9999-12-31T00:00:00Z';
        RETURN;
    END IF;
    first := date_trunc(period, moment AT TIME ZONE time_zone);
    IF first AT TIME ZONE time_zone > moment THEN  -- clocks go back over midnight: the day begins when it comes again
        first := first - ('1 ' || period)::interval;
    END IF;
    starts_at := first AT TIME ZONE time_zone;
    ends_at := (first + ('1 ' || period)::interval) AT TIME ZONE time_zone;
END $$;

-- Opens a window for each live quota of the scopes that has none at `moment`. Locks: quotas by organization and id, then
-- windows by id. So an organization's windows are neighbours: a request changes one page, or two.
CREATE OR REPLACE FUNCTION billing_open_windows(scopes uuid[], moment timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    quota record;
    opened bigint;
BEGIN
    FOR quota IN
        SELECT q.id, q.metric, q.period, q.is_hard, q.limit_amount, q.window_ends_at, o.time_zone
        FROM billing_quota q JOIN accounts_organization o ON o.id = q.organization_id
        WHERE q.scope_id = ANY (scopes) AND q.retired_at IS NULL
            AND (q.window_ends_at IS NULL OR q.window_ends_at <= moment)
        ORDER BY q.organization_id, q.id FOR NO KEY UPDATE OF q
    LOOP
        -- Not before the last one ended: the organization may have moved to another time zone.
        INSERT INTO billing_quotawindow (
            quota_id, starts_at, ends_at, metric, is_hard, limit_amount, ceiling, posted, held)
        SELECT quota.id, greatest(w.starts_at, quota.window_ends_at), w.ends_at, quota.metric, quota.is_hard,
            quota.limit_amount, CASE WHEN quota.is_hard THEN quota.limit_amount END, 0, 0
        FROM billing_window_at(quota.period, quota.time_zone, moment) w
        RETURNING id INTO opened;
        UPDATE billing_quota q SET window_id = opened, window_ends_at = w.ends_at
        FROM billing_quotawindow w WHERE w.id = opened AND q.id = quota.id;
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
