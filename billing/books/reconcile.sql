-- The checks of reconcile.py. Each begins with a line of its name and the invariant it is for, and selects everything
-- that it looks at: an id, and what is wrong with it in one sentence, NULL where nothing is.
-- since: NULL looks at everything; a time, at what may have changed from then on. Both are known when the statement is
-- planned, so a condition on a `since` that is NULL costs nothing.

--- windows_are_within_their_ceilings I1
SELECT w.id, CASE
    WHEN q.id IS NULL THEN 'its quota ' || w.quota_id || ' is not there'
    WHEN w.posted < 0 OR w.held < 0 THEN 'posted ' || w.posted || ' and held ' || w.held || ': one is below zero'
    WHEN w.is_hard AND w.ceiling IS NULL THEN 'hard, but without a ceiling'
    WHEN NOT w.is_hard AND w.ceiling IS NOT NULL THEN 'soft, but with a ceiling of ' || w.ceiling
    WHEN w.ceiling < w.limit_amount THEN 'ceiling ' || w.ceiling || ' is below the limit ' || w.limit_amount
    WHEN w.posted + w.held > w.ceiling THEN 'posted ' || w.posted || ' + held ' || w.held || ' > ceiling ' || w.ceiling
    END
FROM billing_quotawindow w LEFT JOIN billing_quota q ON q.id = w.quota_id
WHERE %(since)s::timestamptz IS NULL OR w.ends_at > %(since)s::timestamptz

--- windows_do_not_overlap I1
SELECT w.id, CASE
    WHEN w.ends_at <= w.starts_at THEN 'it ends at ' || w.ends_at || ', and does not begin before'
    WHEN w.one_before > w.starts_at THEN 'it starts at ' || w.starts_at || ', the one before ends at ' || w.one_before
    END
FROM (
    SELECT id, starts_at, ends_at, lag(ends_at) OVER (PARTITION BY quota_id ORDER BY starts_at, id) AS one_before
    FROM billing_quotawindow
    WHERE %(since)s::timestamptz IS NULL OR ends_at > %(since)s::timestamptz - interval '32 days') w

--- quotas_point_to_their_windows I1
SELECT q.id, CASE
    WHEN (q.window_id IS NULL) <> (q.window_ends_at IS NULL) THEN 'of window_id and window_ends_at one is empty'
    WHEN q.window_id IS NULL AND newest.id IS NULL THEN NULL
    WHEN q.window_id IS NULL THEN 'it has a window ' || newest.id || ' and points to none'
    WHEN w.id IS NULL THEN 'its window ' || q.window_id || ' is not there'
    WHEN w.quota_id <> q.id THEN 'its window ' || w.id || ' belongs to quota ' || w.quota_id
    WHEN w.id <> newest.id THEN 'it points to window ' || w.id || ', the newest is ' || newest.id
    WHEN w.ends_at <> q.window_ends_at THEN 'window ' || w.id || ' ends at ' || w.ends_at || ', not at ' || q.window_ends_at
    WHEN w.metric <> q.metric OR w.is_hard <> q.is_hard THEN 'window ' || w.id || ' counts ' || w.metric
        || CASE WHEN w.is_hard THEN ' (hard)' ELSE ' (soft)' END || ', the quota is ' || q.held_as
    -- A new limit leaves a window as it is that is over.
    WHEN w.limit_amount <> q.limit_amount AND w.ends_at > now()
        THEN 'the limit is ' || q.limit_amount || ', that of window ' || w.id || ' ' || w.limit_amount
    END
FROM billing_quota q
    LEFT JOIN billing_quotawindow w ON w.id = q.window_id
    LEFT JOIN LATERAL (
        SELECT n.id FROM billing_quotawindow n WHERE n.quota_id = q.id ORDER BY n.starts_at DESC LIMIT 1) newest ON true
WHERE q.retired_at IS NULL

