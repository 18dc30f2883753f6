"""The books of ownership against a real database: first owners, races, look-ups."""

import asyncio
import contextlib
import json
import uuid

import pytest
from psycopg_pool import AsyncConnectionPool

from billing.record import REVIEW_FLAGS
from billing.recovery import Replay
from billing.spool.writer import Spool
from gateway.ownership.claim import Claim
from gateway.ownership.owners import Owner, Ownership, Question, Unavailable
from gateway.upstream.failures import Repeated
from tests import plane_database
from tests.gateway.stage import SSE, Listener, Stage, Upstream, completed, created, delta, response, saying


def an_owner(organization=None, project=None):
    return Owner(organization or uuid.uuid4(), project or uuid.uuid4(), uuid.uuid4(), uuid.uuid4())


def of_its_request(owner):
    return Owner(owner.organization_id, owner.project_id, owner.upstream_id, uuid.uuid4())


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
    assert await ownership.owner(response_id) is None
    await ownership.own(response_id, owner)
    assert await ownership.owner(response_id) == owner


async def test_a_repeated_id_keeps_its_first_owner_and_only_its_project_may_repeat_it(started):
    ownership, first, response_id = started(), an_owner(), an_id()
    await ownership.own(response_id, first)
    await ownership.own(response_id, of_its_request(first))
    with pytest.raises(Repeated):
        await ownership.own(response_id, an_owner(first.organization_id))
    assert await ownership.owner(response_id) == first


async def test_one_id_in_many_processes_at_once_has_one_owner(started):
    processes = [started() for _ in range(4)]
    for _ in range(20):
        ids = [an_id() for _ in range(5)]
        owners = [an_owner() for _ in processes]
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
    await ownership.deleted(response_id, owner)
    assert await ownership.owner(response_id) is None
    with pytest.raises(Repeated):
        await ownership.own(response_id, an_owner())


async def test_what_was_issued_is_known_by_who_is_nearest(started):
    ownership, mine = started(), an_owner()
    sibling, stranger = an_owner(mine.organization_id), an_owner()
    number = uuid.uuid4().int >> 65
    for offset, owners in enumerate([(mine, stranger), (sibling, stranger), (stranger,)]):
        for owner in owners:
            await ownership.begin(of_its_request(owner), digests=(number + offset,)).durable()
    asked = Question((), tuple(range(number, number + 4)), mine.organization_id, mine.project_id)
    found = {item.digest - number: (item.scope, item.upstream_id) for item in (await ownership.named(asked)).issued}
    assert found == {0: (0, mine.upstream_id), 1: (1, sibling.upstream_id), 2: (2, stranger.upstream_id)}


async def test_ids_that_nobody_can_name_are_not_asked_for_and_not_owned(started):
    ownership, owner = started(), an_owner()
    for name in ("", "resp with spaces", "resp\0", "resp_\ud800", "r" * 513, "rösp"):
        await ownership.own(name, owner)
        assert await ownership.owner(name) is None


async def test_without_a_database_an_owner_is_kept_on_disk_and_questions_are_given_up(started, tmp_path, flushes):
    ownership = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01, answer_seconds=0.01)
    response_id = an_id()
    await ownership.own(response_id, an_owner())
    assert any(response_id.encode() in path.read_bytes() for path in tmp_path.glob("*/*") if path.is_file())
    assert flushes, "it went through to the disk"
    with pytest.raises(Unavailable):
        await ownership.owner(response_id)


async def test_an_owner_that_a_dead_process_left_in_its_spool_is_written_by_the_next(started, tmp_path, plane):
    ownership, owner, response_id = started("postgres://nobody@127.0.0.1:1/none", own_seconds=0.01), an_owner(), an_id()
    await ownership.own(response_id, owner)
    await ownership.close(0)
    await ownership._spool.close()
    living = started()
    assert await living.owner(response_id) is None

    async def nothing(*_):
        raise AssertionError("no request was open")

    async with AsyncConnectionPool(plane_database.url(), min_size=1, kwargs={"autocommit": True}) as pool:
        replay = Replay(tmp_path, pool, nothing, nothing, nothing).with_owners(living.write_again)
        assert await replay.run() == 1
    assert await living.owner(response_id) == owner


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_with_anothers_id_is_withheld_and_paid_for(started, meter, books, streamed):
    ownership = started()
    answer = (created(), delta(1), completed(2)) if streamed else (json.dumps(response()).encode(),)
    async with Upstream(saying(*answer), kind=SSE if streamed else b"application/json") as upstream:
        stage = Stage(meter, books, upstream)
        with contextlib.suppress(Repeated):  # somebody's before
            await ownership.own("resp_1", an_owner())
        hold, client = books.hold(), Listener()
        owner = Owner(hold.organization_id, hold.project_id, hold.upstream_id, hold.id)
        with pytest.raises(Repeated):
            await stage.play(client, hold, Claim(ownership, owner, is_stored=True))
        assert (client.status, client.pieces) == (None, [])
        record = books.record(hold)
        assert record["state"] == "settled"
        assert record["cost_nano_usd"] > 0
        # A plain answer was read to its end before its owner was known: it is settled as reported.
        assert REVIEW_FLAGS & set(record["flags"]) == ({"withheld"} if streamed else set())
        await stage.close()
