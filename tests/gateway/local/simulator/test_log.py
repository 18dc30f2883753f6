import asyncio
import hashlib
import json
import re

import httpx
import pytest

from gateway.local.simulator import Simulator
from gateway.local.simulator.log import Log
from gateway.local.simulator.sent import KEPT_BODIES, Sent
from tests.gateway.local.simulator.asking import (
    ECHO,
    ECHO_TOKENS,
    KEY,
    TLS,
    asking,
    events_in,
    leave_after,
    said,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]


async def test_generation_stops_when_the_client_leaves(simulator, client):
    entry = await leave_after(simulator, client, "sim-paced-10000-1", 8, "left")
    assert entry["ending"] == "client_gone"
    assert 8 <= entry["events"] < 1000
    assert "usage" not in entry


async def test_a_client_that_reads_slowly_holds_generation_back(simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]), limit=1024)
    body = json.dumps(asking("sim-big-8192", stream=True)).encode()
    writer.write(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode())
    writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readexactly(100_000)
    writer.transport.abort()
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    assert entry["ending"] == "client_gone"
    assert entry["events"] < 9


async def test_held_answers_go_on_when_released(simulator, client):
    answers = [
        asyncio.create_task(
            client.post("/responses", json=asking("sim-hold", stream=True), headers={"x-client-request-id": name})
        )
        for name in ("one", "two", "three")
    ]
    await simulator.holds.until(3)
    admin = f"{simulator.origin}/simulator"
    held = (await client.get(f"{admin}/held")).json()
    assert held["held"] == 3
    assert {"one", "two", "three"} <= {name for names in held["names"] for name in names}
    assert (await client.post(f"{admin}/release/two")).json() == {"released": 1}
    await answers[1]
    await simulator.holds.until(2)
    assert not answers[0].done()
    assert (await client.post(f"{admin}/release")).json() == {"released": 2}
    for answer in await asyncio.gather(*answers):
        assert said([json.loads(data) for _, data in events_in(answer.content)]) == ECHO


async def test_a_hold_ends_with_its_time_or_its_client(simulator, client):
    assert (await client.post("/responses", json=asking("sim-hold-10"))).status_code == 200
    entry = await leave_after(simulator, client, "sim-hold-0-3", 3, "gone")
    assert (entry["ending"], entry["events"]) == ("client_gone", 3)
    await simulator.holds.until(0)


async def test_the_log_tells_what_was_asked_and_what_was_sent(simulator, client):
    body = json.dumps(asking("gpt-4.1", stream=True)).encode()
    answer = await client.post("/responses?beta=true", content=body, headers={"x-client-request-id": "mine"})
    arrived, ended = simulator.log.entries
    assert arrived["kind"] == "arrived"
    assert (arrived["client_request_id"], arrived["query"]) == ("mine", "beta=true")
    assert (arrived["model"], arrived["stream"]) == ("gpt-4.1", True)
    assert arrived["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert arrived["headers"]["authorization"] == "sha256:" + hashlib.sha256(f"Bearer {KEY}".encode()).hexdigest()
    events = [json.loads(data) for _, data in events_in(answer.content)]
    assert (ended["number"], ended["ending"], ended["status"]) == (arrived["number"], "completed", 200)
    assert (ended["events"], ended["deltas"]) == (len(events), len(ECHO_TOKENS))
    assert ended["response_id"] == events[0]["response"]["id"]
    assert ended["usage"] == events[-1]["response"]["usage"]
    assert ended["body_sha256"] == hashlib.sha256(answer.content).hexdigest()


async def test_the_log_tells_whose_what_was_asked_and_whether_a_model_worked_for_it(simulator, client):
    made = (await client.post("/responses", json=asking("gpt-4.1"))).json()["id"]
    await client.post("/responses/input_tokens", json={"model": "gpt-4.1", "input": "x"})
    compacted = (await client.post("/responses/compact", json={"model": "gpt-4.1", "input": "x"})).json()["id"]
    await client.post("/responses", json=asking("sim-quota"))
    await client.get(f"/responses/{made}/input_items")
    await client.get(f"/responses/{made}")
    await client.post(f"/responses/{made}/cancel")
    await client.delete(f"/responses/{made}")
    await client.get("/models/gpt-4.1")
    await client.get("/nowhere")
    await client.get("/models", headers={"authorization": "Bearer other"})
    lines = simulator.log.ended()
    assert [(line["endpoint"], line["response_id"], line["billable"]) for line in lines] == [
        ("create", made, True),
        ("input_tokens", None, False),
        ("compact", compacted, True),
        ("create", None, False),
        ("input_items", made, False),
        ("retrieve", made, False),
        ("cancel", made, False),
        ("delete", made, False),
        ("model", None, False),
        (None, None, False),
        ("models", None, False),
    ]
    digests = ["sha256:" + hashlib.sha256(key.encode()).hexdigest() for key in (KEY, "other")]
    assert [line["account"] for line in lines] == [digests[0]] * 10 + digests[1:]
    arrived = [line for line in simulator.log.entries if line["kind"] == "arrived"]
    assert [(line["endpoint"], line["account"]) for line in arrived] == [
        (line["endpoint"], line["account"]) for line in lines
    ]


async def test_the_exact_bytes_can_be_fetched_afterwards(simulator, client):
    answer = await client.post(
        "/responses", json=asking("sim-pieces", stream=True), headers={"x-client-request-id": "a"}
    )
    response_id = simulator.log.ended()[-1]["response_id"]
    for name in ("a", response_id):
        assert (await client.get(f"{simulator.origin}/simulator/sent/{name}")).content == answer.content
    await client.get(f"/responses/{response_id}")
    assert (await client.get(f"{simulator.origin}/simulator/sent/{response_id}")).content == answer.content
    assert (await client.get(f"{simulator.origin}/simulator/sent/unknown")).status_code == 404


async def test_the_bodies_kept_are_bounded():
    sent = Sent()
    for number in range(KEPT_BODIES + 1):
        sent.keep(number, b"x", [f"name-{number}", "last"])
    assert sent.find("name-0") is None
    assert sent.find("name-1") == b"x"
    sent.keep(-1, bytes(80 * 1024 * 1024), ["huge"])
    assert sent.find("last") is None
    assert len(sent.find("huge")) == 80 * 1024 * 1024


async def test_many_requests_on_one_connection_are_answered_in_order(simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]))
    for name in ("gpt-4.1", "nobody", "o3-pro"):
        writer.write(f"GET /v1/models/{name} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode())
    answers = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        answers.append((int(head.split()[1]), json.loads(body).get("id")))
    writer.close()
    assert answers == [(200, "gpt-4.1"), (404, None), (200, "o3-pro")]


async def test_stopping_ends_open_answers_and_says_so(tmp_path):
    async with Simulator(log=tmp_path / "log") as simulator, httpx.AsyncClient(verify=TLS) as http:
        headers = {"authorization": "Bearer any"}
        asked = asyncio.create_task(http.post(f"{simulator.url}/responses", json=asking("sim-hold"), headers=headers))
        await simulator.holds.until(1)
    with pytest.raises(httpx.TransportError):
        await asked
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line.get("ending") for line in lines] == [None, "stopped"]


async def test_a_log_goes_on_where_it_ended(tmp_path):
    for number in range(2):
        log = Log(tmp_path / "log")
        log.write("arrived", number=number)
        log.close()
    assert [json.loads(line)["number"] for line in (tmp_path / "log").read_text().splitlines()] == [0, 1]
