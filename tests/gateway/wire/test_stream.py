import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire.stream import BYTE_ORDER_MARK, EventSplitter, EventTooLarge, data_of, events_of, has_data, with_data
from tests.gateway.wire.streams import cuttings, pieces

BOUND = 1 << 20
LINES = st.sampled_from(
    [
        "event: response.created",
        "data: {}",
        "data:1",
        "data: é你好",
        "data",
        ": keepalive",
        "",
        "",
        "id: 7",
        "\ufeff",
        "x",
    ]
)


@st.composite
def streams(draw):
    """Lines of all kinds under any line ends, with or without a byte order mark; bytes that are no text at times."""
    text = "".join(line + draw(st.sampled_from(["\n", "\r\n", "\r"])) for line in draw(st.lists(LINES, max_size=12)))
    end = draw(st.sampled_from([b"", b"\n", b"data: cut off", b"\xef\xbb", b"\r"]))
    return draw(st.sampled_from([b"", BYTE_ORDER_MARK])) + text.encode() + end


def normalised(stream):
    """What the splitter promises, said for the stream as a whole."""
    text = with_line_feeds(stream)
    rest = text[text.rfind(b"\n\n") + 2 :] if b"\n\n" in text else text
    return text + (b"" if not rest.strip(b"\n") else b"\n" if rest.endswith(b"\n") else b"\n\n")


def with_line_feeds(stream):
    return stream.removeprefix(BYTE_ORDER_MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def split(chunks):
    splitter = EventSplitter(BOUND)
    return [splitter.feed(chunk) for chunk in chunks], splitter.close()


@given(st.data(), streams())
def test_however_a_stream_is_cut_the_same_bytes_come_out(data, stream):
    blocks, rest = split(data.draw(cuttings(stream)))
    assert b"".join(blocks) + rest == normalised(stream)


@given(st.data(), streams())
def test_every_piece_ends_at_a_border_between_events(data, stream):
    blocks, rest = split(data.draw(cuttings(stream)))
    assert all(block.endswith(b"\n\n") for block in blocks if block)
    assert not rest.strip(b"\n") or rest.endswith(b"\n\n")


@given(st.data(), streams())
def test_no_event_waits_for_more_than_its_blank_line(data, stream):
    """After each chunk, all that is whole by then has come out: also after a CR that an LF may follow."""
    chunks = data.draw(cuttings(stream))
    splitter, seen, left = EventSplitter(BOUND), b"", b""
    for chunk in chunks:
        seen, left = seen + chunk, left + splitter.feed(chunk)
        text = with_line_feeds(seen)
        assert text.startswith(left)
        assert b"\n\n" not in text[len(left) :]


@pytest.mark.parametrize(
    "stream",
    [
        b"\xef\xbb\xbfevent: a\ndata: 1\n\n", b"event: a\rdata: 1\r\r", b"event: a\r\ndata: 1\r\n\r\n",
        b"event: a\ndata: 1", b"event: a\ndata: 1\n",
    ],
    ids=["mark", "cr", "crlf", "unterminated", "no-blank-line"],
)  # fmt: skip
def test_framing_that_breaks_real_clients_is_mended(stream):
    for chunks in (pieces(stream, []), pieces(stream, range(1, len(stream)))):
        blocks, rest = split(chunks)
        assert b"".join(blocks) + rest == b"event: a\ndata: 1\n\n"


def test_a_mark_is_dropped_at_the_start_alone():
    blocks, _ = split([b"data: 1\n\n", b"\xef\xbb\xbfdata: 2\n\n"])
    assert blocks == [b"data: 1\n\n", b"\xef\xbb\xbfdata: 2\n\n"]


def test_whole_events_pass_in_the_very_object_that_came():
    chunk = b"data: 1\n\ndata: 2\n\n"
    assert EventSplitter(BOUND).feed(chunk) is chunk


def test_nothing_is_left_of_a_stream_that_ended_at_a_border():
    assert split([b"data: 1\n\n"])[1] == b""
    assert split([])[1] == b""


def test_an_event_may_be_as_large_as_the_bound():
    splitter = EventSplitter(100)
    assert splitter.feed(b"x" * 100) == b""
    assert splitter.feed(b"\n\n") == b"x" * 100 + b"\n\n"


def test_an_event_beyond_the_bound_is_refused_whole_ones_before_it_or_not():
    splitter = EventSplitter(100)
    assert splitter.feed(b"data: 1\n\n" + b"x" * 100) == b"data: 1\n\n"
    with pytest.raises(EventTooLarge, match="100 bytes"):
        splitter.feed(b"x")


def test_a_large_event_in_small_chunks_takes_linear_time():
    splitter = EventSplitter(1 << 25)
    for _ in range(20_000):
        assert splitter.feed(b"x" * 256) == b""
    assert len(splitter.feed(b"\n\n")) == 20_000 * 256 + 2


@given(streams())
def test_the_events_of_a_block_are_its_bytes(stream):
    text = normalised(stream)
    events = list(events_of(text))
    assert b"".join(events) == text
    assert all(event.endswith(b"\n\n") and event.count(b"\n\n") == 1 for event in events[:-1])


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"event: a\ndata: 1\n\n", b"1"), (b"data:1\n\n", b"1"), (b"data:  1\n\n", b" 1"), (b": c\n\n", b""),
        (b'data: {\ndata:"a": 1\nid: 3\ndata: }\n\n', b'{\n"a": 1\n}'), (b"data: data: 1\n\n", b"data: 1"),
        (b"\ndata: 1\n\n", b"1"), (b"event: data: 1\n\n", b""), (b"data:\n\n", b""),
    ],
)  # fmt: skip
def test_data_is_read_as_the_standard_says(event, data):
    assert data_of(event) == data
    assert has_data(event) == (re.search(rb"^data:", event, re.MULTILINE) is not None)


def test_other_data_takes_the_place_of_the_old_line_by_line():
    event = b'event: a\ndata:{"a":\nid: 7\ndata:  1}\n: c\n\n'
    assert with_data(event, b'{"b":\n 22}') == b'event: a\ndata:{"b":\nid: 7\ndata:  22}\n: c\n\n'


@given(streams())
@example(b"\n\ndata: 1\n\n")
def test_the_same_data_changes_nothing(stream):
    for event in events_of(normalised(stream)):
        assert with_data(event, data_of(event)) == event
