"""How the database carries a batch out: by keys alone, however much lies beside, and in the order of the locks."""

import re
import uuid

import psycopg
import pytest

from billing.metering.connection import OPTIONS
from tests.billing.books import batch_of, settled

MANY = 5_000
PRICE_ID = uuid.UUID(int=5)
# As many strangers' open holds, ended records and quotas with open windows, and what the planner knows of them.
CROWD = f"""
SET session_replication_role = replica;
INSERT INTO billing_hold
    SELECT id, id, id, id, id, 'responses', 'm', id, 'u', 'm', NULL, true, '', '', 0, 1, 1, 1, false,
        '{{}}', '{{}}', '{{}}', '{{}}', now()
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {MANY})) n;
INSERT INTO billing_quota (
        id, organization_id, metric, period, limit_amount, is_hard, is_credit, window_id, window_ends_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'cost', 'forever', 10, true, false, 1000000 + n, 'infinity'
    FROM generate_series(1, {MANY}) n;
INSERT INTO billing_quotawindow (id, quota_id, starts_at, ends_at, metric, is_hard, limit_amount, ceiling, posted, held)
    OVERRIDING SYSTEM VALUE
    SELECT window_id, id, now(), 'infinity', metric, true, 10, 10, 0, 0 FROM billing_quota WHERE window_id > 1000000;
RESET session_replication_role;
"""
TABLES = "billing_hold, billing_quota, billing_quotawindow, billing_usagerecord"


@pytest.fixture
def crowded(own_books):
    """The books of an organization with two quotas, among many others."""
    own_books.execute("TRUNCATE billing_quota, billing_quotawindow")
    own_books.add_organization()
    own_books.connection.execute(CROWD)
    own_books.execute(f"ANALYZE {TABLES}")
    yield own_books
    own_books.execute(f"TRUNCATE {TABLES}")


@pytest.fixture
def plan_of(crowded):
    """Carries a batch out as the lane does, and returns the plans of its steps as they were carried out."""
    notices = []
    with psycopg.connect(crowded.url, autocommit=True, options=OPTIONS) as lane:
        lane.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        lane.execute("LOAD 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = on"):
            lane.execute(f"SET auto_explain.{setting}")
        lane.execute("SET client_min_messages = log")

        def carry_out(holds, ends):
            notices.clear()
            lane.execute(*batch_of(holds, ends))
            return "\n".join(notices)

        yield carry_out


def test_a_batch_reads_its_own_rows_alone(crowded, plan_of):
    crowded.set_quota("cost", 10**9)
    crowded.set_quota("tokens", 10**9)
    crowded.decide(crowded.hold(price_id=PRICE_ID))  # opens the windows
    holds = [crowded.hold(price_id=PRICE_ID) for _ in range(64)]
    plan_of(holds, [])
    plan = plan_of([crowded.hold(price_id=PRICE_ID) for _ in range(3)], [settled(holds[0]), settled(holds[-1])])
    assert "Seq Scan" not in plan
    assert crowded.states() == {"settled": 2, "pending": 66}

    released = part(plan, "released")
    assert re.search(r"Scan (on|using) billing_hold_pkey .*rows=2.00 loops=1.*\n *Index Cond: \(id = ANY", released)
    held = part(plan, "held")
    assert re.search(
        r"Scan using quota_in_force_of_organization .*rows=2.00 loops=3.*\n"
        r" *Index Cond: \(\(organization_id = \w+.organization_id\) AND \(scope_id = ANY",
        held,
    )
    (ended,) = re.findall(r"Scan using billing_usagerecord_\w+ on .*\n.*", plan)  # this month's partition
    assert re.search(r"loops=3\b.*\n *Index Cond: \(.*\(id = h.id\)", ended)


def test_windows_are_locked_in_the_order_of_their_ids(crowded, plan_of):
    """One scan of their index, for ids that are sorted: no plan locks otherwise."""
    for metric in ("cost", "tokens"):
        crowded.set_quota(metric, 10**9)
    hold = crowded.hold(price_id=PRICE_ID)
    crowded.decide(hold)
    plan = plan_of([crowded.hold(price_id=PRICE_ID)], [settled(hold)])
    update = re.search(r"^Update on billing_quotawindow w .*\n((?: .*\n?)*)", plan, re.MULTILINE)[1]
    nodes = re.findall(r"->  (.*?)  \(cost", update)
    assert nodes == ["Index Scan using billing_quotawindow_pkey on billing_quotawindow w"]
    assert "Index Cond: (id = ANY ($" in update
    assert crowded.states() == {"settled": 1, "pending": 1}


def part(plan, name):
    """The plan of one WITH."""
    return re.search(rf"^  CTE {name}\n((?:    .*\n)*)", plan, re.MULTILINE)[1]
