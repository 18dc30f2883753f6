"""The relay, from the hold to the last byte: whatever either side does, one record, ended once, for what it cost."""

import asyncio
import contextlib
import json
import time

import pytest

from billing.metering.alarms import ALARMS
from billing.record import Admitted
from gateway.upstream import relay as relay_module
from gateway.upstream.failures import Broken, TooLarge, Unreadable, UpstreamFailed
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Drains, Relay
from tests.billing.books import idle, until
from tests.gateway.stage import (
    MAX_BYTES,
    PRICE,
    WINDOW,
    Listener,
    Stage,
    Upstream,
    cancelled_at,
    completed,
    created,
    delta,
    event,
    response,
    saying,
)  # fmt: skip

STREAM = (created(), delta(1), delta(2), delta(3), completed())
EXACT = 100 * 1_000 + 10 * 10_000  # nano-USD of what `completed` reports
DONE = b"data: [DONE]\n\n"


pytestmark = pytest.mark.usefixtures("quiet_loop")


@pytest.fixture
async def relayed(meter, books):
    """Plays one request against a script and returns its record; the client stays or leaves as it is made."""

    async def play(script, client, drains=None, key=None, **fields):
        async with Upstream(script, **fields) as upstream:
            stage, hold = Stage(meter, books, upstream, drains=drains, key=key), books.hold()
            try:
                await stage.play(client, hold)
            finally:
                await stage.close()
                assert stage.drains.running == 0
                await idle(meter)
                play.record = books.record(hold)
        return play.record

    return play


def ends(record):
    return record["state"], record["usage_source"], record["cost_nano_usd"]


@pytest.mark.parametrize("pieces", [
    STREAM, (b"".join(STREAM),), (completed(),), (created(), completed(), completed(written=999)),
    (created(), event("error", 1, error={"code": "slow"}), completed()), (b": hi\n\n", *STREAM), (*STREAM, DONE),
], ids=["events", "one piece", "ending first", "two endings", "error and yet", "comment first", "done"])  # fmt: skip
async def test_a_stream_passes_as_it_is_and_is_billed_as_reported(relayed, pieces):
    client = Listener()
    record = await relayed(saying(*pieces), client)
    assert (client.status, client.received, client.ended) == (200, b"".join(pieces), True)
    assert ends(record) == ("settled", "reported", EXACT)


def served(tier, **fields):
    return created(tier), completed(service_tier=tier, **fields)


SEARCH = {"type": "web_search_call", "action": {"type": "search"}}
FILE_SEARCH = {"type": "file_search_call"}


@pytest.mark.parametrize(
    ("pieces", "nano", "flags"),
    [
        (served("default"), EXACT, []),
        (served("priority"), 2 * EXACT, []),
        ((created("priority"), completed(service_tier="default")), EXACT, []),
        (served("scale"), EXACT, ["tier_unpriced"]),
        (served("default", output=[SEARCH, SEARCH]), EXACT + 20_000_000, []),
        (served("default", output=[FILE_SEARCH]), EXACT, ["tool_unpriced"]),
    ],
)
async def test_it_is_billed_by_the_tier_served_and_the_tools_called(relayed, pieces, nano, flags):
    record = await relayed(saying(*pieces), Listener())
    assert ends(record) == ("settled", "reported", nano)
    assert record["flags"] == flags


@pytest.mark.parametrize(
    ("ending", "source", "flags"),
    [
        (completed(read=WINDOW - 10, written=10), "reported", []),
        (completed(read=WINDOW, written=1), "reported", ["above_context_window"]),
        (completed(read=2 * WINDOW, written=0, output=[SEARCH]), "reported", []),
        (completed(read=10 * WINDOW, written=0), "reported", ["above_context_window"]),
        (completed(read=10 * WINDOW, written=1), "estimated", ["usage_absent", "absurd_usage"]),
        (completed(read=20 * WINDOW, written=0, output=[SEARCH]), "reported", ["above_context_window"]),
        (completed(read=20 * WINDOW, written=1, output=[SEARCH]), "estimated", ["usage_absent", "absurd_usage"]),
        (completed(read=-1, written=1), "estimated", ["usage_absent", "absurd_usage"]),
        (completed(usage=None), "estimated", ["usage_absent"]),
        (completed(read=0, written=0), "reported", []),
    ],
)
async def test_usage_is_billed_as_reported_unless_nobody_can_believe_it(relayed, ending, source, flags):
    """F18. Another window is believed for each call of a tool, whose answer the model reads."""
    record = await relayed(saying(created(), delta(1), ending), Listener())
    assert (record["usage_source"], record["flags"]) == (source, flags)