--- quotas_belong_to_one_organization I1
SELECT q.id, CASE
    WHEN p.organization_id <> q.organization_id THEN 'its project ' || p.id || ' is of organization ' || p.organization_id
    WHEN k.project_id <> q.project_id THEN 'its key ' || k.id || ' is of project ' || k.project_id
    WHEN owner.organization_id <> q.organization_id THEN 'its key ' || k.id || ' is of organization ' || owner.organization_id
    END
FROM billing_quota q
    LEFT JOIN accounts_project p ON p.id = q.project_id
    LEFT JOIN accounts_apikey k ON k.id = q.api_key_id
    LEFT JOIN accounts_project owner ON owner.id = k.project_id

--- credit_is_what_was_granted I1
SELECT q.id, CASE
    WHEN (q.metric, q.period, q.is_hard, q.level) <> ('cost', 'forever', true, 'organization')
        THEN 'credit is hard, in USD, for ever and of an organization; this is ' || q.held_as || ' ' || q.period || ' of ' || q.level
    WHEN q.limit_amount <> coalesce(granted.amount, 0)
        THEN 'the limit is ' || q.limit_amount || ', grants and refunds are ' || coalesce(granted.amount, 0)
    END
FROM billing_quota q LEFT JOIN LATERAL (
    SELECT sum(e.amount_nano_usd) AS amount FROM billing_ledgerentry e
    WHERE e.organization_id = q.organization_id AND e.account = 'organization' AND e.kind IN ('grant', 'refund')
    ) granted ON true
WHERE q.is_credit AND q.retired_at IS NULL

--- postings_sum_to_zero I2
SELECT posting_id, CASE
    WHEN sum(amount_nano_usd) <> 0 THEN 'its entries sum to ' || sum(amount_nano_usd) || ' nano-USD'
    WHEN min(organization_id::text) <> max(organization_id::text) THEN 'its entries are of several organizations'
    WHEN min(kind) <> max(kind) THEN 'its entries are of several kinds'
    END
FROM billing_ledgerentry
WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s::timestamptz
GROUP BY posting_id

--- windows_hold_what_is_open I3
SELECT w.id, CASE WHEN w.held <> coalesce(open.held, 0)
    THEN 'held ' || w.held || ', its open requests hold ' || coalesce(open.held, 0) END
FROM billing_quotawindow w LEFT JOIN (
    SELECT h.id, sum(h.held) AS held
    FROM billing_hold CROSS JOIN LATERAL unnest(window_ids, held_amounts) AS h(id, held) GROUP BY h.id) open USING (id)
WHERE %(since)s::timestamptz IS NULL OR w.ends_at > %(since)s::timestamptz OR w.held > 0 OR open.held > 0

--- windows_are_posted_what_was_used I3
-- Only of windows that began a day before `since` or later: of the others all records would have to be read. A record may
-- be a little older than the window that it counts on, where another transaction opened that.
SELECT w.id, CASE WHEN w.posted <> coalesce(used.amount, 0)
    THEN 'posted ' || w.posted || ', its records and adjustments sum to ' || coalesce(used.amount, 0) END
FROM billing_quotawindow w LEFT JOIN (
    SELECT id, sum(amount) AS amount FROM (
        SELECT h.id, billing_posted_amount(h.held_as, h.held, r.cost_nano_usd, r.charged_nano_usd,
            r.input_tokens + r.output_tokens, (r.state = 'settled')::int) AS amount
        FROM billing_usagerecord r
            CROSS JOIN LATERAL unnest(r.window_ids, r.held_as, r.held_amounts) AS h(id, held_as, held)
        WHERE %(since)s::timestamptz IS NULL OR r.created_at > %(since)s::timestamptz - interval '26 hours'
        UNION ALL
        SELECT h.id, h.amount
        FROM billing_adjustment a CROSS JOIN LATERAL unnest(a.window_ids, a.posted_amounts) AS h(id, amount)) item
    GROUP BY id) used USING (id)
