"""The books of ownership against a real database: first owners, races, look-ups."""

import asyncio
import contextlib
import itertools
import json
import uuid

import msgspec
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from billing.metering.connection import OPTIONS
from billing.record import REVIEW_FLAGS
from billing.recovery.replay import Replay
from billing.spool.writer import Spool
from gateway.ownership.claim import Claim, owner_of
from gateway.ownership.owners import OWN, Owner, Ownership, Question, Unavailable, _claimed
from gateway.upstream.failures import NotKept, Repeated
from gateway.wire.references import Kind, digest_of
from tests import plane_database
from tests.gateway.stage import (
    MAX_BYTES,
    SSE,
    Listener,
    Stage,
    Upstream,
    completed,
    created,
    delta,
    event,
    response,
    saying,
)


def an_owner(organization=None, project=None):
    return Owner(organization or uuid.uuid4(), project or uuid.uuid4(), uuid.uuid4(), uuid.uuid4())


def of_its_request(owner):
    return Owner(owner.organization_id, owner.project_id, owner.upstream_id, uuid.uuid4())


def at_the_upstream_of(other, owner=None):
    owner = owner or an_owner()
    return Owner(owner.organization_id, owner.project_id, other.upstream_id, uuid.uuid4())


def an_id():
    return f"resp_{uuid.uuid4().hex}"


@pytest.fixture
async def started(plane, tmp_path):
    """Makes books of ownership, each as of a process of its own."""
    made = []

    def start(url=None, *, own_seconds=5.0, answer_seconds=5.0):
        spool = Spool(tmp_path, uuid.uuid4())
        ownership = Ownership(
            url or plane_database.url(), spool, own_seconds=own_seconds, answer_seconds=answer_seconds
        )
        ownership.start()
        made.append((ownership, spool))
        return ownership

    yield start
    for ownership, spool in made:
        await ownership.close(0.1)
        await spool.close()


async def test_an_answer_is_known_by_its_id_to_who_asks_for_its_owner(started):
    ownership, owner, response_id = started(), an_owner(), an_id()
    assert await ownership.owned(response_id, owner.project_id) is None
    await ownership.own(response_id, owner)
    assert await ownership.owned(response_id, owner.project_id) == owner
    assert await ownership.owned(response_id, uuid.uuid4()) is None


async def test_a_repeated_id_keeps_its_first_owner_and_only_its_project_may_repeat_it(started):
    ownership, first, response_id = started(), an_owner(), an_id()
    await ownership.own(response_id, first)
    await ownership.own(response_id, of_its_request(first))
    with pytest.raises(Repeated):
        await ownership.own(response_id, at_the_upstream_of(first, an_owner(first.organization_id)))
    assert await ownership.owned(response_id, first.project_id) == first


async def test_what_two_upstreams_call_the_same_is_two_things_and_tells_nothing_of_each_other(started):
    ownership, first, second, response_id = started(), an_owner(), an_owner(), an_id()
    for owner in (first, second):
        await ownership.own(response_id, owner)
        assert await ownership.owned(response_id, owner.project_id) == owner
    await ownership.own(response_id, at_the_upstream_of(first, at_the_upstream_of(first, first)))
    await ownership.own(response_id, an_owner(first.organization_id, first.project_id))
    assert await ownership.owned(response_id, first.project_id) == first, "the oldest"
    await ownership.deleted(response_id, first)
    assert await ownership.owned(response_id, second.project_id) == second


async def test_one_id_in_many_processes_at_once_has_one_owner(started):
    processes = [started() for _ in range(4)]
    for _ in range(20):
        ids = [an_id() for _ in range(5)]
        upstream = an_owner()
        owners = [at_the_upstream_of(upstream) for _ in processes]
        outcomes = await asyncio.gather(
            *(
                process.own(response_id, owner)
                for process, owner in zip(processes, owners, strict=True)
                for response_id in (ids if owner is not owners[0] else reversed(ids))
            ),
            return_exceptions=True,
        )
        assert outcomes.count(None) == len(ids)
        assert sum(isinstance(outcome, Repeated) for outcome in outcomes) == len(ids) * (len(owners) - 1)


async def test_a_deleted_response_is_nobodys_and_never_will_be(started):
    ownership, owner, response_id = started(), an_owner(), an_id()
    await ownership.own(response_id, owner)
    with pytest.raises(Repeated):
        await ownership.deleted(response_id, at_the_upstream_of(owner))
    assert await ownership.owned(response_id, owner.project_id) == owner, "another cannot"
    await ownership.deleted(response_id, owner)
    assert await ownership.owned(response_id, owner.project_id) is None
    with pytest.raises(Repeated):
        await ownership.own(response_id, at_the_upstream_of(owner))