async def test_what_needs_a_look_is_counted_and_logged(relayed, caplog):
    before = ALARMS.labels(reason="absurd_usage")._value.get()
    await relayed(saying(created(), completed(read=-1, written=1)), Listener())
    assert ALARMS.labels(reason="absurd_usage")._value.get() == before + 1
    assert "absurd_usage" in caplog.text


async def test_a_line_names_its_tier_and_the_default_one_is_not_written(relayed):
    record = await relayed(saying(*served("priority", output=[SEARCH])), Listener())
    read, written, searched = record["lines"]
    assert read == {
        "kind": "input", "quantity": 100, "price_pico_usd": 2_000_000, "amount_pico_usd": 200_000_000,
        "tier": "priority",
    }  # fmt: skip
    assert (written["kind"], written["tier"]) == ("output", "priority")
    assert searched == {
        "kind": "web_search", "quantity": 1, "price_pico_usd": 10_000_000_000, "amount_pico_usd": 10_000_000_000,
    }  # fmt: skip


async def test_what_broke_off_is_billed_in_the_default_tier_whatever_was_asked(relayed):
    record = await relayed(saying(created("priority"), delta(1)), Listener())
    assert (record["usage_source"], record["service_tier"]) == ("estimated", "priority")
    assert all("tier" not in line for line in record["lines"])
    assert record["cost_nano_usd"] == 1000 * record["input_tokens"] + 10_000 * record["output_tokens"]


async def test_it_goes_by_what_the_upstream_sends_and_not_by_what_was_asked(relayed):
    client, body = Listener(), json.dumps(response()).encode()
    record = await relayed(saying(body), client, kind=b"application/json")
    assert (client.status, client.received) == (200, body)
    assert ends(record) == ("settled", "reported", EXACT)


@pytest.mark.parametrize(
    ("kind", "body", "failure", "end"),
    [
        (b"text/html", b"<html>hello</html>", Unreadable, ("settled", "estimated", 0)),
        (b"application/json", b"", Unreadable, ("settled", "estimated", 0)),
        (b"application/json", b"[1]", Unreadable, ("settled", "estimated", 0)),
        (b"text/event-stream", b"", Broken, ("settled", "estimated", 0)),
        (b"text/event-stream", b": hi\n\n: hi\n\n", Broken, ("settled", "estimated", 0)),
    ],
)  # fmt: skip
async def test_no_answer_at_all_is_an_error_before_the_first_byte(relayed, kind, body, failure, end):
    client = Listener()
    with pytest.raises(failure):
        await relayed(saying(body), client, kind=kind)
    assert (client.status, client.received) == (None, b"")
    assert ends(relayed.record) == end


@pytest.mark.parametrize(
    ("kind", "body", "output"),
    [
        (b"application/json", b" " * (MAX_BYTES + 1), 99_900),
        (b"text/event-stream", b"data: " + b"x" * (MAX_BYTES + 1), 0),
    ],
)
async def test_an_answer_larger_than_is_kept_was_made_and_is_charged(relayed, kind, body, output):
    """A plain one by its bytes, as far as tokens were held; of an event that is cut off nobody knows what it holds."""
    client = Listener()
    with pytest.raises(TooLarge):
        await relayed(saying(body), client, kind=kind)
    assert (client.status, client.received) == (None, b"")
    assert ends(relayed.record) == ("settled", "estimated", 100_000 + 10_000 * output)
    assert (relayed.record["flags"], relayed.record["status"]) == (["event_too_large"], 502)


TOO_MUCH = {"code": "server_error", "message": "x" * (64 * 1024)}


async def test_a_plain_answer_with_an_error_too_long_to_be_passed_on_is_billed_as_reported(relayed):
    client = Listener()
    body = json.dumps(response(status="failed", error=TOO_MUCH)).encode()
    with pytest.raises(Broken):
        await relayed(saying(body), client, kind=b"application/json")
    assert (client.status, client.received) == (None, b"")
    assert (ends(relayed.record), relayed.record["status"]) == (("settled", "reported", EXACT), 502)


