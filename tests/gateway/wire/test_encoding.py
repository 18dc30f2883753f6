import gzip
import random

import pytest

from gateway.wire.encoding import (
    FREE_OF_RATIO_BYTES,
    PIECE_BYTES,
    Damaged,
    Inflated,
    UnknownEncoding,
    inflated,
    zstd,
)
from tests.bombs import BOMBS

MOST = 8 * 1024 * 1024
ENCODE = {"gzip": gzip.compress, "zstd": zstd.compress}
NOISE = random.Random(5).randbytes(3 * PIECE_BYTES + 7)
both = pytest.mark.parametrize("encoding", ENCODE)


def whole(body, encoding, most=MOST):
    return b"".join(inflated(body, encoding, most))


@both
@pytest.mark.parametrize("text", [b"", b"{}", b'{"a": "' + b"x" * 900_000 + b'"}', NOISE])
def test_what_was_compressed_comes_back(encoding, text):
    assert whole(ENCODE[encoding](text), encoding) == text


@both
def test_pieces_are_small(encoding):
    assert max(map(len, inflated(ENCODE[encoding](NOISE), encoding, MOST))) <= PIECE_BYTES


@pytest.mark.parametrize("name", [" GZIP", "x-gzip", "Gzip "])
def test_names_of_gzip(name):
    assert whole(gzip.compress(b"{}"), name) == b"{}"


@pytest.mark.parametrize("name", ["br", "deflate", "gzip, gzip", "gzip,zstd", "zstd, identity", "compress", "*", ","])
def test_other_encodings_and_several_are_named(name):
    with pytest.raises(UnknownEncoding, match=name.replace("*", r"\*")):
        whole(b"{}", name)


@both
@pytest.mark.parametrize(
    "change",
    [lambda body: b"", lambda body: body[:-1], lambda body: body[: len(body) // 2], lambda body: body + b"x",
     lambda body: body + body, lambda body: b"{}" * 50, lambda body: b"\0" * 50],
)  # fmt: skip
def test_what_is_no_whole_stream_is_damaged(encoding, change):
    with pytest.raises(Damaged):
        whole(change(ENCODE[encoding](NOISE)), encoding)


def test_a_checksum_that_is_wrong_is_damage():
    with pytest.raises(Damaged):
        whole(gzip.compress(b"{}")[:-8] + bytes(8), "gzip")


@both
def test_the_bound_is_exact(encoding):
    body = ENCODE[encoding](NOISE)
    assert whole(body, encoding, len(NOISE)) == NOISE
    with pytest.raises(Inflated):
        whole(body, encoding, len(NOISE) - 1)


@both
def test_what_came_small_may_not_become_large(encoding):
    body = ENCODE[encoding](bytes(FREE_OF_RATIO_BYTES))
    assert len(whole(body, encoding)) == FREE_OF_RATIO_BYTES
    with pytest.raises(Inflated) as caught:
        whole(ENCODE[encoding](bytes(FREE_OF_RATIO_BYTES + 1)), encoding)
    assert caught.value.most == FREE_OF_RATIO_BYTES


@both
def test_no_more_than_the_bound_is_ever_inflated(encoding):
    pieces = inflated(BOMBS[encoding](1024 * 1024), encoding, MOST)
    made = []
    with pytest.raises(Inflated):
        made.extend(len(piece) for piece in pieces)
    assert MOST - PIECE_BYTES < sum(made) <= MOST


def test_a_decoder_need_not_set_aside_more_than_8_mib():
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    with pytest.raises(Damaged, match="memory"):
        whole(compressor.compress(NOISE) + compressor.flush(), "zstd")