async def test_what_an_upstream_issued_is_known_by_who_is_nearest_and_who_was_first(started):
    ownership, mine = started(), an_owner()
    sibling, stranger = (at_the_upstream_of(mine, an_owner(of)) for of in (mine.organization_id, None))
    number = uuid.uuid4().int >> 65
    issued = [(mine, stranger), (sibling, stranger), (stranger,), (stranger, mine), (sibling, mine), ()]
    for offset, owners in enumerate(issued):
        for owner in owners:
            await issue(ownership, owner, number + offset)
    other = an_owner(mine.organization_id, mine.project_id)
    await issue(ownership, other, number + 2)
    known = (await ownership.named(question(mine, *range(number, number + len(issued))))).issued
    here = {
        found.digest - number: (found.scope, found.is_own) for found in known if found.upstream_id != other.upstream_id
    }
    assert here == {0: (0, True), 1: (1, False), 2: (2, False), 3: (0, False), 4: (0, False)}
    there = [
        (found.digest - number, found.scope, found.is_own) for found in known if found.upstream_id == other.upstream_id
    ]
    assert there == [(2, 0, True)]


async def issue(ownership, owner, *digests):
    """By a request of its own, later than those before."""
    record_id = uuid.UUID(int=next(MOMENTS))
    owner = Owner(owner.organization_id, owner.project_id, owner.upstream_id, record_id)
    await ownership.begin(owner, digests=digests).durable()


MOMENTS = itertools.count(uuid.uuid4().int >> 1)


def question(owner, *digests):
    return Question(owner.project_id, (), digests, owner.organization_id)


async def test_who_asks_for_thousands_keeps_nobody_else_waiting(plane, tmp_path):
    spool = Spool(tmp_path, uuid.uuid4())
    ownership = Ownership(plane_database.url(), spool, own_seconds=5, answer_seconds=5)
    number, owner = uuid.uuid4().int >> 65, an_owner()
    large = [asyncio.ensure_future(ownership.named(question(owner, *range(number, number + 5000)))) for _ in range(4)]
    await asyncio.sleep(0)
    small = [asyncio.ensure_future(ownership.named(question(an_owner(), number))) for _ in range(20)]
    await asyncio.sleep(0)
    ownership.start()
    await asyncio.wait(small)
    assert sum(one.done() for one in large) <= 1
    await asyncio.gather(*small, *large)
    await ownership.close(1)
    await spool.close()


async def test_organizations_that_ask_for_thousands_take_turns(plane, tmp_path):
    spool = Spool(tmp_path, uuid.uuid4())
    ownership = Ownership(plane_database.url(), spool, own_seconds=5, answer_seconds=5)
    number, owner, other = uuid.uuid4().int >> 65, an_owner(), an_owner()
    names = range(number, number + 300)
    many = [asyncio.ensure_future(ownership.named(question(owner, *names))) for _ in range(10)]
    await asyncio.sleep(0)
    one = asyncio.ensure_future(ownership.named(question(other, *names)))
    await asyncio.sleep(0)
    ownership.start()
    await one
    assert sum(each.done() for each in many) <= 2
    await asyncio.gather(*many)
    await ownership.close(1)
    await spool.close()


async def test_thousands_of_names_are_not_each_compared_with_each(started):
    """A statement that did so would be given up by the database."""
    ownership, owner = started(answer_seconds=20), an_owner()
    number = uuid.uuid4().int >> 66
    for part in range(4):
        await issue(ownership, owner, *range(number + part * 10_000, number + part * 10_000 + 10_000))
    with psycopg.connect(plane_database.url(), autocommit=True) as connection:
        connection.execute("ANALYZE gateway_issued")  # of a small table an index is not always worth it
    known = await ownership.named(question(owner, *range(number + 15_000, number + 25_000)))
    assert len(known.issued) == 10_000
    assert all(found.is_own for found in known.issued)


def test_what_is_written_reads_no_other_owner_however_few_there_were_when_it_was_planned(plane):
    read = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'gateway_responseowner'"
    with psycopg.connect(plane_database.url(), autocommit=True, options=OPTIONS) as connection:
        connection.execute("TRUNCATE gateway_responseowner")
        connection.execute("VACUUM ANALYZE gateway_responseowner")
        owner = an_owner()

        def write(*names, is_deleted=False):
            items = [_claimed(owner, name, (), is_deleted=is_deleted) for name in names]
            answer = connection.execute(OWN, [msgspec.json.encode(items).decode()]).fetchone()[0]
            assert json.loads(answer) == [True] * len(names)

        with connection.transaction():
            write(an_id(), is_deleted=True)
            names = [an_id() for _ in range(500)]
            write(*names)
            (before,) = connection.execute(read).fetchone()
            write(an_id(), names[0])
            write(names[1], is_deleted=True)
            (after,) = connection.execute(read).fetchone()
        assert after - before < 20
        connection.execute("TRUNCATE gateway_responseowner")