FAILED_AT_LENGTH = event("response.failed", 9, response=response(status="failed", error=TOO_MUCH))


async def test_a_stream_whose_ending_is_too_long_to_be_passed_on_is_billed_as_reported(relayed):
    client = Listener()
    record = await relayed(saying(created(), delta(1), FAILED_AT_LENGTH), client)
    assert client.received.startswith(created() + delta(1) + b"event: error\n")
    assert b"event: response.failed\n" in client.received
    assert b"xxx" not in client.received
    assert client.ended
    assert (ends(record), record["status"]) == (("settled", "reported", EXACT), 200)


async def test_an_ending_that_comes_first_and_is_too_long_is_a_plain_error_billed_as_reported(relayed):
    client = Listener()
    with pytest.raises(Broken):
        await relayed(saying(FAILED_AT_LENGTH), client)
    assert (client.status, client.received) == (None, b"")
    assert (ends(relayed.record), relayed.record["status"]) == (("settled", "reported", EXACT), 502)


OUR_KEY = "ours-0123/456789"
TELLING = f"Key {OUR_KEY} of org-AbCdEf0123456789"


@pytest.mark.parametrize(
    ("said", "hides_account"),
    [
        (event("error", 1, error={"message": TELLING}), True),
        (event("response.error", 1, message=TELLING), True),
        (event("notice", 1, message=TELLING, code="x"), True),
        (event("notice", 1, message=TELLING), True),
        (event("notice", 1, message=TELLING).replace(b"/", rb"\/"), True),
        (delta(1, TELLING), False),
    ],
    ids=["error", "a type that ends in error", "message and code", "message", "escaped", "of the model"],
)
async def test_our_key_is_in_no_event_and_our_account_in_none_about_an_error(relayed, said, hides_account):
    client = Listener()
    await relayed(saying(created(), said, completed()), client, key=OUR_KEY.encode())
    assert client.received.startswith(created())
    assert client.received.endswith(completed())
    passed = client.received.replace(b"\\/", b"/")
    assert OUR_KEY.encode() not in passed
    assert b"Key [redacted] of org-" in passed
    assert (b"org-AbCdEf0123456789" not in passed) == hides_account


async def test_our_key_is_in_no_plain_answer(relayed):
    client, body = Listener(), json.dumps(response(notice=TELLING)).encode()
    await relayed(saying(body), client, kind=b"application/json", key=OUR_KEY.encode())
    assert client.received == body.replace(OUR_KEY.encode(), b"[redacted]")


async def test_what_an_upstream_said_before_it_broke_is_repeated_without_our_key(relayed):
    client = Listener()
    await relayed(saying(created(), event("error", 1, message=TELLING)), client, key=OUR_KEY.encode())
    assert b"event: response.failed" in client.received
    assert client.received.count(b"Key [redacted] of org-[redacted]") == 2
    assert OUR_KEY.encode() not in client.received


async def test_comments_without_end_are_no_answer_and_are_not_kept(relayed):
    with pytest.raises(Broken):
        await relayed(saying((b": " + b"x" * 1000 + b"\n\n") * 2000), Listener(), closes=False)
    assert ends(relayed.record) == ("settled", "estimated", 0)


async def test_an_upstream_that_does_not_close_is_not_waited_for(relayed, monkeypatch):
    monkeypatch.setattr(relay_module, "SECONDS_AFTER_THE_ENDING", 0.1)
    client, began = Listener(), time.monotonic()
    record = await relayed(saying(*STREAM), client, closes=False)
    assert time.monotonic() - began < 3
    assert (client.received, client.ended) == (b"".join(STREAM), True)
    assert ends(record) == ("settled", "reported", EXACT)