WHERE %(since)s::timestamptz IS NULL OR w.starts_at > %(since)s::timestamptz - interval '25 hours'

--- requests_count_on_their_windows I3
-- Whether windows and kinds fit the owner is decided once for all requests that have the same.
WITH request AS NOT MATERIALIZED (
    SELECT id, organization_id, project_id, api_key_id, hold_nano_usd, hold_tokens, window_ids, held_as, held_amounts
    FROM billing_usagerecord WHERE %(since)s::timestamptz IS NULL OR ended_at >= %(since)s::timestamptz
    UNION ALL
    SELECT id, organization_id, project_id, api_key_id, hold_nano_usd, hold_tokens, window_ids, held_as, held_amounts
    FROM billing_hold
), misfit AS MATERIALIZED (
    SELECT c.*, problem.what
    FROM (SELECT DISTINCT organization_id, project_id, api_key_id, window_ids, held_as FROM request) c
    CROSS JOIN LATERAL (
        SELECT min(CASE
            WHEN h.id IS NULL OR h.held_as IS NULL THEN 'it names another number of windows than of kinds'
            WHEN w.id IS NULL THEN 'its window ' || h.id || ' is not there'
            WHEN h.times > 1 THEN 'it counts on window ' || h.id || ' more than once'
            WHEN q.scope_id NOT IN (c.organization_id, c.project_id, c.api_key_id)
                THEN 'its window ' || h.id || ' is of quota ' || q.id || ', which is not on it'
            WHEN h.held_as <> CASE WHEN w.is_hard THEN 'hard ' ELSE 'soft ' END || w.metric
                THEN 'its window ' || h.id || ' is not ' || h.held_as
            END) AS what
        FROM (
            SELECT u.id, u.held_as, count(*) OVER (PARTITION BY u.id) AS times
            FROM unnest(c.window_ids, c.held_as) AS u(id, held_as)) h
        LEFT JOIN billing_quotawindow w ON w.id = h.id LEFT JOIN billing_quota q ON q.id = w.quota_id) problem
    WHERE problem.what IS NOT NULL
)
SELECT r.id, CASE
    WHEN m.what IS NOT NULL THEN m.what
    WHEN cardinality(r.held_amounts) <> cardinality(r.held_as) THEN 'it names another number of windows than of amounts'
    WHEN r.held_amounts <> ARRAY(
        SELECT billing_held_amount(k.held_as, r.hold_nano_usd, r.hold_tokens)
        FROM unnest(r.held_as) WITH ORDINALITY AS k(held_as, position) ORDER BY k.position)
        THEN 'it held ' || r.held_amounts::text || ', and its hold is ' || r.hold_nano_usd || ' nano-USD and '
            || r.hold_tokens || ' tokens'
    END
FROM request r LEFT JOIN misfit m ON m.window_ids = r.window_ids AND m.held_as = r.held_as
    AND m.api_key_id = r.api_key_id AND m.project_id = r.project_id AND m.organization_id = r.organization_id

--- requests_are_open_or_ended I4
SELECT h.id, CASE WHEN r.id IS NOT NULL THEN 'it ended at ' || r.ended_at || ', and is still open' END
FROM billing_hold h LEFT JOIN billing_usagerecord r ON r.id = h.id

--- open_requests_have_an_owner I4
SELECT h.id, CASE
    WHEN p.id IS NULL AND h.created_at < now() - %(gone)s::interval
        THEN 'open since ' || h.created_at || ', and its process ' || h.process_id || ' is unknown'
    WHEN coalesce(p.stopped_at, p.heartbeat_at) < now() - %(gone)s::interval
        THEN 'its process ' || p.id || ' is gone since ' || coalesce(p.stopped_at, p.heartbeat_at)
    WHEN h.created_at < now() - %(longest)s::interval THEN 'open since ' || h.created_at
    END
