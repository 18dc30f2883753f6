"""Encrypted content as a client sees it: opaque, and good for the account alone that it was made for."""

import hmac
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

SECRET = b"a simulator keeps no secrets"  # one for all, so that a restarted simulator knows what it made before
VERSION = b"\x80"  # of a Fernet token, whose form this is: version, time, random bytes, MAC
MAC_BYTES = 32
HEAD_BYTES = 9


def seal(account: str, size: int = 180) -> str:
    """About four characters for three of `size` bytes; begins with gAAAAA as the real one does."""
    content = VERSION + int(time.time()).to_bytes(HEAD_BYTES - 1, "big") + os.urandom(size)
    return urlsafe_b64encode(content + _mac(account, content)).decode()


def is_sealed(account: str, text: str) -> bool:
    """Whether `seal` made it for this account, and nobody altered it."""
    try:
        sealed = urlsafe_b64decode(text.encode())
    except ValueError:
        return False
    content, mac = sealed[:-MAC_BYTES], sealed[-MAC_BYTES:]
    return hmac.compare_digest(mac, _mac(account, content)) and urlsafe_b64encode(sealed) == text.encode()


def _mac(account: str, content: bytes) -> bytes:
    return hmac.digest(SECRET, account.encode() + b"\0" + content, "sha256")