@pytest.mark.parametrize("is_one_piece", [True, False])
async def test_what_an_upstream_says_behind_its_ending_reaches_nobody(relayed, is_one_piece):
    client = Listener()
    more = (delta(10), event("response.created", 0, response={"id": "resp_of_another"}), completed(11, id="resp_2"))
    sent = (created(), delta(1), completed(), DONE, *more, DONE)
    record = await relayed(saying(b"".join(sent)) if is_one_piece else saying(*sent), client)
    assert client.received == created() + delta(1) + completed() + DONE + DONE
    assert client.ended
    assert ends(record) == ("settled", "reported", EXACT)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_slow_reader_gets_the_ending_however_long_it_takes(meter, books, monkeypatch, closes):
    monkeypatch.setattr(relay_module, "SECONDS_AFTER_THE_ENDING", 0.05)
    client = Listener()
    async with Upstream(saying(created(), delta(1), completed() + DONE), closes=closes) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        client.takes.clear()
        task = asyncio.create_task(stage.play(client, hold))
        for _ in range(2):  # it waits for long before the first piece and before the last
            await client.waits.wait()
            await asyncio.sleep(0.1)
            await client.takes_one()
        client.takes.set()
        await task
        await stage.close()
    assert client.received == created() + delta(1) + completed() + DONE
    assert ends(books.record(hold)) == ("settled", "reported", EXACT)


async def test_a_slow_reader_slows_the_upstream_down(meter, books):
    async def endlessly(send):
        await send(created())
        while True:
            await send(delta(1, "x" * 10_000))

    client = Listener()
    async with Upstream(endlessly) as upstream:
        stage = Stage(meter, books, upstream)
        task = asyncio.create_task(stage.play(client))
        await until(lambda: client.pieces)
        client.takes.clear()
        await client.waits.wait()
        sent = -1
        while sent != upstream.sent_bytes:
            sent = upstream.sent_bytes
            await asyncio.sleep(0.1)
        assert sent < len(client.received) + 16 * 1024 * 1024  # what both kernels buffer
        assert not task.done()
        task.cancel()
        client.takes.set()
        await asyncio.wait([task])
        await stage.close()


# The client leaves


@pytest.mark.parametrize("index", range(6))
async def test_a_client_that_leaves_anywhere_is_read_on_for(relayed, index):
    client = Listener(leaves_after=index)
    record = await relayed(saying(*STREAM), client)
    assert ends(record)[0::2] == ("settled", EXACT)
    assert record["usage_source"] == ("drained" if index < len(STREAM) else "reported")


@pytest.mark.parametrize("limit", [{"seconds": 0.05}, {"most": 0}, {"output_tokens": 2}])
async def test_reading_on_has_its_bounds(relayed, limit):
    async def endlessly(send):
        await send(created())
        for number in range(10_000):
            await send(delta(number))
            await asyncio.sleep(0.002)

    drains = Drains(**({"seconds": 5, "output_tokens": 2000, "most": 64} | limit))
    record = await relayed(endlessly, Listener(leaves_after=2), drains)
    assert (record["state"], record["usage_source"], record["flags"]) == ("settled", "estimated", ["client_gone"])
    assert record["input_tokens"] == 100
    assert 0 < record["output_tokens"] < 200


@pytest.mark.parametrize(
    ("is_sent", "most", "ends_as"), [(False, 0, ("void", [])), (True, 0, ("settled", ["client_gone"])),
                                     (False, 64, ("void", [])), (True, 64, ("settled", ["client_gone"]))],
)  # fmt: skip
async def test_who_leaves_before_any_answer_is_charged_the_input_once_it_was_sent(meter, books, is_sent, most, ends_as):
    async def begin(sent):
        if is_sent:
            sent()
        await asyncio.Event().wait()

    hold, client = books.hold(), Listener(leaves_after=0)
    await meter.hold(hold)
    relay = Relay(Outcome(Admitted(hold, PRICE), meter, time.monotonic()), Drains(0.05, 2000, most), MAX_BYTES)
    await relay.run(begin, client)
    record = books.record(hold)
    assert (record["state"], record["flags"]) == ends_as
    assert (record["cost_nano_usd"], record["input_tokens"]) == ((100_000, 100) if is_sent else (0, 0))