FROM billing_hold h LEFT JOIN billing_process p ON p.id = h.process_id

--- unposted_entries_have_their_record I4
SELECT u.record_id, CASE WHEN a.record_id IS NULL AND r.id IS NULL
    THEN CASE WHEN u.is_adjustment THEN 'an adjustment' ELSE 'a record' END || ' waits to be posted that is not there' END
FROM billing_unposted u
    LEFT JOIN billing_adjustment a ON u.is_adjustment AND a.record_id = u.record_id
    LEFT JOIN billing_usagerecord r ON NOT u.is_adjustment AND r.id = u.record_id

--- requests_have_known_owners I4
SELECT r.id, CASE
    WHEN o.id IS NULL THEN 'its organization ' || r.organization_id || ' is not there'
    WHEN p.id IS NULL THEN 'its project ' || r.project_id || ' is not there'
    WHEN k.id IS NULL THEN 'its key ' || r.api_key_id || ' is not there'
    WHEN p.organization_id <> r.organization_id THEN 'its project ' || p.id || ' is of organization ' || p.organization_id
    WHEN k.project_id <> r.project_id THEN 'its key ' || k.id || ' is of project ' || k.project_id
    END
FROM (
    SELECT id, organization_id, project_id, api_key_id FROM billing_usagerecord
    WHERE %(since)s::timestamptz IS NULL OR ended_at >= %(since)s::timestamptz
    UNION ALL
    SELECT id, organization_id, project_id, api_key_id FROM billing_hold) r
    LEFT JOIN accounts_organization o ON o.id = r.organization_id
    LEFT JOIN accounts_project p ON p.id = r.project_id
    LEFT JOIN accounts_apikey k ON k.id = r.api_key_id

--- adjustments_bring_the_truth I5
SELECT a.record_id, CASE
    WHEN r.id IS NULL THEN 'its record is not there'
    WHEN count(*) OVER (PARTITION BY a.record_id) > 1 THEN 'its record has more than one'
    WHEN billing_is_truth(r.usage_source) THEN 'its record ended ' || r.usage_source || ': there was nothing to adjust'
    WHEN NOT billing_is_truth(a.usage_source) THEN 'its source is ' || a.usage_source || ', no truth'
    WHEN (a.organization_id, a.project_id, a.api_key_id, a.model, a.upstream_id)
        <> (r.organization_id, r.project_id, r.api_key_id, r.model, r.upstream_id) THEN 'it counts in another bucket than its record'
    WHEN a.requests <> (r.state = 'void')::int THEN 'its record is ' || r.state || ', and it adds ' || a.requests || ' requests'
    END
FROM billing_adjustment a LEFT JOIN billing_usagerecord r ON r.id = a.record_id
WHERE %(since)s::timestamptz IS NULL OR a.created_at >= %(since)s::timestamptz

--- adjustments_are_exact I6
SELECT a.record_id, CASE
    WHEN a.cost_nano_usd <> a.charged_nano_usd + a.overage_nano_usd THEN 'cost ' || a.cost_nano_usd || ' is not charged '
        || a.charged_nano_usd || ' + overage ' || a.overage_nano_usd
    WHEN least(r.cost_nano_usd + a.cost_nano_usd, r.charged_nano_usd + a.charged_nano_usd,
        r.overage_nano_usd + a.overage_nano_usd) < 0 THEN 'it takes more than its record cost'
    WHEN least(r.input_tokens + a.input_tokens, r.cached_tokens + a.cached_tokens, r.output_tokens + a.output_tokens,
        r.cache_write_tokens + a.cache_write_tokens, r.reasoning_tokens + a.reasoning_tokens) < 0
        THEN 'it takes more tokens than its record used'
    WHEN r.is_bound AND r.charged_nano_usd + a.charged_nano_usd > r.hold_nano_usd
        THEN 'charged ' || r.charged_nano_usd + a.charged_nano_usd || ' with it > hold ' || r.hold_nano_usd
    WHEN NOT r.is_bound AND a.overage_nano_usd <> 0 THEN 'overage, and nothing was held against a hard cost quota'
    WHEN a.lines <> '[]' AND r.cost_nano_usd + a.cost_nano_usd IS DISTINCT FROM bill.cost
        THEN 'cost ' || r.cost_nano_usd + a.cost_nano_usd || ' with it, its lines say ' || coalesce(bill.cost::text, 'nothing')
    WHEN a.window_ids <> r.window_ids OR cardinality(a.window_ids) <> cardinality(a.posted_amounts)
        THEN 'its windows are not those of its record'
    WHEN change.is_wrong THEN 'it changed its windows by ' || a.posted_amounts::text || ', that is not its difference'
    END
