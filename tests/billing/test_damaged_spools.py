"""What dead processes left open: whatever one spool, or one entry of it, looks like, the others are replayed."""

import uuid

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from billing.metering.refusals import BillingUnavailable
from billing.prices.estimation import Ratio
from billing.record import Progress, Seen
from billing.recovery.orphan import Basis
from billing.recovery.replay import Replay
from billing.recovery.upkeep import HEARTBEAT
from billing.spool.format import MAGIC
from billing.spool.writer import Kind, Spool
from tests.billing.books import batch_of, settled
from tests.billing.spool.reading import segments

pytestmark = pytest.mark.usefixtures("quiet_loop")


@pytest.fixture
async def replay(books, meter, tmp_path):
    """Over the spools in `tmp_path`; the upstreams know nothing."""

    async def no_truth(orphan):
        return None

    async def basis(orphan):
        return Basis(None, Ratio())

    async with AsyncConnectionPool(books.url, min_size=1, kwargs={"autocommit": True}) as pool:
        yield Replay(tmp_path, pool, meter.recover, no_truth, basis)


def held(books, process_id, **fields):
    """A request that this process left open."""
    hold = books.hold(process_id=process_id, **fields)
    statement, parameters = batch_of([hold], [])
    books.execute(statement, *parameters)
    return hold


async def died(spool_dir, process_id, *entries):
    """A process that wrote these and is gone."""
    spool = Spool(spool_dir, process_id, segment_bytes=1 << 16, max_bytes=1 << 20)
    for kind, hold, payload in entries:
        spool.append(kind, hold.id, payload)
    await spool.close()
    return spool.folder


async def test_an_entry_that_cannot_be_read_keeps_none_of_the_others(books, replay, tmp_path, caplog):
    process_id = uuid.uuid4()
    bad, cut, good, unsent = (held(books, process_id) for _ in range(4))
    folder = await died(
        tmp_path, process_id,
        (Kind.DISPATCHED, bad, b""), (Kind.FINAL, bad, b'{"cost_nano_usd": NaN}'),
        (Kind.DISPATCHED, cut, b""), (Kind.PROGRESS, cut, b'{"delta_events": "many"}'),
        (Kind.DISPATCHED, good, b""), (Kind.FINAL, good, msgspec.json.encode(settled(good, 40))),
    )  # fmt: skip
    assert await replay.run() == 1
    assert not folder.exists()
    assert (books.record(good)["usage_source"], books.record(good)["cost_nano_usd"]) == ("recovered", 40)
    for hold in (bad, cut):
        assert books.record(hold)["flags"] == ["process_died", "unanswered"]
    assert books.state(unsent) == "void"
    assert f"FINAL of record {bad.id}" in caplog.text


async def test_a_spool_of_another_version_is_left_to_a_process_that_reads_it(books, replay, tmp_path, caplog):
    newer, ours = sorted([uuid.uuid4(), uuid.uuid4()])  # in the order of their folders
    of_newer, of_ours = held(books, newer), held(books, ours)
    folder = await died(tmp_path, newer, (Kind.DISPATCHED, of_newer, b""))
    first = folder / segments(folder)[0]
    first.write_bytes(MAGIC[:3] + b"2" + first.read_bytes()[4:])
    await died(tmp_path, ours, (Kind.DISPATCHED, of_ours, b""))
    assert await replay.run() == 1
    assert first.exists()
    assert books.state(of_newer) == "pending"
    assert books.state(of_ours) == "settled"
    assert str(newer) in caplog.text


@pytest.mark.parametrize("damage", ["torn", "ruined", "rebooted", None])
async def test_what_a_damaged_spool_may_have_lost_is_no_void(books, replay, tmp_path, damage):
    """Of a request that is not in it nobody can say that it was never sent."""
    process_id = uuid.uuid4()
    first, lost, last = (held(books, process_id) for _ in range(3))
    folder = await died(tmp_path, process_id, *((Kind.DISPATCHED, hold, b"") for hold in (first, lost, last)))
    spool = folder / segments(folder)[0]
    whole = spool.read_bytes()
    begin, end = (whole.index(hold.id.bytes) for hold in (lost, last))
    if damage == "ruined":
        spool.write_bytes(whole[:begin] + b"?" * 16 + whole[begin + 16 :])
    elif damage == "torn":
        spool.write_bytes(whole[: begin + 8] + bytes(len(whole) - begin - 8))
    else:  # as if it never had been written
        header = begin - whole.rindex(MAGIC, 0, begin)
        spool.write_bytes(whole[: begin - header] + bytes(len(whole) - begin + header))
    if damage == "rebooted":
        (folder / "lock").write_text("3a5f7a2c-another-boot")
    await replay.run()
    record = books.record(lost)
    is_known = damage is None
    assert (record["state"], record["flags"]) == (
        ("void", ["undispatched"]) if is_known else ("settled", ["process_died", "unanswered"])
    )
    assert record["cost_nano_usd"] == 0
    assert end > begin


async def test_what_the_database_knows_to_have_begun_is_no_void_though_the_spool_lost_it(books, replay, tmp_path):
    process_id = uuid.uuid4()
    begun = held(books, process_id, request_bytes=400)
    mark = Progress(id=begun.id, response_id="resp_1", progress=Seen(delta_events=12))
    books.execute("SELECT billing_mark_progress(%s::json)", msgspec.json.encode([mark]).decode())
    other = books.hold()
    await died(tmp_path, process_id, (Kind.DISPATCHED, other, b""))
    await replay.run()
    record = books.record(begun)
    assert (record["state"], record["usage_source"], record["flags"]) == ("settled", "estimated", ["process_died"])
    assert (record["input_tokens"], record["output_tokens"]) == (100, 12)


async def test_an_end_that_the_database_never_takes_is_not_waited_for(books, lane):
    books.add_organization()
    quota = books.set_quota("cost", 10_000)
    hold = books.hold(price_id=uuid.uuid4())
    await lane.hold(hold)
    books.execute("UPDATE billing_quotawindow SET held = 0 WHERE quota_id = %s", quota)
    with pytest.raises(BillingUnavailable):
        await lane.end(settled(hold))
    assert books.state(hold) == "pending"


def test_a_process_that_beats_again_is_not_stopped(books):
    process_id = uuid.uuid4()
    books.execute(HEARTBEAT, process_id, uuid.uuid4())
    books.execute("UPDATE billing_process SET stopped_at = now() - interval '1 day' WHERE id = %s", process_id)
    lost = "SELECT count(*) AS n FROM billing_lost_processes(600) AS lost WHERE lost = %s"
    assert books.execute(lost, process_id).fetchone()["n"] == 1
    books.execute(HEARTBEAT, process_id, uuid.uuid4())
    assert books.execute(lost, process_id).fetchone()["n"] == 0
