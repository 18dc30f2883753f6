"""Whatever dies, one record for each request: a process of a loaded host is killed at each named point.

The ids say which rows of the failure table a point belongs to (docs: money, F1-F28).
"""

import asyncio
import contextlib
import random
import signal
from functools import partial

import pytest

from billing.faults import POINTS
from tests.faults.books import UpstreamsLog, assert_books_balance, assert_one_record_each, funded, records_of
from tests.faults.conftest import Host
from tests.faults.load import MIXED, REPORTED, Ask, Clients
from tests.tenants import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# Where a process that serves requests may die: the rows, the point, at what time it dies there.
KILLS = [
    ("F1", "hold.before", 7),
    ("F2", "hold.after", 6),
    ("F3", "dispatch.after", 7),
    ("F3", "answer.begun", 6),
    ("F4", "owner.before", 6),
    ("F4", "owner.after", 5),
    ("F4", "event.passed", 60),
    ("F4", "ending.read", 5),
    ("F5", "final.spooled", 6),
    ("F6", "settle.after", 6),
    ("F7", "ending.sent", 5),
    ("F7", "acknowledge.after", 4),
    ("F1-F5", "metering.sent", 6),
    ("F8", "metering.answered", 6),
    ("F3-F5", "spool.write", 25),
]
SERVING = [point for _, point, _ in KILLS]
REPLAYING = ["replay.entry", "replay.settled"]
OF_CELERY = ["reap.entry", "post.after"]  # tests/faults/test_celery.py

# The long profile's rounds, and how many processes die in each.
ROUNDS, AT_ONCE = 52, 4

# What must be among the records that others ended, by source and flags.
MARKS = {
    "hold.after": [("none", ["undispatched"])],
    "dispatch.after": [("estimated", ["process_died", "unanswered"])],
    "answer.begun": [("estimated", ["process_died", "unanswered"])],
    "event.passed": [("estimated", ["process_died"]), ("recovered", [])],
    "ending.read": [("estimated", ["process_died"]), ("recovered", [])],
    "final.spooled": [("recovered", [])],
}


def test_each_point_is_tried():
    assert sorted([*SERVING, *REPLAYING, *OF_CELERY]) == sorted(POINTS)


def is_dead(process):
    return process.process.exit_code() == -signal.SIGKILL


def killed_under_load(process, tenant, asks, **fields):
    """What the clients were told of the answers that came."""
    clients = Clients(tenant, **fields)
    asyncio.run(clients.ask_until(lambda: is_dead(process), asks))
    assert is_dead(process), "the point was not reached"
    return clients.told


@pytest.mark.parametrize(("point", "nth"), [kill[1:] for kill in KILLS], ids=["-".join(kill[:2]) for kill in KILLS])
def test_a_process_that_dies_there_leaves_one_record_for_each_request(inhabited_host, committed, upstream, point, nth):
    log = UpstreamsLog(upstream)
    with inhabited_host.process(f"{point}=kill@{nth}") as process:
        tenant = funded(point, process.url)
        if point == "final.spooled":  # the upstream will not be able to tell: the spool must
            told = killed_under_load(process, tenant, REPORTED, store=False)
        else:
            told = killed_under_load(process, tenant, MIXED)
    records = records_of(tenant)
    assert_one_record_each(records, log.requests(), told)
    assert_books_balance(tenant)
    marks = MARKS.get(point)
    assert marks is None or any((record.usage_source, record.flags) in marks for record in records)


def test_a_replay_that_dies_half_way_is_taken_up_by_the_next(host, upstream):
    log = UpstreamsLog(upstream)
    with host.process("event.passed=kill@70", TOLLGATE_RECOVERY_SECONDS="60") as process:
        tenant = funded("replayed", process.url)
        told = killed_under_load(process, tenant, [Ask("sim-paced-40-20")])  # all are open then
    for point in REPLAYING:
        with host.process(f"{point}=kill@2") as replaying:
            until(lambda: is_dead(replaying))
    with host.process():
        records = records_of(tenant)
    assert_one_record_each(records, log.requests(), told)
    assert_books_balance(tenant)


ROUNDS = 56
AT_ONCE = 4  # processes


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_hundred_deaths_with_the_real_bounds(catalog, committed, upstream, tmp_path):
    host = Host(tmp_path, tenths=False)
    with host.process():
        kills = sum(deaths_at_once(host, upstream, random.Random(seed)) for seed in range(ROUNDS))
    assert kills >= 200


def deaths_at_once(host, upstream, chance):
    """How many processes died; the one that lives has taken up what they left."""
    log = UpstreamsLog(upstream)
    kills = [(point, chance.randint(1, 2 * nth)) for _, point, nth in chance.sample(KILLS, AT_ONCE)]
    processes = [host.process(f"{point}=kill@{nth}") for point, nth in kills]
    with contextlib.ExitStack() as running:
        for process in processes:
            process.start()
        for process in processes:
            running.enter_context(process)
        clients = [Clients(funded("killed", process.url)) for process in processes]
        asyncio.run(all_until_dead(processes, clients))
        assert all(map(is_dead, processes)), kills
    records = [record for client in clients for record in records_of(client.tenant, seconds=60)]
    told = {request_id: usage for client in clients for request_id, usage in client.told.items()}
    assert_one_record_each(records, log.requests(), told)
    for client in clients:
        assert_books_balance(client.tenant)
    return len(processes)


async def all_until_dead(processes, clients):
    await asyncio.gather(
        *(
            client.ask_until(partial(is_dead, process), MIXED)
            for process, client in zip(processes, clients, strict=True)
        )
    )