FROM billing_adjustment a JOIN billing_usagerecord r ON r.id = a.record_id
    LEFT JOIN LATERAL (
        SELECT div(sum(l.amount_pico_usd) + 500, 1000) AS cost
        FROM jsonb_to_recordset(a.lines) AS l(amount_pico_usd numeric)) bill ON true
    LEFT JOIN LATERAL (
        -- A hard window of tokens or requests takes what fits, so no more is known than the most.
        SELECT bool_or(CASE WHEN d.held_as IN ('hard tokens', 'hard requests') THEN d.posted > d.most
            ELSE d.posted IS DISTINCT FROM d.most END) AS is_wrong
        FROM (
            SELECT h.held_as, h.posted, billing_posted_amount(h.held_as, h.held, r.cost_nano_usd + a.cost_nano_usd,
                r.charged_nano_usd + a.charged_nano_usd,
                r.input_tokens + a.input_tokens + r.output_tokens + a.output_tokens, 1)
                - billing_posted_amount(h.held_as, h.held, r.cost_nano_usd, r.charged_nano_usd,
                    r.input_tokens + r.output_tokens, (r.state = 'settled')::int) AS most
            FROM unnest(r.held_as, r.held_amounts, a.posted_amounts) AS h(held_as, held, posted)) d) change ON true
WHERE %(since)s::timestamptz IS NULL OR a.created_at >= %(since)s::timestamptz

--- records_are_charged_what_they_cost I6
SELECT r.id, CASE
    WHEN r.cost_nano_usd <> r.charged_nano_usd + r.overage_nano_usd THEN 'cost ' || r.cost_nano_usd || ' is not charged '
        || r.charged_nano_usd || ' + overage ' || r.overage_nano_usd
    WHEN r.state = 'void' AND (r.cost_nano_usd <> 0 OR r.input_tokens + r.output_tokens <> 0)
        THEN 'void, and has ' || r.input_tokens + r.output_tokens || ' tokens for ' || r.cost_nano_usd || ' nano-USD'
    WHEN r.is_bound <> ('hard cost' = ANY (r.held_as))
        THEN 'it was held as ' || r.held_as::text || ', and is ' || CASE WHEN r.is_bound THEN '' ELSE 'not ' END || 'bound'
    WHEN r.is_bound AND r.charged_nano_usd > r.hold_nano_usd
        THEN 'charged ' || r.charged_nano_usd || ' > hold ' || r.hold_nano_usd
    WHEN r.charged_nano_usd <> CASE WHEN r.is_bound THEN least(r.cost_nano_usd, r.hold_nano_usd) ELSE r.cost_nano_usd END
        THEN 'charged ' || r.charged_nano_usd || ' of ' || r.cost_nano_usd || ', it could be charged more'
    WHEN r.overage_nano_usd > 0 AND NOT 'overage' = ANY (r.flags) THEN 'overage ' || r.overage_nano_usd || ' is not flagged'
    END
FROM billing_usagerecord r
WHERE %(since)s::timestamptz IS NULL OR r.ended_at >= %(since)s::timestamptz

