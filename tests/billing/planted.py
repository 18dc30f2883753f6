"""Faults to plant in balanced books: what no function of the product does, and what a bug, a restore or a hand might.

Each is one statement, run with constraints dropped and triggers off, that spoils ten things and returns the id by which
each has to be named.
"""

from dataclasses import dataclass

HOUR = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"')"""
OWNER = "{0}.organization_id, {0}.project_id, {0}.api_key_id, {0}.model, {0}.upstream_id"
BUCKET = "concat_ws(' ', " + HOUR.format("date_trunc('hour', {0}.created_at, 'UTC')") + f", {OWNER})"
ROLLUP = "concat_ws(' ', " + HOUR.format("{0}.hour") + f", {OWNER})"
CHARGE = "concat_ws(' ', kind, organization_id, " + HOUR.format("hour") + ")"
# One posted record of each of ten buckets.
POSTED = f"""SELECT DISTINCT ON ({BUCKET.format("r")}) r.* FROM billing_usagerecord r
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = r.id AND NOT is_adjustment)
    ORDER BY {BUCKET.format("r")}, r.id LIMIT 10"""
FREED = """
    SET session_replication_role = replica;
    ALTER TABLE billing_quotawindow DROP CONSTRAINT hard_window_is_within_its_ceiling;
    DROP INDEX one_quota_of_a_kind;
    ALTER TABLE billing_quotawindow DROP CONSTRAINT nothing_is_below_zero;
    ALTER TABLE billing_usagerecord DROP CONSTRAINT cost_is_charged_or_overage;
    ALTER TABLE billing_usagerecord DROP CONSTRAINT bound_charge_is_within_its_hold;
    ALTER TABLE billing_usagerecord DROP CONSTRAINT void_costs_nothing;
    ALTER TABLE billing_adjustment DROP CONSTRAINT adjustment_is_charged_or_overage;
    ALTER TABLE billing_adjustment DROP CONSTRAINT billing_adjustment_pkey;
    ALTER TABLE billing_ledgerentry DROP CONSTRAINT one_side_of_an_account;
"""


@dataclass(frozen=True)
class Fault:
    name: str
    check: str
    plant: str
    spoils_more: bool = False  # than what it names
    is_recent: bool = True  # the look at what changed finds it too


def _of_ten(table, condition, change, *, key="id", returning=None):
    chosen = f"{key} IN (SELECT {key} FROM {table} v WHERE {condition} ORDER BY {key} LIMIT 10)"
    return f"UPDATE {table} x SET {change} WHERE {chosen} RETURNING {returning or f'x.{key}'}::text"


def _window(name, check, condition, change):
    return Fault(name, check, _of_ten("billing_quotawindow", condition, change))


def _record(name, check, condition, change):
    return Fault(name, check, _of_ten("billing_usagerecord", condition, change))


def _adjustment(name, check, condition, change):
    return Fault(name, check, _of_ten("billing_adjustment", condition, change, key="record_id"))


def _quota(name, check, condition, change):
    return Fault(name, check, _of_ten("billing_quota", condition, change))


def _rollup(name, change):
    returning = ROLLUP.format("x")
    return Fault(
        name, "rollups_are_what_is_posted", _of_ten("billing_usagerollup", "true", change, returning=returning)
    )


def _hold(name, check, change):
    return Fault(name, check, _of_ten("billing_hold", "cardinality(window_ids) > 1", change))


USED = "windows_are_posted_what_was_used"
LINES = "records_cost_what_their_lines_say"
CEILINGS = "windows_are_within_their_ceilings"
POINTERS = "quotas_point_to_their_windows"
WINDOWS = "requests_count_on_their_windows"
MONEY = "records_are_charged_what_they_cost"
ROLLUPS = "rollups_are_what_is_posted"
TRUTH = "adjustments_bring_the_truth"
EXACT = "adjustments_are_exact"
LEDGER = "ledger_charges_are_what_is_posted"

