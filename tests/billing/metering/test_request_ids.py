"""Ids that say when a request began, by the database's clock."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing.metering.request_ids import RequestIds, uuid7

MILLISECONDS = st.integers(0, 2**48 - 1)


@given(milliseconds=MILLISECONDS, randomness=st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid7_of_its_millisecond(milliseconds, randomness):
    made = uuid7(milliseconds, randomness)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds


@given(first=MILLISECONDS, second=MILLISECONDS)
def test_ids_sort_by_time(first, second):
    if first < second:
        assert uuid7(first, b"\xff" * 10) < uuid7(second, bytes(10))


def test_ids_of_one_millisecond_differ():
    assert len({uuid7(1, os.urandom(10)) for _ in range(1000)}) == 1000


def test_ids_and_times_follow_the_databases_clock():
    ids = RequestIds()
    ids.learn(time.time() + 3600)
    made = datetime.fromtimestamp((ids.new().int >> 80) / 1000, UTC)
    for moment in (made, ids.now()):
        assert abs(moment - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=5)
    ids.learn(time.time())
    assert abs(ids.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_clock_that_is_set_anew_moves_nothing(monkeypatch):
    true = time.time
    ids = RequestIds()
    ids.learn(true())
    monkeypatch.setattr(time, "time", lambda: true() - 3600)
    made = datetime.fromtimestamp((ids.new().int >> 80) / 1000, UTC)
    for moment in (made, ids.now()):
        assert abs(moment.timestamp() - true()) < 5
