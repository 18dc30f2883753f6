"""Processes that die between an id and its owner, that race for one id, and that wait for an upstream that froze."""

import json
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from billing.models import Hold
from gateway.models import ResponseOwner
from tests.faults.books import UpstreamsLog, assert_books_balance, assert_one_record_each, funded, records_of
from tests.gateway.words import few_words
from tests.gateway_process import GatewayProcess
from tests.tenants import add_model, until

pytestmark = pytest.mark.slow

JSON, SSE = {"Content-Type": "application/json"}, {"Content-Type": "text/event-stream"}
RACES = 20


def retrieved(tenant, origin, response_id):
    answer = httpx.get(f"{origin}/v1/responses/{response_id}", headers=tenant.headers, timeout=30)
    return answer.status_code


def host(folder):
    """Makes the processes of a host one after the other."""
    numbers = iter(range(100))
    return lambda faults="": GatewayProcess(
        folder / str(next(numbers)), SPOOL_DIR=str(folder / "spool"), TOLLGATE_FAULTS=faults
    )


@pytest.fixture
def log(catalog, committed, upstream):
    return UpstreamsLog(upstream)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("point", ["owner.before", "owner.after"])
def test_whoever_got_an_id_from_a_process_that_died_has_the_response_and_nobody_else(log, tmp_path, point, streamed):
    process = host(tmp_path)
    with process(f"{point}=kill@2") as dying:
        acme, globex = funded("acme", dying.url), funded("globex", dying.url)
        told = acme.ask("sim-ok").json()["id"]
        with suppress(httpx.HTTPError):
            answer = acme.ask("sim-ok", stream=streamed)
            raise AssertionError(f"it was told before it died: {answer.content!r}")
        until(lambda: dying.process.exit_code() == -signal.SIGKILL)
    with process() as living:
        assert retrieved(acme, living.origin, told) == 200
        assert retrieved(globex, living.origin, told) == 404
        records = records_of(acme)
        assert len(records) == 2
        assert_one_record_each(records, log.requests(), {})
        rows = ResponseOwner.objects.filter(record_id__in=[record.id for record in records])
        assert point == "owner.before" or rows.count() == 2, "durable before it could leave"
        for row in rows:
            assert row.project_id == acme.project.id
            assert retrieved(globex, living.origin, row.response_id) == 404
    assert_books_balance(acme)


@pytest.fixture
def scripted(committed, plane):
    """An upstream of few words that serves a model for all."""
    with few_words(f"scripted-{uuid.uuid4().hex[:8]}") as (server, upstream):
        name = f"scripted-{uuid.uuid4().hex[:8]}"
        model = add_model(name, upstream)
        server.model, server.row = name, upstream
        yield server
        model.delete()


def test_of_two_processes_that_race_for_one_id_one_has_it(catalog, scripted, tmp_path):
    with GatewayProcess(tmp_path / "1") as one, GatewayProcess(tmp_path / "2") as two, ThreadPoolExecutor(2) as pool:
        tenants = [funded("racer", process.url) for process in (one, two)]
        for _ in range(RACES):
            response_id = f"resp_{uuid.uuid4().hex}"
            answer = {"id": response_id, "status": "completed", "output": [], "usage": None}
            both = threading.Barrier(2)
            scripted.answers["/responses"] = (200, JSON, Together(both, json.dumps(answer).encode()))
            answers = list(pool.map(lambda tenant: tenant.ask(scripted.model), tenants))
            assert sorted(answer.status_code for answer in answers) == [200, 502]
            (row,) = ResponseOwner.objects.filter(response_id=response_id)
            winner = answers[0].status_code != 200
            assert row.project_id == tenants[winner].project.id
            assert response_id not in answers[not winner].text
            scripted.answers[f"/responses/{response_id}"] = (200, JSON, [b"{}"])
            seen = [retrieved(tenant, process.origin, response_id) for tenant in tenants for process in (one, two)]
            assert seen == ([404, 404, 200, 200] if winner else [200, 200, 404, 404])
        for tenant in tenants:
            assert len(records_of(tenant)) == RACES
            assert_books_balance(tenant)


class Together:
    """A body that is sent to both at the same time."""

    def __init__(self, barrier, body):
        self._barrier, self._body = barrier, body

    def __iter__(self):
        self._barrier.wait(20)
        yield self._body


CREATED = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"%b"}}\n\n'


@pytest.mark.parametrize("sent", ["nothing", "half of the first event", "the first event"])
def test_an_upstream_that_freezes_is_waited_for_within_bounds(catalog, scripted, tmp_path, sent):
    first = CREATED % f"resp_{uuid.uuid4().hex}".encode()
    pieces = {"nothing": [], "half of the first event": [first[:40]], "the first event": [first]}[sent]
    thaw = threading.Event()
    scripted.answers["/responses"] = (200, SSE, [*pieces, thaw])
    with GatewayProcess(tmp_path, TOLLGATE_UPSTREAM_READ_SECONDS="1") as process:
        tenant = funded("patient", process.url)
        answer = tenant.ask(scripted.model, stream=True)
        thaw.set()
        if sent == "the first event":
            assert answer.status_code == 200
            assert answer.text.count("event: response.failed") == 1
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        (record,) = records_of(tenant)
        assert not Hold.objects.filter(organization=tenant.organization).exists()
        assert (record.state, record.cost_nano_usd) == ("void" if sent == "the first event" else "settled", 0)
        owned = ResponseOwner.objects.filter(project_id=tenant.project.id).count()
        assert owned == (sent == "the first event")
    assert_books_balance(tenant)
