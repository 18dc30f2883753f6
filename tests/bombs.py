"""Compressed bodies that inflate to thousands of times their size, made without inflating them first."""

import zlib

ZSTD_HEAD = b"\x28\xb5\x2f\xfd\x00\x38"  # a window of 128 KiB, no size said
ZSTD_BLOCK = (1 << 1 | 131_072 << 3).to_bytes(3, "little") + b"x"  # one byte, 128 KiB times
GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"


def zstd_bomb(size):
    """`size` bytes that become 32,768 times as many: a MiB becomes 32 GiB."""
    return ZSTD_HEAD + ZSTD_BLOCK * (size // len(ZSTD_BLOCK))


def gzip_bomb(size):
    """`size` bytes that become about 1,000 times as many: 10 MiB become 10 GiB."""
    compressor = zlib.compressobj(9, wbits=-15)
    megabyte = compressor.compress(b"x" * 1024 * 1024) + compressor.flush(zlib.Z_FULL_FLUSH)
    return GZIP_HEAD + megabyte * (size // len(megabyte))


BOMBS = {"gzip": gzip_bomb, "zstd": zstd_bomb}