--- records_cost_what_their_lines_say I6
SELECT r.id, CASE
    WHEN NOT bill.is_product THEN 'a line is not its quantity times its price'
    WHEN bill.cost IS DISTINCT FROM r.cost_nano_usd
        THEN 'cost ' || r.cost_nano_usd || ', its lines say ' || coalesce(bill.cost::text, 'nothing')
    END
FROM billing_usagerecord r CROSS JOIN LATERAL (
    SELECT div(sum(l.amount_pico_usd) + 500, 1000) AS cost,  -- half up, once
        bool_and(l.quantity * l.price_pico_usd = l.amount_pico_usd) AS is_product
    FROM jsonb_to_recordset(r.lines) AS l(quantity numeric, price_pico_usd numeric, amount_pico_usd numeric)) bill
WHERE r.lines <> '[]' AND (%(since)s::timestamptz IS NULL OR r.ended_at >= %(since)s::timestamptz)

--- charged_requests_have_a_price I6
SELECT r.id, CASE
    WHEN r.price_id IS NULL AND r.is_bound THEN 'held against a hard cost quota without a price'
    WHEN r.price_id IS NULL AND r.cost > 0 THEN 'it cost ' || r.cost || ' without a price'
    WHEN r.price_id IS NOT NULL AND p.id IS NULL THEN 'its price ' || r.price_id || ' is not there'
    END
FROM (
    SELECT id, price_id, is_bound, cost_nano_usd AS cost FROM billing_usagerecord
    WHERE %(since)s::timestamptz IS NULL OR ended_at >= %(since)s::timestamptz
    UNION ALL
    SELECT id, price_id, is_bound, 0 FROM billing_hold) r
    LEFT JOIN billing_price p ON p.id = r.price_id

--- rollups_are_what_is_posted I7
-- A bucket's hour is that of its records' admission; one looked at is looked at in whole.
WITH hours AS MATERIALIZED (
    SELECT date_trunc('hour', created_at, 'UTC') AS hour FROM billing_usagerecord WHERE ended_at >= %(since)s::timestamptz
    UNION SELECT date_trunc('hour', created_at, 'UTC') FROM billing_adjustment WHERE created_at >= %(since)s::timestamptz
    UNION SELECT hour FROM billing_ledgerentry WHERE created_at >= %(since)s::timestamptz AND hour IS NOT NULL
), item AS (
    SELECT date_trunc('hour', r.created_at, 'UTC') AS hour, organization_id, project_id, api_key_id, model, upstream_id,
        (state = 'settled')::int AS requests, (state = 'void')::int AS voided, input_tokens, cached_tokens,
        cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd, overage_nano_usd
    FROM billing_usagerecord r
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = r.id AND NOT u.is_adjustment)
        AND (%(since)s::timestamptz IS NULL OR r.created_at >= (SELECT min(hour) FROM hours)
            AND date_trunc('hour', r.created_at, 'UTC') IN (SELECT hour FROM hours))
    UNION ALL
    SELECT date_trunc('hour', a.created_at, 'UTC'), organization_id, project_id, api_key_id, model, upstream_id,
        requests, -requests, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
        cost_nano_usd, charged_nano_usd, overage_nano_usd
    FROM billing_adjustment a
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = a.record_id AND u.is_adjustment)
        AND (%(since)s::timestamptz IS NULL OR date_trunc('hour', a.created_at, 'UTC') IN (SELECT hour FROM hours))
), said AS (
    SELECT hour, organization_id, project_id, api_key_id, model, upstream_id, sum(requests) AS requests,
        sum(voided) AS voided, sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
        sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nano_usd) AS cost_nano_usd,
        sum(charged_nano_usd) AS charged_nano_usd, sum(overage_nano_usd) AS overage_nano_usd
    FROM item GROUP BY hour, organization_id, project_id, api_key_id, model, upstream_id
)
SELECT concat_ws(' ', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"'), organization_id, project_id, api_key_id,
    model, upstream_id), (
    SELECT string_agg(sums.name || ' ' || coalesce(sums.kept, 0) || ', posted were ' || coalesce(sums.posted, 0), '; ')
    FROM (VALUES
        ('requests', u.requests, said.requests), ('voided', u.voided, said.voided),
        ('input_tokens', u.input_tokens, said.input_tokens), ('cached_tokens', u.cached_tokens, said.cached_tokens),
        ('cache_write_tokens', u.cache_write_tokens, said.cache_write_tokens),
        ('output_tokens', u.output_tokens, said.output_tokens),
        ('reasoning_tokens', u.reasoning_tokens, said.reasoning_tokens),
        ('cost_nano_usd', u.cost_nano_usd, said.cost_nano_usd),
        ('charged_nano_usd', u.charged_nano_usd, said.charged_nano_usd),
        ('overage_nano_usd', u.overage_nano_usd, said.overage_nano_usd)) AS sums(name, kept, posted)
    WHERE coalesce(sums.kept, 0) <> coalesce(sums.posted, 0))
