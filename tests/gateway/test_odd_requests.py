"""Whatever is written on a socket: no request that the gateway has not judged goes upstream, and each is answered."""

import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.gateway.odd_requests import INSIDE, STARTS, asked_again, odd_requests
from tests.gateway.proxies import proxy

AT_ONCE = 32
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

pytestmark = pytest.mark.slow


def spoken(connect, sent, patience=10):
    """All that comes back for these bytes, until the other side ends or says nothing for so many seconds."""
    with connect() as connection:
        connection.settimeout(patience)
        answer = b""
        try:
            connection.sendall(sent)
            while data := connection.recv(65536):
                answer += data
        except (ConnectionError, TimeoutError):  # it may hang up on what it does not like
            pass
    return answer


def answers(connect, tenant, **how):
    """To all odd requests; at last one like any other is answered as ever."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(partial(spoken, connect, **how), odd_requests(tenant)))
    assert len(found) > 300
    assert STATUS.match(spoken(connect, asked_again(tenant)))[1] == b"200"
    return found


def arrived(upstream, tenant):
    """The query of each request that arrived since, by our request id; each of them is in the books once."""
    ours = {str(record.id) for record in tenant.records()}
    lines = [line for line in upstream.lines() if line["kind"] == "arrived"]
    found = Counter()
    for line in lines:
        if line["client_request_id"] in ours:
            found[line["query"]] += 1
    return found


def test_an_upstream_sees_no_request_that_was_not_judged(gateway, acme, upstream, record_property):
    host, port = gateway.origin.removeprefix("http://").split(":")
    found = answers(lambda: socket.create_connection((host, int(port))), acme, patience=1.5)
    queries = arrived(upstream, acme)
    for number, answer in enumerate(found):
        statuses = STATUS.findall(answer)
        assert all(status == b"200" or status.startswith(b"4") for status in statuses), (number, answer)
        seen = queries[f"case={number}"] + queries[f"hidden={number}"]
        assert seen <= statuses.count(b"200"), (number, answer)
        assert number not in INSIDE or not queries[f"hidden={number}"], (number, answer)
        assert statuses or number >= len(found) - len(STARTS), (number, answer)
    assert "Traceback" not in gateway.log
    kinds = Counter(b" ".join(STATUS.findall(answer)).decode() for answer in found)
    record_property("figures", f"{len(found)} requests: {dict(kinds)}")


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_nothing_gets_past_a_proxys_rules(gateway, acme, upstream, tmp_path, name):
    """What a proxy takes for one request and the gateway for two would be judged by the gateway alone."""
    with proxy(name, gateway, tmp_path) as path:

        def connect():
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            return connection

        found = answers(connect, acme)
    queries = arrived(upstream, acme)
    assert not [query for query in queries if "hidden" in query]
    assert not [query for query, count in queries.items() if "case" in query and count > 1]
    assert sum(queries.values()) > 5
    assert b"HTTP/1.1 403 " in b"".join(found)
    assert "Traceback" not in gateway.log
