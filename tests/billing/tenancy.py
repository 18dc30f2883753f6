"""Organizations with projects, keys and quotas for tests of money, over a connection of the test's own; and the
invariants of money.md, asked of the tables."""

import uuid
from contextlib import contextmanager

import psycopg
from psycopg.rows import dict_row

from billing.metering.connection import OPTIONS
from tests.billing.books import hold_of

# Whatever these find is a breach. %(organizations)s: whose books.
WINDOWS_THAT_DIFFER = """
WITH posted AS (
    SELECT w.id, sum(billing_posted_amount(w.held_as, w.held, r.cost_nano_usd, r.charged_nano_usd,
        r.input_tokens + r.output_tokens, (r.state = 'settled')::int)) AS amount
    FROM billing_usagerecord r
        CROSS JOIN LATERAL unnest(r.window_ids, r.held_as, r.held_amounts) AS w(id, held_as, held)
    GROUP BY w.id
), adjusted AS (
    SELECT w.id, sum(w.amount) AS amount
    FROM billing_adjustment a CROSS JOIN LATERAL unnest(a.window_ids, a.posted_amounts) AS w(id, amount) GROUP BY w.id
), held AS (
    SELECT w.id, sum(w.amount) AS amount
    FROM billing_hold h CROSS JOIN LATERAL unnest(h.window_ids, h.held_amounts) AS w(id, amount) GROUP BY w.id
)
SELECT w.id, w.posted, w.held, posted.amount, adjusted.amount, held.amount
FROM billing_quotawindow w JOIN billing_quota q ON q.id = w.quota_id LEFT JOIN posted ON posted.id = w.id
    LEFT JOIN adjusted ON adjusted.id = w.id LEFT JOIN held ON held.id = w.id
WHERE q.organization_id = ANY (%(organizations)s)
    AND (w.posted <> coalesce(posted.amount, 0) + coalesce(adjusted.amount, 0) OR w.held <> coalesce(held.amount, 0)
        OR w.is_hard AND w.posted + w.held > w.ceiling)
"""
OPEN_AND_ENDED = """
SELECT id FROM billing_hold JOIN billing_usagerecord USING (id)
WHERE billing_hold.organization_id = ANY (%(organizations)s)
"""
CHARGED_TOO_MUCH = """
SELECT id FROM billing_usagerecord r LEFT JOIN billing_adjustment a ON a.record_id = r.id
WHERE r.organization_id = ANY (%(organizations)s)
    AND (r.cost_nano_usd <> r.charged_nano_usd + r.overage_nano_usd
        OR r.is_bound AND r.charged_nano_usd + coalesce(a.charged_nano_usd, 0) > r.hold_nano_usd)
"""
ROLLUPS_THAT_DIFFER = """
WITH item AS (
    SELECT organization_id, model, (state = 'settled')::int AS requests, (state = 'void')::int AS voided,
        input_tokens, output_tokens, cost_nano_usd, charged_nano_usd, overage_nano_usd
    FROM billing_usagerecord r
    WHERE NOT EXISTS (SELECT FROM billing_unposted WHERE record_id = r.id AND NOT is_adjustment)
    UNION ALL
    SELECT organization_id, model, requests, -requests, input_tokens, output_tokens, cost_nano_usd, charged_nano_usd,
        overage_nano_usd
    FROM billing_adjustment a
    WHERE NOT EXISTS (SELECT FROM billing_unposted u WHERE u.record_id = a.record_id AND u.is_adjustment)
    UNION ALL
    SELECT organization_id, model, -requests, -voided, -input_tokens, -output_tokens, -cost_nano_usd, -charged_nano_usd,
        -overage_nano_usd
    FROM billing_usagerollup
)
SELECT organization_id, model FROM item WHERE organization_id = ANY (%(organizations)s)
GROUP BY organization_id, model
HAVING (sum(requests), sum(voided), sum(input_tokens), sum(output_tokens), sum(cost_nano_usd), sum(charged_nano_usd),
    sum(overage_nano_usd)) <> (0, 0, 0, 0, 0, 0, 0)
"""
LEDGER_THAT_DIFFERS = """
SELECT posting_id::text FROM billing_ledgerentry GROUP BY posting_id HAVING sum(amount_nano_usd) <> 0
UNION ALL
SELECT organization_id::text FROM (
    SELECT organization_id, charged_nano_usd AS amount FROM billing_usagerollup
    UNION ALL
    SELECT organization_id, amount_nano_usd FROM billing_ledgerentry
    WHERE account = 'organization' AND kind IN ('charge', 'adjustment')) AS booked
WHERE organization_id = ANY (%(organizations)s)
GROUP BY organization_id HAVING sum(amount) <> 0
"""
BREACHES = {
    "I1, I3": WINDOWS_THAT_DIFFER, "I4": OPEN_AND_ENDED, "I6": CHARGED_TOO_MUCH, "I7": ROLLUPS_THAT_DIFFER,
    "I2": LEDGER_THAT_DIFFERS,
}  # fmt: skip


