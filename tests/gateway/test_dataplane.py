"""The lean handler: odd requests, odd connections, and that every answer is one of ours."""

import asyncio
import gc
import json
import re
import socket
import tracemalloc
import types
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.http import HttpResponse
from django.urls import get_resolver, path

from billing.models import Hold
from gateway.client import Client, Watch
from gateway.dataplane import DataPlane
from gateway.runtime import Runtime
from gateway.wire.invalid import InvalidRequest
from tests.tenants import until

GOOD = b'{"model": "sim-ok", "input": "hi"}'


class Wire:
    """A connection of bytes to the gateway."""

    def __init__(self, gateway):
        host, port = gateway.origin.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._file = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def send(self, data):
        self._socket.sendall(data)

    def finish(self):
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, head=False):
        """Status, headers and body of the next answer; None where the connection is over."""
        line = self._file.readline()
        if not line:
            return None
        headers = {}
        while (field := self._file.readline().strip()) != b"":
            name, _, value = field.decode("latin-1").partition(": ")
            headers[name] = value
        body = b"" if head else self._file.read(int(headers["content-length"]))
        return int(line.split()[1]), headers, body


@pytest.fixture
def wire(gateway):
    with Wire(gateway) as wire:
        yield wire


def asked(line, tenant=None, body=b"", **headers):
    """A request as bytes."""
    fields = {"Host": "localhost", "Content-Length": len(body), **headers}
    if tenant:
        fields["Authorization"] = f"Bearer {tenant.secret}"
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def is_ours(answer):
    status, headers, body = answer
    uuid.UUID(headers["x-request-id"])
    assert headers["cache-control"] == "no-store"
    assert status == 200 or set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    return status


def test_requests_in_one_piece_are_answered_in_order(acme, wire):
    listed, created = asked("GET /v1/models", acme), asked("POST /v1/responses", acme, GOOD)
    wire.send(created + listed + asked("GET /v1/nonesuch", acme) + created)
    answers = [wire.answer() for _ in range(4)]
    assert [is_ours(answer) for answer in answers] == [200, 200, 404, 200]
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4
    assert len(acme.records()) == 2


