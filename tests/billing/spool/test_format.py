"""The bytes: whatever is ruined, all other records are read, and the damage is told."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from billing.spool import abandoned as abandoned_spool
from billing.spool import format as spool_format
from billing.spool.format import Damage
from billing.spool.writer import Kind
from tests.billing.spool.reading import (
    OURS,
    REQUESTS,
    SEED,
    THEIR_SEED,
    complaints,
    found,
)

payloads = st.one_of(
    st.binary(max_size=40),
    st.just(spool_format.MAGIC * 3),
    # A payload that looks like a record: of another spool, for ours starts its CRCs from a random id.
    st.binary(max_size=9).map(lambda inner: spool_format.encode(THEIR_SEED, 1, Kind.FINAL, b"#" * 16, inner)),
)


@given(data=st.data(), texts=st.lists(payloads, min_size=1, max_size=8))
def test_whatever_is_ruined_all_other_records_are_read_and_the_damage_is_told(data, texts):
    records = [spool_format.encode(SEED, n, Kind.OPENED, bytes(16), text) for n, text in enumerate(texts)]
    whole = b"".join(records)
    begin = data.draw(st.integers(0, len(whole) - 1))
    ruin = data.draw(st.one_of(st.binary(min_size=1, max_size=60), st.just(b"\0" * 50), payloads.filter(bool)))
    ruined = bytearray(whole)
    ruined[begin : begin + len(ruin)] = ruin[: len(whole) - begin]

    items = list(spool_format.read(bytes(ruined), SEED))

    edges = [sum(len(record) for record in records[:n]) for n in range(len(records) + 1)]
    kept = [n for n in range(len(records)) if ruined[edges[n] : edges[n + 1]] == records[n]]
    assert [(item.sequence, item.payload) for item in items if not isinstance(item, Damage)] == [
        (n, texts[n]) for n in kept
    ]
    for n in set(range(len(records))) - set(kept):
        gone = any(ruined[edges[n] :]) and not any(edges[n] < edges[k + 1] for k in kept)
        told = [
            item for item in items if isinstance(item, Damage) and item.offset <= edges[n] < item.offset + item.length
        ]
        assert told or not gone or not any(ruined[edges[n] : edges[n + 1]])  # zeros at the end were never written


def test_a_ruined_record_among_whole_ones_is_an_error_a_torn_end_a_warning(tmp_path, caplog):
    folder = tmp_path / str(OURS)
    folder.mkdir()
    one, two, three = (spool_format.encode(SEED, n, Kind.FINAL, REQUESTS[n].bytes, b"usage") for n in range(3))
    (folder / "00000001.spool").write_bytes(one + two.replace(b"usage", b"usagf") + three + three[:-1])
    with caplog.at_level(logging.WARNING, abandoned_spool.__name__):
        assert set(found(folder)) == {REQUESTS[0], REQUESTS[2]}
    assert complaints(caplog, logging.ERROR) == [
        f"spool: {folder}/00000001.spool: records are ruined, {len(two)} bytes from {len(one)}"
    ]
    assert complaints(caplog, logging.WARNING) == [
        f"spool: {folder}/00000001.spool: end is torn, {len(three) - 1} bytes from {3 * len(one)}"
    ]


def test_a_record_of_another_spool_is_none(tmp_path):
    folder = tmp_path / str(OURS)
    folder.mkdir()
    theirs = spool_format.encode(THEIR_SEED, 1, Kind.FINAL, REQUESTS[0].bytes, b"")
    (folder / "00000001.spool").write_bytes(theirs)
    assert found(folder) == {}
