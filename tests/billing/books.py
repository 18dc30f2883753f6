"""Usage records for tests of the lane and the posting: what is handed to the meter, and what the tables then say."""

import asyncio
import os
import time
import uuid
from contextlib import asynccontextmanager

import msgspec
import psycopg
from psycopg.rows import dict_row, tuple_row

from billing.metering.batch import Batch, End
from billing.metering.meter import Meter
from billing.metering.refusals import outcomes_of
from billing.metering.request_ids import uuid7
from billing.metering.writing import END_EXACTLY, HOLD_EXACTLY, MARK, WRITE
from billing.record import Hold, Settlement
from billing.spool.writer import Spool

LANES = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tollgate metering'"


def new_id(milliseconds=None):
    return uuid7(milliseconds or int(time.time() * 1000), os.urandom(10))


@asynccontextmanager
async def running_meter(url, spool_dir, *, hold_seconds=5, settle_seconds=5, progress_seconds=60, spool=None):
    """A meter over that database, started, with a small spool; closed at the end."""
    spool = spool or Spool(spool_dir, uuid.uuid4(), segment_bytes=1 << 20, max_bytes=1 << 24)
    meter = Meter(
        url, spool, hold_seconds=hold_seconds, settle_seconds=settle_seconds, progress_seconds=progress_seconds
    )
    meter.start()
    try:
        yield meter
    finally:
        await meter.close(10)


def batch_of(holds, ends):
    """The statement and its parameters, as the lane sends them."""
    batch = Batch()
    batch.holds = {hold.id: (hold, None) for hold in holds}
    batch.ends = {end.id: End(end, None, None) for end in ends}
    return WRITE, batch.parameters()


def hold_of(**fields):
    """What the meter takes; the ids of the owner are nobody's unless given."""
    owner = {name: uuid.uuid4() for name in ("organization_id", "project_id", "api_key_id", "process_id")}
    names = {"endpoint": "responses", "model": "gpt-5", "upstream": "openai", "upstream_model": "gpt-5"}
    ids = {"id": new_id(), "upstream_id": uuid.UUID(int=1), "price_id": None}
    rest = {"stream": True, "asked_service_tier": "", "client_request_id": "", "retry_count": 0}
    rest |= {"request_bytes": 400, "hold_nano_usd": 5_000, "hold_tokens": 100_000}
    return Hold(**(owner | names | ids | rest | fields))


def settled(hold, nano_usd=100, **fields):
    """An end of `hold` that costs `nano_usd`."""
    ended = {"state": "settled", "usage_source": "reported", "status": 200, "input_tokens": 7, "output_tokens": 3}
    return Settlement(id=hold.id, **(ended | {"cost_nano_usd": nano_usd} | fields))


def end(connection, settlement):
    """As the lane does it: what has no open hold is looked at again."""
    statement, parameters = batch_of([], [settlement])
    with connection.cursor(row_factory=tuple_row) as cursor:
        (ended,) = cursor.execute(statement, parameters).fetchone()
        if not ended:
            cursor.execute(END_EXACTLY, [parameters[1]])