@pytest.mark.parametrize(
    ("request_line", "body", "status"),
    [
        ("POST /v1/responses", b"{", 400), ("POST /v1/responses", b'{"model": "nonesuch"}', 404),
        ("PUT /v1/responses", GOOD, 405), ("DELETE /v1/responses", b"", 405), ("OPTIONS /v1/responses", b"", 405),
        ("GET /v1/" + "x" * 8000, b"", 404), ("GET /v1/%00%ff%0a", b"", 404), ("GET /v1", b"", 404),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_connection(acme, wire, request_line, body, status):
    wire.send(asked(request_line, acme, body))
    assert is_ours(wire.answer()) == status
    wire.send(asked("POST /v1/responses", acme, GOOD))
    assert is_ours(wire.answer()) == 200


def test_a_wrong_key_is_refused_before_its_body_is_read(acme, wire):
    wire.send(asked("POST /v1/responses", body=GOOD))
    assert is_ours(wire.answer()) == 401
    wire.send(asked("POST /v1/responses", acme, GOOD))
    assert is_ours(wire.answer()) == 200


def test_head_is_answered_without_a_body(acme, wire):
    wire.send(asked("HEAD /v1/models", acme))
    status, headers, _ = wire.answer(head=True)
    assert status == 405
    assert "x-request-id" in headers
    wire.send(asked("GET /v1/models", acme))
    assert is_ours(wire.answer()) == 200


@pytest.mark.parametrize("target", ["http://localhost/v1/responses", "/v1/%72esponses", "/v1/responses?a=%ff&b"])
def test_a_path_may_be_written_in_other_ways(acme, wire, target):
    wire.send(asked(f"POST {target}", acme, GOOD))
    assert is_ours(wire.answer()) == 200


def test_headers_may_hold_any_byte(acme, wire):
    odd = "\xe9\xff\x80"
    wire.send(asked("POST /v1/responses", acme, GOOD, X_Client_Request_Id=odd, User_Agent=odd, OpenAI_Beta=odd,
                    X_Stainless_Retry_Count=odd))  # fmt: skip
    assert is_ours(wire.answer()) == 200
    (record,) = acme.records()
    assert (record.client_request_id, record.retry_count) == ("", 0)


def test_a_body_may_come_in_chunks_and_after_we_asked_for_it(acme, wire):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (GOOD[:7], GOOD[7:])) + b"0\r\n\r\n"
    head = f"POST /v1/responses HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {acme.secret}\r\n"
    wire.send(f"{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode())
    assert wire._file.readline() == b"HTTP/1.1 100 Continue\r\n"
    wire._file.readline()
    wire.send(chunks)
    assert is_ours(wire.answer()) == 200


def test_a_client_that_leaves_with_half_its_body_sent_leaves_nothing(gateway, acme):
    for _ in range(20):
        with Wire(gateway) as wire:
            wire.send(asked("POST /v1/responses", acme, GOOD)[:-5])
    assert acme.ask("sim-ok").status_code == 200
    assert len(acme.records()) == 1


def test_a_body_that_stops_half_way_is_no_request(gateway, acme, wire):
    wire.send(asked("POST /v1/responses", acme, GOOD)[:-5])
    wire.finish()
    assert wire.answer() is None
    assert acme.records() == []


def test_after_a_body_that_is_too_large_the_connection_ends(acme, wire):
    wire.send(asked("POST /v1/responses", acme, b" " * (33 * 1024 * 1024)))
    answer = wire.answer()
    assert is_ours(answer) == 413
    assert answer[1]["connection"] == "close"
    assert wire.answer() is None


@pytest.mark.slow
def test_a_thousand_clients_that_come_and_go_are_forgotten(gateway, acme):
    def come_and_go(number):
        with Wire(gateway) as wire:
            if number % 2:
                wire.send(asked("POST /v1/responses", acme, GOOD)[: number % 150])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(come_and_go, range(1000)))
    assert acme.ask("sim-ok").status_code == 200
    assert len(acme.records()) == 1


def test_what_follows_on_a_connection_may_be_no_http(gateway, acme):
    for _ in range(10):
        with Wire(gateway) as wire:
            wire.send(asked("POST /v1/responses", acme, b'{"model": "sim-delay-50.ok", "input": "hi"}') + b"\0\r\n\r\n")
            wire.finish()
            while wire.answer():
                pass
    until(lambda: not Hold.objects.filter(organization=acme.organization).exists())
    assert {record.state for record in acme.records()} <= {"settled"}
    assert "the handler is closed" not in gateway.log


def test_a_client_that_leaves_before_the_answer_has_a_record_that_ends(gateway, acme):
    held = Hold.objects.filter(organization=acme.organization)
    for _ in range(5):
        with Wire(gateway) as wire:
            wire.send(asked("POST /v1/responses", acme, b'{"model": "sim-delay-500.ok", "input": "hi"}'))
            until(held.exists)
        until(lambda: not held.exists())
    assert [(record.state, record.usage_source) for record in acme.records()] == [("settled", "drained")] * 5


# Inside, with views of the test's own


class Called:
    """One request to the data plane as a server makes it; `sent` is what came back."""

    def __init__(self, path_info, *, send=None):
        self.scope = {
            "type": "http", "method": "GET", "path": path_info, "raw_path": path_info.encode(), "query_string": b"",
            "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": "", "scheme": "http",
        }  # fmt: skip
        self.sent = []
        self.leaves = asyncio.Event()
        self._send = send

    async def receive(self):
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self._send:
            self._send(message)
        self.sent.append(message)

    @property
    def answer(self):
        start, *rest = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, b"".join(message["body"] for message in rest)


async def fails(request):
    raise LookupError("secret-canary")


class Body(bytes):
    """A request's body that is missed."""

    left = 0

    def __new__(cls):
        cls.left += 1
        return super().__new__(cls)

    def __del__(self):
        Body.left -= 1


async def is_refused(request):
    body = Body()
    kept = asyncio.get_running_loop().create_future()  # as whoever is held or settled waits for one
    kept.set_exception(LookupError("no room"))
    try:
        await kept
    except LookupError as error:
        raise InvalidRequest(f"too much for {len(body)}") from error


async def waits(request):
    await asyncio.Event().wait()


async def answers(request):
    return HttpResponse(b"{}", "application/json")


@pytest.fixture
async def data_plane():
    plane = DataPlane()
    plane.runtime = Runtime()
    routes = types.ModuleType("routes")
    routes.urlpatterns = [
        path("fails", fails),
        path("refused", is_refused),
        path("waits", waits),
        path("answers", answers),
    ]
    plane._resolver = get_resolver(routes)
    return plane


async def test_a_fault_of_ours_is_a_500_that_tells_nothing_but_the_id(data_plane, caplog):
    called = Called("/fails")
    await data_plane(called.scope, called.receive, called.send)
    assert is_ours(called.answer) == 500
    assert b"canary" not in called.answer[2]
    assert b"Traceback" not in called.answer[2]
    assert called.answer[1]["x-request-id"] in caplog.text
    assert "LookupError" in caplog.text


async def test_nothing_of_a_refused_request_waits_for_the_collector(data_plane):
    called = Called("/refused")
    gc.collect()
    gc.disable()
    try:
        await data_plane(called.scope, called.receive, called.send)
        assert is_ours(called.answer) == 400
        assert Body.left == 0
    finally:
        gc.enable()


async def test_a_body_in_tiny_pieces_takes_no_more_memory_than_its_size():
    pieces = 200_000

    async def receive():
        nonlocal pieces
        pieces -= 1
        return {"type": "http.request", "body": bytes(range(pieces % 100, pieces % 100 + 2)), "more_body": pieces > 0}

    client = Client(receive, None, uuid.uuid4(), Watch())
    tracemalloc.start()
    try:
        assert len(await client.read_body(1_000_000)) == 400_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


async def test_a_request_that_the_stopping_server_cuts_off_is_told_to_come_again(data_plane):
    called = Called("/waits")
    task = asyncio.create_task(data_plane(called.scope, called.receive, called.send))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert not task.cancelled()
    assert is_ours(called.answer) == 503
    assert called.answer[1]["x-should-retry"] == "true"
    assert called.answer[1]["retry-after"]


@pytest.mark.parametrize("error", [OSError(), RuntimeError("unable to perform operation; the handler is closed")])
async def test_a_server_that_says_the_client_is_gone_is_believed(data_plane, caplog, error):
    def refuse(message):
        raise error

    called = Called("/answers", send=refuse)
    await data_plane(called.scope, called.receive, called.send)
    assert called.sent == []
    assert caplog.text == ""


async def test_who_left_is_told_of_once_and_sent_nothing_more():
    called, told, gone = Called("/"), [], asyncio.Event()
    client = Client(called.receive, called.send, uuid.uuid4(), Watch())
    client.when_gone(lambda: told.append(1) or gone.set())
    await client.start(200, [])
    called.leaves.set()
    await gone.wait()
    assert client.is_gone
    await client.send(b"x")
    await client.end(b"y")
    assert (len(called.sent), told) == (1, [1])
    client.release()


async def test_the_server_reads_on_from_when_a_client_may_leave():
    """It stops reading behind a large body, and sees nobody leave before it is asked for more."""
    asked = []

    async def receive():
        asked.append(1)
        await asyncio.Event().wait()

    client = Client(receive, None, uuid.uuid4(), Watch())
    client.when_gone(lambda: None)
    assert asked == [1]
    client.release()


async def test_whether_a_client_has_left_is_known_to_the_moment():
    called, told = Called("/"), []
    client = Client(called.receive, called.send, uuid.uuid4(), Watch())
    client.when_gone(lambda: told.append(1))
    assert not client.has_left()
    called.leaves.set()
    assert client.has_left()
    assert (client.is_gone, told) == (True, [1])
    client.release()


def test_no_answer_of_the_gateway_lacks_an_id(gateway, acme):
    answers = [
        httpx.get(f"{acme.url}/models", headers=acme.headers), httpx.get(f"{acme.url}/models"),
        httpx.get(f"{acme.url}/nonesuch"), acme.ask("sim-status-500"), acme.ask("sim-ok"), acme.ask("nonesuch"),
    ]  # fmt: skip
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(answers)
    assert all(re.fullmatch(r"[0-9a-f-]{36}", found) for found in ids)