async def test_an_upstream_that_breaks_unanswered_while_it_is_read_on_for_costs_nothing(meter, books):
    async def begin(sent):
        sent()
        await asyncio.sleep(0.01)
        raise Broken("it closed")

    hold, client = books.hold(), Listener(leaves_after=0)
    await meter.hold(hold)
    relay = Relay(Outcome(Admitted(hold, PRICE), meter, time.monotonic()), Drains(5, 2000, 64), MAX_BYTES)
    with pytest.raises(Broken):
        await relay.run(begin, client)
    record = books.record(hold)
    assert (ends(record), record["flags"]) == (("settled", "estimated", 0), ["unanswered"])


SAID = [
    # output items or choices of a plain answer, the tokens it is estimated to have
    ({"output": []}, 0),
    ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "x" * 39}]}]}, 10),
    ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No, é."}]}]}, 2),
    ({"output": [{"type": "function_call", "id": "fc_1", "name": "f", "arguments": '{"a": 1}'}]}, 2),
    ({"output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hmmm"}]}]}, 1),
    ({"choices": [{"message": {"role": "assistant", "content": "x" * 9}}]}, 3),
    ({"output": "odd", "choices": [None, 3]}, 0),
]


@pytest.mark.parametrize(("said", "tokens"), SAID)
@pytest.mark.parametrize("usage", [None, {"input_tokens": 20 * WINDOW, "output_tokens": 1}], ids=["none", "absurd"])
async def test_a_plain_answer_without_usage_is_estimated_by_what_it_says(relayed, said, tokens, usage):
    answer = {"id": "resp_1", "model": "m", "status": "completed", "usage": usage, **said}
    record = await relayed(saying(json.dumps(answer).encode()), Listener(), kind=b"application/json")
    assert (record["state"], record["usage_source"], record["delta_events"]) == ("settled", "estimated", 0)
    assert (record["input_tokens"], record["output_tokens"]) == (100, tokens)


@pytest.mark.parametrize(
    ("hold", "reason"), [({"hold_tokens": 109}, "tokens_over_hold"), ({"hold_nano_usd": EXACT - 1}, "above_hold")]
)
async def test_what_exceeds_its_hold_is_an_alarm(meter, books, caplog, hold, reason):
    before = ALARMS.labels(reason=reason)._value.get()
    async with Upstream(saying(*STREAM)) as upstream:
        stage = Stage(meter, books, upstream)
        await stage.play(Listener(), books.hold(**({"hold_nano_usd": EXACT, "hold_tokens": 110} | hold)))
        assert ALARMS.labels(reason=reason)._value.get() == before + 1
        await stage.play(Listener(), books.hold(hold_nano_usd=EXACT, hold_tokens=110))
        await stage.close()
    assert ALARMS.labels(reason=reason)._value.get() == before + 1
    assert reason in caplog.text


async def test_a_client_that_leaves_while_the_end_is_written_changes_nothing(meter, books):
    client = Listener()
    async with Upstream(saying(*STREAM)) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        await meter.hold(hold)
        with books.locked():
            task = asyncio.create_task(stage.play(client, hold))
            await until(books.is_blocked)  # the hold comes again
            client.leave()
        await task
        await stage.close()
    assert books.record(hold)["cost_nano_usd"] == EXACT
    assert stage.drains.running == 0


# The task is cancelled


@pytest.mark.parametrize("client_stays", [True, False])
async def test_whatever_is_cancelled_wherever_nothing_stays_held(meter, books, client_stays):
    """F27: at each of the task's awaits in turn, until there are none left."""
    async with Upstream(saying(*STREAM, DONE)) as upstream:
        stage = Stage(meter, books, upstream)
        for number in range(200):
            hold, client, asked = books.hold(), Listener(leaves_after=None if client_stays else 2), len(upstream.asked)
            task = asyncio.create_task(cancelled_at(number, stage.play(client, hold)))
            await asyncio.wait([task])
            await idle(meter)
            record = books.record(hold)
            if completed() in client.pieces:
                assert ends(record)[::2] == ("settled", EXACT)
            elif client.received:
                assert record["state"] == "settled"
                assert record["cost_nano_usd"] >= 100_000
            assert record is None or record["state"] in {"void", "settled"}
            if len(upstream.asked) > asked:
                assert record["state"] == "settled"
            if not task.cancelled() and not task.result():
                break
        assert number > 8
        assert stage.drains.running == 0
        assert "pending" not in books.states()
        await stage.close()


