"""API keys as strings: made, checked for typing errors, hidden and digested. Pure; randomness comes from `secrets`.

A key is ``sk-tg-`` + 33 random base62 characters (196 bits) + 6 base62 characters of the CRC32 of what precedes them,
so that garbage is refused without a lookup. Only the digest is stored: HMAC-SHA256 under a pepper that is not in the
database, whose version stands beside it.
"""

import hmac
import re
import secrets
import string
import zlib

PREFIX = "sk-tg-"
RANDOM_LENGTH = 33
CHECKSUM_LENGTH = 6
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # the digits of 62 x 62
PATTERN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def generate() -> str:
    """A new key, 45 characters."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _checksum(body)


def is_wellformed(key: str) -> bool:
    """Whether prefix, length, alphabet and checksum hold; says nothing about whether the key was ever issued."""
    return PATTERN.fullmatch(key) is not None and _checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def digest(key: str, pepper: bytes) -> bytes:
    """What is stored instead of the key: 32 bytes."""
    return hmac.digest(pepper, key.encode(), "sha256")


def hint(key: str) -> str:
    """What people recognise a key by: its first 10 and last 4 characters."""
    return f"{key[:10]}...{key[-4:]}"


def _checksum(body: str) -> str:
    number, last = divmod(zlib.crc32(body.encode()), len(PAIRS))
    first, middle = divmod(number, len(PAIRS))
    return PAIRS[first] + PAIRS[middle] + PAIRS[last]
