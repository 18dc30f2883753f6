import pytest

from gateway.local.simulator.reading import Reading
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.reported import Reported
from gateway.local.simulator.store import Store

pytestmark = pytest.mark.asyncio


def keep(store, name, size=10):
    reply = Reply({"model": "gpt-4.1"}, Reported(new_id=lambda: f"resp_{name}"), "sk")
    reading = Reading([], [{"id": f"msg_{name}", "content": "x" * size}], 1)
    with store.running("sk", reply, reading):
        store.end("sk", reply, {"id": reply.id, "output": [{"id": f"out_{name}"}]})


async def test_what_is_forgotten_leaves_nothing_behind():
    store = Store(most=3)
    for number in range(10):
        keep(store, number)
    assert [store.item("sk", f"{kind}_{number}") is not None for kind in ("msg", "out") for number in (6, 7, 9)] == [
        False, True, True, False, True, True
    ]  # fmt: skip
    for number in range(7, 10):
        assert store.delete("sk", f"resp_{number}")
    assert (store._items, store._bytes, len(store._ended), store._running) == ({}, 0, 0, {})


async def test_the_bytes_stored_are_bounded_and_the_newest_always_stays():
    store = Store(most_bytes=1000)
    for number in range(10):
        keep(store, number, 300)
    assert [store.find("sk", f"resp_{number}") is not None for number in range(10)] == [False] * 8 + [True] * 2
    keep(store, "huge", 5000)
    assert store.find("sk", "resp_9") is None
    assert store.find("sk", "resp_huge").input[0]["content"] == "x" * 5000