async def test_an_ending_that_was_read_counts_though_the_server_stops(meter, books):
    """The client does not take what came before the ending, so the ending was read and is not settled yet."""
    client = Listener()
    async with Upstream(saying(created(), delta(1) + completed()), closes=False) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        client.takes.clear()
        task = asyncio.create_task(stage.play(client, hold))
        await client.takes_one()
        await client.waits.wait()
        task.cancel()
        await asyncio.wait([task])
        await idle(meter)
        await stage.close()
    assert client.received == created()
    assert ends(books.record(hold)) == ("settled", "reported", EXACT)
    assert books.record(hold)["flags"] == []


async def test_a_stream_that_the_server_stops_ends_visibly(meter, books):
    client = Listener()
    async with Upstream(saying(created(), delta(1)), closes=False) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        task = asyncio.create_task(stage.play(client, hold))
        await until(lambda: len(client.pieces) >= 2)
        task.cancel()
        await asyncio.wait([task])
        await idle(meter)
        await asyncio.wait_for(upstream.finished.wait(), 5)  # it was told to stop
        await stage.close()
    assert b"server_shutdown" in client.received
    assert client.ended
    assert (books.record(hold)["flags"], books.record(hold)["output_tokens"]) == (["cancelled"], 1)


class Silent(Upstream):
    async def _serve(self, reader, writer):
        with contextlib.closing(writer.transport):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.read()


@pytest.mark.parametrize(("leaves", "cost", "flag"), [(True, 100_000, "cancelled"), (False, 0, "unanswered")])
async def test_a_server_that_stops_before_the_answer_charges_who_had_left(meter, books, leaves, cost, flag):
    client = Listener()
    async with Silent(None) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        task = asyncio.create_task(stage.play(client, hold))
        await until(lambda: upstream.asked)
        if leaves:
            client.leave()
        task.cancel()
        await asyncio.wait([task])
        await idle(meter)
        await stage.close()
    assert ends(books.record(hold)) == ("settled", "estimated", cost)
    assert books.record(hold)["flags"] == [flag]


async def test_a_fault_of_ours_in_the_middle_ends_the_record(meter, books, monkeypatch):
    client = Listener()

    async def fail(data):
        raise ZeroDivisionError

    monkeypatch.setattr(client, "send", fail)
    async with Upstream(saying(*STREAM)) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        with pytest.raises(ZeroDivisionError):
            await stage.play(client, hold)
        await idle(meter)
        await stage.close()
    assert books.record(hold)["state"] == "settled"


async def test_usage_nested_as_deeply_as_can_be_read_is_billed_and_not_kept(relayed):
    for depth in (*range(900, 1000), 2_000, 5_000, 10_000, 50_000):  # the last that can be read is among them
        deep = b'"x":' + b"[" * depth + b"]" * depth
        body = json.dumps(response()).encode().replace(b'"input_tokens": 100', b'"input_tokens": 100,' + deep)
        with contextlib.suppress(Unreadable):
            record = await relayed(saying(body), Listener(), kind=b"application/json")
            assert (*ends(record), record["reported_usage"]) == ("settled", "reported", EXACT, None)
            continue
        return
    raise AssertionError("every depth could be read")


async def test_what_is_kept_of_a_stream_is_what_the_database_takes(meter, books, monkeypatch):
    monkeypatch.setattr(meter, "_progress_seconds", 0)
    begun = {"id": "resp_1", "model": "m\0" * 200, "service_tier": "a\0" * 40, "status": "in_progress"}
    client = Listener()
    client.takes.clear()
    async with Upstream(saying(event("response.created", 0, response=begun), delta(1), completed())) as upstream:
        stage, hold = Stage(meter, books, upstream), books.hold()
        playing = asyncio.create_task(stage.play(client, hold))
        await until(lambda: (row := books.open(hold)) and row["progress"])
        assert books.open(hold)["progress"]["model"] == "m" * 200
        client.takes.set()
        await playing
        await stage.close()


async def test_an_upstream_that_is_away_leaves_a_void_record(meter, books):
    upstream = Upstream(saying())
    async with upstream:
        pass
    stage, hold = Stage(meter, books, upstream), books.hold()
    with pytest.raises(UpstreamFailed):
        await stage.play(Listener(), hold)
    assert books.state(hold) == "void"
