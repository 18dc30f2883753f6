"""F27: a request's task that is cancelled wherever it waits, from its arrival to its last byte, leaves nothing held."""

import asyncio
import json
import time

import pytest

from billing.prices.tokens import TokenUsage
from gateway.dataplane import DataPlane
from gateway.views import create
from tests import plane_database
from tests.billing.books import Books
from tests.gateway.stage import cancelled_at
from tests.tenants import Tenant, expected_cost

pytestmark = pytest.mark.slow

USED = TokenUsage(input=20, output=8)
MODEL = "sim-usage-20-0-0-8-0.ok"


@pytest.fixture
def tenant(catalog, committed):
    return Tenant.make("cancelled", "")


@pytest.fixture
def books(tenant):
    books = Books(plane_database.url(), tenant.organization.id, tenant.project.id, tenant.key.id)
    yield books
    books.clear()
    books.close()


@pytest.fixture
async def data_plane(tenant, settings, tmp_path):
    settings.DATABASE_URL = plane_database.url()
    settings.SPOOL_DIR = tmp_path / "spool"
    settings.HOLD_SECONDS = settings.SETTLE_SECONDS = 10  # on a loaded machine too
    plane = DataPlane()
    await plane.start()
    yield plane
    await plane.close()


class Called:
    """One POST to the data plane, as a server makes it. The client gives its body in two pieces and stays."""

    def __init__(self, tenant, *, stream):
        body = json.dumps({"model": MODEL, "input": "Hello there", "stream": stream}).encode()
        self._pieces = [body[:20], body[20:]]
        self.scope = {
            "type": "http", "method": "POST", "path": "/v1/responses", "query_string": b"",
            "raw_path": b"/v1/responses",
            "headers": [(b"authorization", f"Bearer {tenant.secret}".encode()), (b"host", b"localhost")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": "", "scheme": "http",
        }  # fmt: skip
        self.status, self.body, self.is_stream = None, b"", stream

    async def receive(self):
        await asyncio.sleep(0)
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}
        return await asyncio.Event().wait()

    async def send(self, message):
        await asyncio.sleep(0)
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


async def test_a_request_cancelled_wherever_it_waits_leaves_nothing_held(data_plane, tenant, books, upstream):
    quota = books.set_quota("cost", 10**12)
    seen, cost = {}, 0
    for stream in (True, False):
        for number in range(500):
            called = Called(tenant, stream=stream)
            request = cancelled_at(number, data_plane(called.scope, called.receive, called.send))
            task = asyncio.create_task(request)
            await asyncio.wait([task])
            await nothing_held(books)
            new = [row for row in rows(books) if row["id"] not in seen]
            assert len(new) <= 1
            seen |= {row["id"]: row for row in new}
            if is_whole(called):
                (record,) = new
                assert (record["usage_source"], record["cost_nano_usd"]) == ("reported", expected_cost(USED))
            if not task.result():
                break
        assert is_whole(called)
        assert number >= 8
    for record in seen.values():
        if upstream.lines_of(str(record["id"])):
            assert record["state"] == "settled"
        else:  # what was cut off with the first bytes may not have arrived
            assert record["state"] == "void" or record["flags"] == ["unanswered"]
        cost += record["charged_nano_usd"]
    assert books.window(quota) == (cost, 0)
    assert {record["state"] for record in seen.values()} == {"void", "settled"}


async def test_a_fault_between_the_hold_and_the_relay_leaves_nothing_held(
    data_plane, tenant, books, monkeypatch, caplog
):
    def fault(*_):
        raise LookupError

    monkeypatch.setattr(create, "Relay", fault)
    called = Called(tenant, stream=True)
    await data_plane(called.scope, called.receive, called.send)
    await nothing_held(books)
    (record,) = rows(books)
    assert (called.status, record["state"], record["flags"]) == (500, "void", ["undispatched"])
    assert f"record {record['id']} was left without an end" in caplog.text


def is_whole(called):
    """Whether the client has the ending, and with it the usage."""
    return called.status == 200 and called.body and (b'"response.completed"' in called.body or not called.is_stream)


def rows(books):
    organization = books.hold().organization_id
    return books.execute("SELECT * FROM billing_usagerecord WHERE organization_id = %s", organization).fetchall()


async def nothing_held(books):
    """Within a second, money.md's bound; ten on a loaded machine."""
    deadline = time.monotonic() + 10
    while "pending" in books.states():
        assert time.monotonic() < deadline, "it is held"
        await asyncio.sleep(0.002)
