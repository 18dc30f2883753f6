"""Tokens of images: the published examples and tables, and sizes out of headers."""

import base64
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.images import image_rule_of, size_in, size_of
from tests.gateway import requests_made


def most(model, size, detail=None):
    return image_rule_of(model).most_tokens(size, detail)


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 2_520),  # published: 765 by tiles; 1,024 patches of the dearest family
        ("gpt-4o", (9000, 9000), "high", 3_779), ("gpt-4o", None, None, 3_779),
        ("gpt-4o-mini-2024-07-18", (1, 1), "low", 48_169), ("ft:gpt-4o-mini-2024-07-18:x", None, None, 48_169),
        ("gpt-5-mini", (1800, 2400), "high", 3_779),  # published: 2,352
        ("gpt-5.4", (1800, 2400), "original", 5_130), ("gpt-5.4", (1800, 2400), "high", 3_000),
        ("gpt-5.4-nano", None, "original", 3_779), ("gpt-5.5", None, "auto", 12_000), ("gpt-5.5", None, "low", 3_000),
        ("gpt-5.6-sol", (1800, 2400), "auto", 10_517), ("gpt-5.6", (1, 1), None, 630),
        ("gpt-5.6", (32_000, 32_000), "original", 2_460_000), ("gpt-5.6", None, None, None),
        ("gpt-5.6", None, "high", 6_150), ("gpt-6-astra", None, ["high"], None),
        ("sim-ok", None, "high", None), ("sim-ok", (1, 1), None, 48_169), ("sim-ok", (6400, 6400), "low", 98_400),
    ],
)  # fmt: skip
def test_the_most_an_image_may_be(model, size, detail, tokens):
    assert most(model, size, detail) == tokens


@pytest.mark.parametrize("write", [requests_made.png, requests_made.jpeg, requests_made.webp])
@given(width=st.integers(1, 16_383), height=st.integers(1, 16_383), seed=st.integers(0, 99))
def test_a_size_is_read_from_the_header(write, width, height, seed):
    encoded = base64.b64encode(write(width, height, Random(seed)) + bytes(seed)).decode()
    assert size_of(f"data:image/jpeg;base64,{encoded}") == size_in(encoded) == (width, height)


@pytest.mark.parametrize(
    "url",
    [
        "", "https://example.com/a.png", "data:image/png;base64,", "data:image/png;base64,iVBORw0KGgo",
        "data:text/plain;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "data:image/png;base64,\u4f60\u597d\u4f60",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAAAAAABCAYAAAAfFcSJ",  # no pixel wide
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg AAAAEAAAABCAYAAAAfFcSJ", "data:image/jpeg;base64,/9j/",
        "data:image/jpeg;base64,/9j/2wAC/9oADP/AABEIAQABAA==",  # the scan begins before a frame
        "data:image/jpeg;base64,/9j/4f//AAAA", "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAAC",
        "data:image/webp;base64,UklGRv8AAABXRUJQVlA5WA==",
    ],
)  # fmt: skip
def test_what_does_not_say_has_no_size(url):
    assert size_of(url) is None


@given(st.text(max_size=90), st.binary(max_size=60))
def test_any_header_has_a_size_or_none(text, header):
    for content in (
        text,
        *(base64.b64encode(start + header).decode() for start in (b"\xff\xd8\xff", b"RIFFxxxxWEBPVP8")),
    ):
        size = size_in(content)
        assert size is None or min(size) > 0