async def test_ids_that_nobody_can_name_are_not_asked_for_and_not_owned(started):
    ownership, owner = started(), an_owner()
    for name in ("", "resp with spaces", "resp\0", "resp_\ud800", "r" * 513, "rösp"):
        await ownership.own(name, owner)
        assert await ownership.owned(name, owner.project_id) is None


async def test_without_a_database_an_owner_is_kept_on_disk_and_questions_are_given_up(started, tmp_path, flushes):
    ownership = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01, answer_seconds=0.01)
    response_id = an_id()
    await ownership.own(response_id, an_owner())
    assert any(response_id.encode() in path.read_bytes() for path in tmp_path.glob("*/*") if path.is_file())
    assert flushes, "it went through to the disk"
    with pytest.raises(Unavailable):
        await ownership.owned(response_id, uuid.uuid4())


async def test_an_owner_that_can_be_kept_nowhere_is_said_to_be_none(started):
    ownership = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01)
    await ownership._spool.close()
    with pytest.raises(NotKept):
        await ownership.own(an_id(), an_owner())
    await ownership.begin(an_owner(), digests=(1,)).durable()  # what was issued is unknown then, no more
    with pytest.raises(NotKept):
        await started().begin(an_owner(), an_id(), (2**63,)).durable()  # the database refuses that


async def test_an_owner_that_a_dead_process_left_in_its_spool_is_written_by_the_next(started, tmp_path, plane):
    ownership, owner, response_id = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01), an_owner(), an_id()
    await ownership.own(response_id, owner)
    await ownership.close(0)
    await ownership._spool.close()
    living = started()
    assert await living.owned(response_id, owner.project_id) is None

    async def nothing(*_):
        raise AssertionError("no request was open")

    async with AsyncConnectionPool(plane_database.url(), min_size=1, kwargs={"autocommit": True}) as pool:
        replay = Replay(tmp_path, pool, nothing, nothing, nothing).with_owners(living.write_again)
        assert await replay.run() == 1
    assert await living.owned(response_id, owner.project_id) == owner


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_with_anothers_id_is_withheld_and_paid_for(started, meter, books, streamed):
    ownership = started()
    answer = (created(), delta(1), completed(2)) if streamed else (json.dumps(response()).encode(),)
    async with Upstream(saying(*answer), kind=SSE if streamed else b"application/json") as upstream:
        stage = Stage(meter, books, upstream)
        hold, client = books.hold(), Listener()
        owner = owner_of(hold)
        with contextlib.suppress(Repeated):  # somebody's before
            await ownership.own("resp_1", at_the_upstream_of(owner))
        with pytest.raises(Repeated):
            await stage.play(client, hold, Claim(ownership, owner, is_stored=True))
        assert (client.status, client.pieces) == (None, [])
        record = books.record(hold)
        assert record["state"] == "settled"
        assert record["cost_nano_usd"] > 0
        if streamed:
            assert (record["response_id"], record["status"]) == ("", 502)
        # A plain answer was read to its end before its owner was known: it is settled as reported.
        assert REVIEW_FLAGS & set(record["flags"]) == ({"withheld"} if streamed else set())
        await stage.close()


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_whose_owner_can_be_kept_nowhere_is_withheld_and_paid_for(started, meter, books, streamed):
    ownership = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01)
    await ownership._spool.close()
    answer = (created(), delta(1), completed(2)) if streamed else (json.dumps(response()).encode(),)
    async with Upstream(saying(*answer), kind=SSE if streamed else b"application/json") as upstream:
        stage, hold, client = Stage(meter, books, upstream), books.hold(), Listener()
        with pytest.raises(NotKept):
            await stage.play(client, hold, Claim(ownership, owner_of(hold), is_stored=True))
        assert (client.status, client.pieces) == (None, [])
        record = books.record(hold)
        assert (record["state"], record["cost_nano_usd"] > 0) == ("settled", True)
        await stage.close()