class Books:
    """The tables of one database, seen over a connection of the test's own."""

    def __init__(self, url, organization_id=None, project_id=None, api_key_id=None):
        self.url = url
        self._owner = {
            "organization_id": organization_id or uuid.uuid4(),
            "project_id": project_id or uuid.uuid4(),
            "api_key_id": api_key_id or uuid.uuid4(),
        }
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def close(self):
        self.connection.close()

    def hold(self, **fields):
        return hold_of(**(self._owner | fields))

    def add_organization(self):
        """Puts the organization in the tables, where it has to be for quotas."""
        names = "id, name, time_zone, created_at"
        organization_id = self._owner["organization_id"]
        organization = f"INSERT INTO accounts_organization ({names}) VALUES (%s, %s, 'UTC', now())"
        self.execute(organization, organization_id, f"acme-{organization_id}")

    def set_quota(self, metric, limit, *, level="organization", period="forever", is_hard=True):
        """Sets a quota on the owner, who is in the tables; its id."""
        project_id = self._owner["project_id"] if level != "organization" else None
        api_key_id = self._owner["api_key_id"] if level == "key" else None
        names = "id, organization_id, project_id, api_key_id, metric, period, limit_amount, is_hard, is_credit"
        values = (uuid.uuid4(), self._owner["organization_id"], project_id, api_key_id, metric, period, limit, is_hard)
        quota = f"INSERT INTO billing_quota ({names}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, false)"
        self.execute(quota, *values)
        return values[0]

    def decide(self, *holds):
        """Holds them one by one; what became of each."""
        statement = f"{HOLD_EXACTLY} AS outcomes"
        outcomes = outcomes_of(self.execute(statement, batch_of(holds, [])[1][3]).fetchone()["outcomes"])
        return [outcomes[hold.id] for hold in holds]

    def window(self, quota_id):
        """What is posted and held of the quota now."""
        row = self.execute(
            "SELECT posted, held FROM billing_quotawindow w JOIN billing_quota q ON q.window_id = w.id WHERE q.id = %s",
            quota_id,
        ).fetchone()
        return row["posted"], row["held"]

    def adjustments(self, hold):
        return self.execute("SELECT * FROM billing_adjustment WHERE record_id = %s", hold.id).fetchall()

    def write(self, holds, ends=()):
        """As another process does it."""
        self.connection.execute(*batch_of(holds, ends))

    def mark(self, *marks):
        """Progress of open requests, as their process notes it in the database."""
        self.execute(MARK, msgspec.json.encode(marks).decode())

    def record(self, hold):
        """Its row, None where there is none."""
        return self.execute("SELECT * FROM billing_usagerecord WHERE id = %s", hold.id).fetchone()

    def open(self, hold):
        """The row of its hold, None where it is not open."""
        return self.execute("SELECT * FROM billing_hold WHERE id = %s", hold.id).fetchone()

    def adjustment(self, hold):
        """The row of its adjustment, None where there is none."""
        return self.execute("SELECT * FROM billing_adjustment WHERE record_id = %s", hold.id).fetchone()

    def state(self, hold):
        """None where it is neither open nor ended."""
        rows = self.execute(
            "SELECT 'pending' AS state FROM billing_hold WHERE id = %(id)s "
            "UNION ALL SELECT state FROM billing_usagerecord WHERE id = %(id)s",
            {"id": hold.id},
        ).fetchall()
        assert len(rows) <= 1
        return rows[0]["state"] if rows else None

    def states(self):
        """How many requests of this organization are in which state."""
        rows = self.execute(
            "SELECT state, count(*) FROM billing_usagerecord WHERE organization_id = %(id)s GROUP BY state UNION ALL "
            "SELECT 'pending', count(*) FROM billing_hold WHERE organization_id = %(id)s HAVING count(*) > 0",
            {"id": self._owner["organization_id"]},
        )
        return {row["state"]: row["count"] for row in rows}

    def cost(self):
        """Nano-USD of all that ended."""
        total = "SELECT sum(cost_nano_usd)::bigint AS n FROM billing_usagerecord WHERE organization_id = %s"
        return self.execute(total, self._owner["organization_id"]).fetchone()["n"]

    def clear(self):
        """Takes away what this organization has."""
        for table in ("billing_hold", "billing_usagerecord", "billing_adjustment"):
            self.execute(f"DELETE FROM {table} WHERE organization_id = %s", self._owner["organization_id"])
        self.execute("DELETE FROM billing_unposted")

    def execute(self, statement, *parameters):
        named = parameters and isinstance(parameters[0], dict)
        return self.connection.execute(statement, parameters[0] if named else parameters)

    def lane(self):
        """The server's process behind the meter's connection, once there is one."""
        found = self.execute(f"SELECT pid {LANES}").fetchone()
        return found and found["pid"]

    def end_lane(self):
        self.execute(f"SELECT pg_terminate_backend(pid) {LANES}")

    def locked(self):
        """While the block lasts, calls on holds and records wait."""
        return _Locked(self.url)

    def is_blocked(self):
        return self.execute(f"SELECT 1 {LANES} AND wait_event_type = 'Lock'").fetchone() is not None


class _Locked:
    def __init__(self, url):
        self._connection = psycopg.connect(url)

    def __enter__(self):
        self._connection.execute("LOCK TABLE billing_hold, billing_usagerecord IN EXCLUSIVE MODE")

    def __exit__(self, *_):
        self._connection.close()


async def idle(meter, seconds=5):
    """Returns once all that was handed in is written."""
    await asyncio.wait_for(meter._lane._idle.wait(), seconds)


async def until(condition, seconds=10):
    """What `condition` returns once it is true; for what happens in the lane or the server and tells nobody."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)
    return found
