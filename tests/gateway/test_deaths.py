"""N10. The upstream dies behind every event in every way: the client sees one failure, and there is one record."""

import asyncio
import json
import re
from collections import Counter

import pytest

from billing.models import UsageRecord
from tests.gateway_process import GatewayProcess
from tests.raw_stream import RawStream
from tests.tenants import Tenant, until

SAID = "reasoning-3.tool.paced-4-0.code"
# By what the simulator's page calls them. Those of `error` say so themselves before they die.
WAYS = [
    "fail-silent", "cut-reset", "cut-close", "cut-badchunk", "cut-half", "cut-halfend", "cut-garbage", "cut-badjson",
    "cut-stall", "cut-error", "fail-error",
]  # fmt: skip
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
AT_ONCE = 24


@pytest.fixture
def impatient(catalog, committed, tmp_path):
    """A gateway to which three seconds of silence are an upstream's death, and half of one is worth a comment."""
    bounds = {"TOLLGATE_UPSTREAM_READ_SECONDS": "3", "TOLLGATE_KEEPALIVE_SECONDS": "0.5"}
    with GatewayProcess(tmp_path, **bounds) as process:
        yield Tenant.make("mourner", process.url)


@pytest.mark.slow
def test_wherever_and_however_an_upstream_dies_the_client_sees_one_failure(impatient):
    asked = asyncio.run(die_everywhere(impatient))
    look_at_records(impatient, asked)


async def die_everywhere(tenant):
    """All deaths at once; how many requests were made."""
    async with RawStream(tenant, f"sim-{SAID}", "hi") as whole:
        events = len(events_in(await whole.read()))
    assert events > 40
    stalls, others = asyncio.Semaphore(events + 1), asyncio.Semaphore(AT_ONCE)

    async def die(way, index):
        async with (
            stalls if way == "cut-stall" else others,
            RawStream(tenant, f"sim-{SAID}.{way}-{index}", "hi") as stream,
        ):
            too_slow = way == "cut-stall" and stream.status == 504  # the simulator itself was, on a busy machine
            if (index or way.endswith("error")) and not too_slow:
                assert stream.status == 200, (way, index)
                look_at(await stream.read(), way, index, whole=events)
                return
            refused = json.loads(await stream.chunk())["error"]
            expected = (504, "timeout") if way == "cut-stall" else (502, "upstream_error")
            assert (stream.status, refused["code"]) == expected, way

    async with asyncio.TaskGroup() as dying:
        for way in WAYS:
            for index in range(events + 1):
                dying.create_task(die(way, index))
    return 1 + len(WAYS) * (events + 1)


def look_at(received, way, index, *, whole):
    """What a client got of a stream that died behind its `index`th event."""
    place, kinds = (way, index), [kind for kind, _ in events_in(received)]
    assert received.endswith(b"\n\n"), place
    counted = Counter(kind for kind in kinds if kind in TERMINAL)
    assert sum(counted.values()) == 1, place
    if index == whole and counted["response.completed"]:
        return  # it had ended before it died
    last, response = events_in(received)[-1]
    assert (last, counted["response.failed"], kinds.count("error")) == ("response.failed", 1, 1), place
    assert kinds[-2] == "error", place
    opened = [event for kind, event in events_in(received) if kind == "response.created"]
    numbers = [event["sequence_number"] for _, event in events_in(received) if event]
    assert numbers == list(range(len(numbers))) or way == "cut-badjson", place
    assert response["sequence_number"] == numbers[-2] + 1, place
    for created in opened:
        same = {"status", "error", "output", "usage"}
        assert without(response["response"], same) == without(created["response"], same), place
    assert set(response["response"]["error"]) == {"code", "message"}, place
    assert (response["response"]["status"], response["response"]["output"]) == ("failed", []), place


def look_at_records(tenant, expected):
    def ended():
        records = UsageRecord.objects.filter(organization=tenant.organization)
        states = Counter(records.values_list("state", flat=True))
        return states if sum(states.values()) == states["settled"] + states["void"] == expected else None

    until(ended, seconds=30)
    for record in tenant.records():
        assert record.cost_nano_usd <= record.hold_nano_usd
        assert record.usage_source in {"reported", "estimated", "none"}


def events_in(received):
    """Type and content of each event; garbage has no content."""
    found = []
    for block in re.split(r"\n\n", received.decode("utf-8", "replace")):
        data = "\n".join(line[6:] for line in block.split("\n") if line.startswith("data: "))
        if data:
            try:
                event = json.loads(data)
            except ValueError:
                event = {}
            found.append((event.get("type", "garbage"), event))
    return found


def without(response, names):
    return {name: value for name, value in response.items() if name not in names}
