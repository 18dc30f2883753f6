"""Usage records for tests of the lane and the posting: what is handed to the meter, and what the tables then say."""

import asyncio
import os
import time
import uuid

import psycopg
from psycopg.rows import dict_row

from billing.batch import Batch
from billing.lane import WRITE
from billing.record import Hold, Settlement
from billing.request_ids import uuid7

LANES = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tollgate metering'"


def new_id(milliseconds=None):
    return uuid7(milliseconds or int(time.time() * 1000), os.urandom(10))


def batch_of(holds, ends):
    """The statement and its parameters, as the lane sends them."""
    batch = Batch()
    batch.holds = {hold.id: (hold, None) for hold in holds}
    batch.settlements = {end.id: (end, None) for end in ends}
    return WRITE, [batch.ends(), batch.hold_items()]


def hold_of(**fields):
    """What the meter takes; the ids of the owner are nobody's unless given."""
    owner = {name: uuid.uuid4() for name in ("organization_id", "project_id", "api_key_id", "process_id")}
    names = {"endpoint": "responses", "model": "gpt-5", "upstream": "openai", "upstream_model": "gpt-5"}
    ids = {"id": new_id(), "upstream_id": uuid.UUID(int=1), "price_id": None}
    rest = {"stream": True, "asked_service_tier": "", "client_request_id": "", "retry_count": 0}
    rest |= {"request_bytes": 40, "hold_nano_usd": 5_000, "hold_tokens": 100}
    return Hold(**(owner | names | ids | rest | fields))


def settled(hold, nano_usd=100, **fields):
    """An end of `hold` that costs `nano_usd`."""
    ended = {"state": "settled", "usage_source": "reported", "status": 200, "input_tokens": 7, "output_tokens": 3}
    return Settlement(id=hold.id, **(ended | {"cost_nano_usd": nano_usd} | fields))


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

    def write(self, holds, ends=()):
        """As another process does it."""
        self.connection.execute(*batch_of(holds, ends))

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
        if self.open(hold):
            assert self.record(hold) is None
            return "pending"
        row = self.record(hold)
        return row and row["state"]

    def states(self):
        """How many requests of this organization are in which state."""
        rows = self.execute(
            "SELECT state, count(*) FROM billing_usagerecord WHERE organization_id = %(id)s GROUP BY state UNION ALL "
            "SELECT 'pending', count(*) FROM billing_hold WHERE organization_id = %(id)s HAVING count(*) > 0",
            {"id": self._owner["organization_id"]},
        )
        return {row["state"]: row["count"] for row in rows}

    def clear(self):
        """Takes away what this organization has."""
        for table in ("billing_hold", "billing_usagerecord"):
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


async def until(condition, seconds=10):
    """What `condition` returns once it is true; for what happens in the lane or the server and tells nobody."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)
    return found