# The look at what changed sums up windows of these days only.
RECENT = "starts_at > now() - interval '25 hours'"

FAULTS = [
    _window("a hard quota is overspent", CEILINGS, "is_hard AND ends_at > now()", "posted = ceiling + 1 - held"),
    Fault("a window is of no quota", CEILINGS,
          _of_ten("billing_quotawindow", "ends_at > now()", "quota_id = gen_random_uuid()"), spoils_more=True),
    _window("a ceiling is below its limit", CEILINGS, "is_hard AND ends_at > now()", "ceiling = limit_amount - 1"),
    _window("a window of a day goes on", "windows_do_not_overlap",
            "EXISTS (SELECT FROM billing_quotawindow n WHERE n.quota_id = v.quota_id AND n.starts_at < v.starts_at)",
            "starts_at = starts_at - interval '1 second'"),
    _quota("a limit is changed past its window", POINTERS, "NOT is_credit AND is_hard",
           "limit_amount = limit_amount + 1"),
    _quota("a hard quota is made soft in place", POINTERS, "is_hard", "is_hard = false"),
    _quota("a quota points to yesterday", POINTERS, "period = 'day' AND window_id IS NOT NULL",
           "window_id = (SELECT min(id) FROM billing_quotawindow w WHERE w.quota_id = x.id)"),
    _quota("a quota forgets its window", POINTERS, "window_id IS NOT NULL", "window_id = NULL, window_ends_at = NULL"),
    _quota("a quota is on another organization's project", "quotas_belong_to_one_organization", "level = 'project'",
           "project_id = (SELECT id FROM accounts_project p WHERE p.organization_id <> x.organization_id LIMIT 1)"),
    _quota("credit without a grant", "credit_is_what_was_granted", "is_credit", "limit_amount = limit_amount + 1"),
    Fault("one side of a posting", "postings_sum_to_zero",
          "UPDATE billing_ledgerentry SET amount_nano_usd = amount_nano_usd + 1 WHERE id IN (SELECT max(id) FROM "
          "billing_ledgerentry GROUP BY posting_id ORDER BY 1 LIMIT 10) RETURNING posting_id::text"),
    Fault("half of a posting is gone", "postings_sum_to_zero",
          "DELETE FROM billing_ledgerentry WHERE id IN (SELECT max(id) FROM billing_ledgerentry GROUP BY posting_id "
          "ORDER BY 1 DESC LIMIT 10) RETURNING posting_id::text"),
    Fault("a charge is entered twice", LEDGER,
          f"""WITH twice AS (
              INSERT INTO billing_ledgerentry (
                  posting_id, kind, account, organization_id, hour, amount_nano_usd, reason)
              SELECT posting_id, kind, account, organization_id, hour, amount_nano_usd, reason FROM billing_ledgerentry
              WHERE posting_id IN (SELECT (array_agg(posting_id))[1] FROM billing_ledgerentry WHERE kind = 'charge'
                  GROUP BY organization_id, hour ORDER BY organization_id, hour LIMIT 10)
              RETURNING *)
          SELECT DISTINCT {CHARGE}
          FROM twice"""),
    Fault("a charge is not entered", LEDGER,
          f"""WITH gone AS (
              DELETE FROM billing_ledgerentry WHERE (kind, organization_id, hour) IN (
                  SELECT DISTINCT kind, organization_id, hour FROM billing_ledgerentry WHERE hour IS NOT NULL
                  ORDER BY 1, 2, 3 LIMIT 10) RETURNING *)
          SELECT DISTINCT {CHARGE}
          FROM gone"""),
    _window("room is kept that nobody holds", "windows_hold_what_is_open", "held = 0", "held = 1"),
    Fault("an open request is forgotten", "windows_hold_what_is_open",
          """WITH gone AS (
              DELETE FROM billing_hold WHERE id IN (
                  SELECT DISTINCT ON (api_key_id) id FROM billing_hold WHERE is_bound ORDER BY api_key_id LIMIT 10)
              RETURNING api_key_id)
          SELECT q.window_id::text FROM gone JOIN billing_quota q USING (api_key_id) WHERE q.is_hard""",
          spoils_more=True),
    _window("a soft window is posted too much", USED, f"NOT is_hard AND {RECENT}", "posted = posted + 1"),
    _window("a charge is not posted", USED, f"posted > 0 AND is_hard AND {RECENT}", "posted = posted - 1"),
    _record("a record loses one of its windows", WINDOWS, "cardinality(window_ids) > 1", "window_ids = window_ids[2:]"),
    _record("a record counts on another's window", WINDOWS, "cardinality(window_ids) > 1",
            """window_ids = ARRAY(SELECT min(w.id) FROM billing_quotawindow w JOIN billing_quota q ON q.id = w.quota_id
            WHERE q.organization_id <> x.organization_id) || window_ids[2:]"""),
    _hold("a hold names a window that is not there", WINDOWS, "window_ids = ARRAY[-1::bigint] || window_ids[2:]"),
    _hold("a hold took less than its bound", WINDOWS,
          "held_amounts = array_fill(0::bigint, ARRAY[cardinality(held_as)])"),
    Fault("a hold comes back to life", "requests_are_open_or_ended",
          """INSERT INTO billing_hold SELECT id, organization_id, project_id, api_key_id, process_id, endpoint, model,
              upstream_id, upstream, upstream_model, price_id, stream, asked_service_tier, client_request_id,
              retry_count, request_bytes, hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts,
              flags, created_at, '', NULL
          FROM billing_usagerecord ORDER BY id DESC LIMIT 10 RETURNING id::text"""),
    Fault("the process of an open request is gone", "open_requests_have_an_owner",
          """WITH gone AS (
              INSERT INTO billing_process (id, host_id, started_at, heartbeat_at)
              VALUES (gen_random_uuid(), gen_random_uuid(), now() - interval '2 days', now() - interval '1 hour')
              RETURNING id)
          UPDATE billing_hold SET process_id = gone.id FROM gone
          WHERE billing_hold.id IN (SELECT id FROM billing_hold ORDER BY id LIMIT 10)
          RETURNING billing_hold.id::text"""),
    _hold("a request stays open for ever", "open_requests_have_an_owner", "created_at = created_at - interval '1 day'"),
    Fault("a record is lost before it is posted", "unposted_entries_have_their_record",
          """DELETE FROM billing_usagerecord WHERE id IN (
              SELECT record_id FROM billing_unposted WHERE NOT is_adjustment ORDER BY 1 LIMIT 10)
          RETURNING id::text"""),
    Fault("a posted record is lost", ROLLUPS, f"""WITH lost AS (
        DELETE FROM billing_usagerecord r USING ({POSTED}) v WHERE r.id = v.id RETURNING r.*)
        SELECT {BUCKET.format("lost")} FROM lost"""),
    Fault("a record is neither posted nor waiting", ROLLUPS, f"""WITH taken AS (
        DELETE FROM billing_unposted u USING (
            SELECT DISTINCT ON ({BUCKET.format("r")}) r.* FROM billing_usagerecord r
            JOIN billing_unposted w ON w.record_id = r.id AND NOT w.is_adjustment
            ORDER BY {BUCKET.format("r")}, r.id LIMIT 10) v
        WHERE u.record_id = v.id AND NOT u.is_adjustment RETURNING v.*)
        SELECT {BUCKET.format("taken")} FROM taken"""),
    Fault("a posted record waits to be posted again", ROLLUPS, f"""WITH again AS (
        INSERT INTO billing_unposted (record_id) SELECT id FROM ({POSTED}) v RETURNING record_id)
        SELECT {BUCKET.format("r")} FROM billing_usagerecord r JOIN again ON again.record_id = r.id"""),
    _rollup("a rollup counts a token too many", "output_tokens = output_tokens + 1"),
    Fault("a rollup is lost", ROLLUPS, f"""WITH gone AS (
        DELETE FROM billing_usagerollup WHERE id IN (SELECT id FROM billing_usagerollup ORDER BY id LIMIT 10)
        RETURNING *)
        SELECT {ROLLUP.format("gone")} FROM gone"""),
    Fault("a rollup of nothing", ROLLUPS, f"""WITH made AS (
        INSERT INTO billing_usagerollup (hour, organization_id, project_id, api_key_id, model, upstream_id, requests,
            voided, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd,
            charged_nano_usd, overage_nano_usd)
        SELECT hour - interval '9 days', organization_id, project_id, api_key_id, model, upstream_id, 1, 0, 0, 0, 0, 0,
            0, 0, 0, 0
        FROM billing_usagerollup ORDER BY id LIMIT 10 RETURNING *)
        SELECT {ROLLUP.format("made")} FROM made""", is_recent=False),
    _record("a request of an unknown key", "requests_have_known_owners", "true", "api_key_id = gen_random_uuid()"),
    _record("a request on another organization's account", "requests_have_known_owners", "true",
            "organization_id = (SELECT id FROM accounts_organization o WHERE o.id <> x.organization_id LIMIT 1)"),
    Fault("the truth is adjusted", TRUTH,
          """UPDATE billing_usagerecord SET usage_source = 'reported' WHERE id IN (
              SELECT record_id FROM billing_adjustment ORDER BY 1 LIMIT 10) RETURNING id::text"""),
    Fault("a record is adjusted twice", TRUTH,
          "INSERT INTO billing_adjustment SELECT * FROM billing_adjustment ORDER BY record_id LIMIT 10 "
          "RETURNING record_id::text"),
    _adjustment("an adjustment by an estimate", TRUTH, "true", "usage_source = 'estimated'"),
    _adjustment("an adjustment changes a window too much", EXACT, "cardinality(posted_amounts) > 0",
                "posted_amounts = array_fill(1000000000, ARRAY[cardinality(posted_amounts)])"),
    _adjustment("an adjustment charges more than the hold", EXACT, "cardinality(posted_amounts) > 0",
                "cost_nano_usd = cost_nano_usd + 5000000, charged_nano_usd = charged_nano_usd + 5000000"),
    _adjustment("an adjustment is not its bill", EXACT, "true",
                "cost_nano_usd = cost_nano_usd + 1, overage_nano_usd = overage_nano_usd + 1"),
    _record("cost is lost between charged and overage", MONEY, "cost_nano_usd > 0",
            "cost_nano_usd = cost_nano_usd + 1"),
    _record("a charge is above its hold", MONEY, "overage_nano_usd > 0 AND is_bound",
            "charged_nano_usd = cost_nano_usd, overage_nano_usd = 0"),
    _record("a charge is forgiven", MONEY, "charged_nano_usd > 1 AND overage_nano_usd = 0",
            "charged_nano_usd = charged_nano_usd - 1, overage_nano_usd = 1"),
    _record("a void request has a cost", MONEY, "state = 'void'", "cost_nano_usd = 5, charged_nano_usd = 5"),
    _record("a line is changed", LINES, "lines <> '[]'",
            "lines = jsonb_set(jsonb_set(lines, '{0,amount_pico_usd}', '7000000'), '{0,quantity}', '1')"),
    _record("a line is gone", LINES, "jsonb_array_length(lines) > 1", "lines = lines - 1"),
    _record("a cost without a price", "charged_requests_have_a_price", "cost_nano_usd > 0", "price_id = NULL"),
    _record("a price that there never was", "charged_requests_have_a_price", "true", "price_id = gen_random_uuid()"),
]  # fmt: skip