@pytest.mark.parametrize("is_anothers", [True, False])
async def test_an_id_that_comes_later_is_owned_before_it_leaves_too(started, meter, books, is_anothers):
    ownership, hold, client, later = started(), books.hold(), Listener(), an_id()
    owner = owner_of(hold)
    if is_anothers:
        await ownership.own(later, at_the_upstream_of(owner))
    own = an_id()
    first = event("response.created", 0, response={"id": own, "model": "m"})
    other = event("response.in_progress", 1, response={"id": later, "model": "m", "status": "in_progress"})
    last = event("response.completed", 3, response={**response(), "id": later})
    async with Upstream(saying(first, other, delta(2), last)) as upstream:
        stage = Stage(meter, books, upstream)
        await stage.play(client, hold, Claim(ownership, owner, is_stored=True))
        await stage.close()
    assert (await ownership.owned(later, owner.project_id) is None) == is_anothers
    assert (later.encode() in client.received) != is_anothers
    assert books.record(hold)["response_id"] == own
    if is_anothers:
        *_, error, failed = (
            json.loads(line[6:]) for line in client.received.split(b"\n") if line.startswith(b"data: ")
        )
        assert (error["type"], error["sequence_number"]) == ("error", 1)
        assert (failed["type"], failed["sequence_number"], failed["response"]["id"]) == ("response.failed", 2, own)
    assert client.received.count(b'"type": "response.completed"') == (not is_anothers)
    assert books.record(hold)["cost_nano_usd"] > 0


async def test_an_answer_with_ids_without_end_is_broken_off(started, meter, books):
    others = [event("response.in_progress", n, response={"id": an_id(), "status": "in_progress"}) for n in range(40)]
    async with Upstream(saying(*others, completed(40))) as upstream:
        stage, hold, client = Stage(meter, books, upstream), books.hold(), Listener()
        await stage.play(client, hold, Claim(started(), owner_of(hold), is_stored=True))
        await stage.close()
    assert b"response.completed" not in client.received
    assert b"response.failed" in client.received


REASONING = {"type": "reasoning", "id": "rs_1", "encrypted_content": "sealed", "summary": []}
GIVEN = {digest_of(Kind.ITEM, "rs_1"), digest_of(Kind.CONTENT, "sealed")}
ITEM_DONE = event("response.output_item.done", 2, output_index=0, item=REASONING)


async def known_of(ownership, owner):
    """What is known to have been issued to the owner by then, of what the item gives away."""
    await issue(ownership, owner, uuid.uuid4().int >> 65)  # all before it is written too
    return {found.digest for found in (await ownership.named(question(owner, *GIVEN))).issued if found.scope == 0}


ENDINGS = {
    "complete without output": ((completed(3),), None),
    "broken off": ((), None),
    "too large": ((b"data: " + b"x" * (MAX_BYTES + 1),), None),
    "left by its client": ((delta(3), completed(4)), 3),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_came_before_an_ending_is_its_projects_however_it_ends(started, meter, books, ending):
    rest, leaves_after = ENDINGS[ending]
    ownership, hold = started(), books.hold()
    async with Upstream(
        saying(created(), delta(1), ITEM_DONE, *rest), closes=ending != "left by its client"
    ) as upstream:
        stage = Stage(meter, books, upstream)
        if leaves_after:
            stage.drains.most = 0
        client = Listener(leaves_after=leaves_after)
        await stage.play(client, hold, Claim(ownership, owner_of(hold), is_stored=False))
        await stage.close()
    assert await known_of(ownership, owner_of(hold)) == GIVEN


async def test_what_came_before_its_task_was_cancelled_is_its_projects(started, meter, books):
    ownership, hold, client = started(), books.hold(), Listener()
    forever = asyncio.Event()

    async def play(send):
        await send(created() + ITEM_DONE)
        await forever.wait()

    async with Upstream(play) as upstream:
        stage = Stage(meter, books, upstream)
        task = asyncio.create_task(stage.play(client, hold, Claim(ownership, owner_of(hold), is_stored=False)))
        while not client.pieces:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await stage.close()
    assert await known_of(ownership, owner_of(hold)) == GIVEN


async def test_what_the_request_named_was_not_given_away_by_its_answer(started, meter, books):
    ownership, hold = started(), books.hold()
    async with Upstream(saying(created(), ITEM_DONE, completed(3, output=[REASONING]))) as upstream:
        stage = Stage(meter, books, upstream)
        claim = Claim(ownership, owner_of(hold), is_stored=False, named={digest_of(Kind.ITEM, "rs_1")})
        await stage.play(Listener(), hold, claim)
        await stage.close()
    assert await known_of(ownership, owner_of(hold)) == {digest_of(Kind.CONTENT, "sealed")}
