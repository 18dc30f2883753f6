"""POST /v1/responses/input_tokens: routed as a response would be, relayed, in no books, few at once."""

import asyncio
import contextlib
import json
import socket
import uuid

import httpx
import pytest

from gateway.upstream.exchange import QUERY
from tests.tenants import Tenant, until

BODY = {"model": "sim-usage-1000-200-100-50-20", "input": "Hello"}


def count(tenant, body, **fields):
    url = f"{tenant.url}/responses/input_tokens"
    return httpx.post(url, headers=tenant.headers, json=body, timeout=30, **fields)


def test_the_count_is_relayed_and_free(acme, upstream):
    response = count(acme, BODY)
    assert response.status_code == 200
    assert response.json() == {"object": "response.input_tokens", "input_tokens": 1000}
    assert response.content == upstream.sent(response.headers["x-request-id"])
    assert acme.records() == []


def test_it_goes_upstream_as_a_response_would(acme, upstream):
    headers = {**acme.headers, "Cookie": "a=b", "OpenAI-Organization": "org-theirs", "OpenAI-Beta": "x=v1"}
    url = f"{acme.url}/responses/input_tokens?beta=true&include[]=a:b"
    response = httpx.post(url, headers=headers, json=BODY)
    arrived = upstream.arrived(response.headers["x-request-id"])
    assert arrived["query"] == "beta=true&include[]=a:b"
    sent = {name.lower() for name in arrived["headers"]}
    assert sent == {
        "host", "content-type", "accept", "accept-encoding", "user-agent", "x-client-request-id", "content-length",
        "authorization", "openai-beta",
    }  # fmt: skip
    assert set(response.headers) == {
        "date", "openai-processing-ms", "openai-version", "content-type", "content-length", "x-request-id",
        "cache-control",
    }  # fmt: skip
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x"}, 400, "model"), ({**BODY, "model": "nonesuch"}, 404, "model"),
        ({**BODY, "background": True}, 400, "background"), ({**BODY, "conversation": "conv_1"}, 400, "conversation"),
        ({**BODY, "previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({**BODY, "temperature": 1}, 400, "temperature"), ({"model": "sim-unauthorized", "input": "x"}, 502, None),
    ],
)  # fmt: skip
def test_it_is_refused_as_a_response_would_be(acme, body, status, param):
    response = count(acme, body)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert acme.records() == []


def test_a_model_that_the_key_may_not_use(gateway, committed):
    narrow = Tenant.make("narrow", gateway.url, allowed_models=["gpt-*"])
    assert count(narrow, BODY).status_code == 403


@pytest.mark.parametrize("query", [b"a=%20" * 1500, b"a=\xc3\xa9", b'a="', b"a=<", b"a=>"])
def test_a_query_that_cannot_go_upstream_is_refused_rather_than_left_out(gateway, acme, query):
    body = json.dumps(BODY).encode()
    head = b"POST /v1/responses/input_tokens?%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: %d"
    with socket.create_connection(gateway.origin.removeprefix("http://").split(":"), timeout=10) as connection:
        connection.sendall(head % (query, acme.secret.encode(), len(body)) + b"\r\n\r\n" + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_query_goes_upstream_as_it_came_or_not_at_all():
    every = bytes(set(range(0x21, 0x7F)) - set(b'"#<>'))
    assert QUERY.fullmatch(every + b"%zz%2%")
    assert httpx.URL("http://a/b").copy_with(query=every + b"%zz%2%").raw_path == b"/b?" + every + b"%zz%2%"
    assert not [byte for byte in range(256) if byte not in every and QUERY.fullmatch(bytes([byte]))]


async def test_an_organization_has_few_at_once_and_those_who_leave_make_room(acme, globex, upstream):
    """Each of the eight waits for an answer that would take a minute."""
    slow = {"model": "sim-delay-60000", "input": "x"}
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:

        def ask(tenant, body):
            url = f"{tenant.url}/responses/input_tokens"
            return client.post(url, headers={**tenant.headers, "X-Client-Request-Id": str(uuid.uuid4())}, json=body)

        before = counted(upstream)
        waiting = [asyncio.create_task(ask(acme, slow)) for _ in range(8)]
        await asyncio.to_thread(until, lambda: counted(upstream) == before + 8)
        refused = await ask(acme, BODY)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await ask(globex, BODY)).status_code == 200
        waiting.pop().cancel()
        await asyncio.to_thread(until, lambda: count(acme, BODY).status_code == 200)
        for task in waiting:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waiting)


def counted(upstream):
    lines = upstream.lines()
    return sum(line.get("path") == "/v1/responses/input_tokens" for line in lines if line["kind"] == "arrived")