FROM said FULL JOIN (
    SELECT * FROM billing_usagerollup
    WHERE %(since)s::timestamptz IS NULL OR hour IN (SELECT hour FROM hours)
    ) u USING (hour, organization_id, project_id, api_key_id, model, upstream_id)

--- ledger_charges_are_what_is_posted I7
WITH hours AS MATERIALIZED (
    SELECT date_trunc('hour', created_at, 'UTC') AS hour FROM billing_usagerecord WHERE ended_at >= %(since)s::timestamptz
    UNION SELECT date_trunc('hour', created_at, 'UTC') FROM billing_adjustment WHERE created_at >= %(since)s::timestamptz
    UNION SELECT hour FROM billing_ledgerentry WHERE created_at >= %(since)s::timestamptz AND hour IS NOT NULL
), said AS (
    SELECT 'charge' AS kind, organization_id, date_trunc('hour', r.created_at, 'UTC') AS hour, sum(charged_nano_usd) AS charged
    FROM billing_usagerecord r
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = r.id AND NOT u.is_adjustment)
        AND (%(since)s::timestamptz IS NULL OR r.created_at >= (SELECT min(hour) FROM hours)
            AND date_trunc('hour', r.created_at, 'UTC') IN (SELECT hour FROM hours))
    GROUP BY 2, 3
    UNION ALL
    SELECT 'adjustment', organization_id, date_trunc('hour', a.created_at, 'UTC'), sum(charged_nano_usd)
    FROM billing_adjustment a
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = a.record_id AND u.is_adjustment)
        AND (%(since)s::timestamptz IS NULL OR date_trunc('hour', a.created_at, 'UTC') IN (SELECT hour FROM hours))
    GROUP BY 2, 3
), entered AS (
    SELECT kind, organization_id, hour, -sum(amount_nano_usd) FILTER (WHERE account = 'organization') AS charged,
        sum(amount_nano_usd) FILTER (WHERE account = 'revenue') AS earned
    FROM billing_ledgerentry
    WHERE (kind = 'charge' OR kind = 'adjustment' AND hour IS NOT NULL)
        AND (%(since)s::timestamptz IS NULL OR hour IN (SELECT hour FROM hours))
    GROUP BY kind, organization_id, hour
)
SELECT concat_ws(' ', kind, organization_id, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"')), CASE
    WHEN coalesce(e.charged, 0) <> coalesce(said.charged, 0) OR coalesce(e.earned, 0) <> coalesce(said.charged, 0)
    THEN 'charged ' || coalesce(e.charged, 0) || ' and earned ' || coalesce(e.earned, 0) || ', posted were '
        || coalesce(said.charged, 0) END
FROM said FULL JOIN entered e USING (kind, organization_id, hour)