class Tenancy:
    """Some organizations of one database, each with a project and a key unless more are made."""

    def __init__(self, url):
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row, options="-c jit=off")
        self.organizations = []

    def connect(self):
        """A connection as the lane has it."""
        return psycopg.connect(self.url, autocommit=True, row_factory=dict_row, options=OPTIONS)

    def close(self):
        """Takes away what these organizations have."""
        organizations = {"organizations": self.organizations}
        self.execute("ALTER TABLE billing_ledgerentry DISABLE TRIGGER append_only")
        self.execute(
            "DELETE FROM billing_unposted WHERE record_id IN (SELECT id FROM billing_usagerecord "
            "WHERE organization_id = ANY (%(organizations)s))", organizations,
        )  # fmt: skip
        for table in ("hold", "usagerecord", "adjustment", "usagerollup", "ledgerentry"):
            self.execute(f"DELETE FROM billing_{table} WHERE organization_id = ANY (%(organizations)s)", organizations)
        self.execute("ALTER TABLE billing_ledgerentry ENABLE TRIGGER append_only")
        quotas = "SELECT id FROM billing_quota WHERE organization_id = ANY (%(organizations)s)"
        self.execute(f"DELETE FROM billing_quotawindow WHERE quota_id IN ({quotas})", organizations)
        self.execute("DELETE FROM billing_quota WHERE organization_id = ANY (%(organizations)s)", organizations)
        self.connection.close()

    def execute(self, statement, *parameters):
        named = parameters and isinstance(parameters[0], dict)
        return self.connection.execute(statement, parameters[0] if named else parameters, prepare=bool(parameters))

    def owner(self, organization_id=None, project_id=None, time_zone="UTC"):
        """The ids of a new key: of that project or a new one, of that organization or a new one."""
        if organization_id is None:
            organization_id = uuid.uuid4()
            self.organizations.append(organization_id)
            self.execute(
                "INSERT INTO accounts_organization (id, name, time_zone, created_at) VALUES (%s, %s, %s, now())",
                organization_id, f"acme-{organization_id}", time_zone,
            )  # fmt: skip
        if project_id is None:
            project_id = uuid.uuid4()
            self.execute(
                "INSERT INTO accounts_project (id, organization_id, name, allowed_service_tiers, allowed_tools, "
                "allows_store, allows_urls, created_at) VALUES (%s, %s, %s, '{}', '{}', true, true, now())",
                project_id, organization_id, f"website-{project_id}",
            )  # fmt: skip
        api_key_id = uuid.uuid4()
        self.execute(
            "INSERT INTO accounts_apikey (id, project_id, name, hint, digest, pepper_version, allowed_models, "
            "allowed_endpoints, allowed_networks, tags, created_at, last_used_address, last_used_agent) "
            "VALUES (%s, %s, 'bot', '', %s, 1, '{}', '{}', '{}', '{}', now(), '', '')",
            api_key_id, project_id, api_key_id.bytes,
        )  # fmt: skip
        return {"organization_id": organization_id, "project_id": project_id, "api_key_id": api_key_id}

    def quota(self, owner, limit, metric="cost", period="forever", level="organization", **fields):
        """The id of a new quota on the owner's organization, project or key."""
        columns = {"id": uuid.uuid4(), "metric": metric, "period": period, "limit_amount": limit, "is_hard": True,
                   "is_credit": False, "organization_id": owner["organization_id"]} | fields  # fmt: skip
        if level != "organization":
            column = {"project": "project_id", "key": "api_key_id"}[level]
            columns[column] = owner[column]
        values = ", ".join(["%s"] * len(columns))
        self.execute(f"INSERT INTO billing_quota ({', '.join(columns)}) VALUES ({values})", *columns.values())
        return columns["id"]

    def window(self, quota):
        """The quota's current window."""
        return self.execute("SELECT w.* FROM billing_quotawindow w JOIN billing_quota q ON q.window_id = w.id "
                            "WHERE q.id = %s", quota).fetchone()  # fmt: skip

    def hold(self, owner, nano_usd=10, **fields):
        return hold_of(**({"price_id": uuid.UUID(int=7), "hold_nano_usd": nano_usd} | owner | fields))

    def breaches(self):
        """What is wrong with the books of these organizations, by invariant."""
        found = {name: self.execute(query, {"organizations": self.organizations}).fetchall()
                 for name, query in BREACHES.items()}  # fmt: skip
        return {name: rows for name, rows in found.items() if rows}

    @contextmanager
    def locked(self, window_id):
        """While the block lasts, whoever changes the window waits."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT FROM billing_quotawindow WHERE id = %s FOR UPDATE", [window_id])
            yield
