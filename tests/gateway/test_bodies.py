"""Bodies over a socket: compressed, too large, bombs; and what goes upstream of them."""

import gzip
import json
import random
from hashlib import sha256

import pytest

from gateway.wire.encoding import zstd
from tests.bombs import BOMBS
from tests.gateway.memory import resident
from tests.gateway.test_refusals import assert_envelope
from tests.tenants import until

ENCODE = {"gzip": gzip.compress, "zstd": zstd.compress}
both = pytest.mark.parametrize("encoding", ENCODE)


def post(tenant, body, encoding):
    return tenant.post(body, headers={"Content-Type": "application/json", "Content-Encoding": encoding})


def text(**fields):
    return json.dumps({"model": "sim-ok", "input": "hi", **fields}).encode()


@both
def test_a_compressed_body_is_read_and_goes_upstream_as_it_was(acme, upstream, encoding):
    body = text(metadata={"canary": random.Random(5).randbytes(400_000).hex()})
    response = post(acme, ENCODE[encoding](body), encoding)
    assert response.status_code == 200, response.text
    arrived = upstream.arrived(response.headers["x-request-id"])
    assert arrived["body_sha256"] == sha256(body).hexdigest()
    assert "content-encoding" not in arrived["headers"]
    (record,) = acme.records()
    assert record.request_bytes == len(body)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "gzip, gzip", "zstd,zstd"])
def test_what_is_not_read_is_told_what_is(acme, encoding):
    body = gzip.compress(gzip.compress(text()))
    message = assert_envelope(post(acme, body, encoding), 415, code="unsupported_media_type")
    assert encoding in message
    assert "gzip or zstd" in message


@both
def test_a_second_layer_is_no_json(acme, encoding):
    assert_envelope(post(acme, ENCODE[encoding](ENCODE[encoding](text())), encoding), 400)


@both
def test_a_damaged_body_is_named(acme, encoding):
    body = ENCODE[encoding](text())
    for damaged in (body[:-1], body + b"{}", text(), b""):
        assert_envelope(post(acme, damaged, encoding), 400, code="invalid_encoding")


@both
def test_the_bound_is_on_what_it_inflates_to(acme, encoding):
    body = ENCODE[encoding](json.dumps({"model": "sim-ok", "input": "x" * 33 * 1024 * 1024}).encode())
    assert "inflates to more than" in assert_envelope(post(acme, body, encoding), 413, code="request_too_large")
    assert acme.records() == []


@both
def test_a_bomb_is_refused_and_takes_no_memory(gateway, acme, encoding):
    bomb = BOMBS[encoding](10 * 1024 * 1024)
    post(acme, bomb, encoding)
    before = resident(gateway)
    for _ in range(5):
        assert_envelope(post(acme, bomb, encoding), 413, code="request_too_large")
    until(lambda: resident(gateway) < before + 64 * 1024 * 1024)
    assert acme.ask("sim-ok").status_code == 200
