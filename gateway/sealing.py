"""Secrets at rest: AES-256-GCM under a versioned key from settings.SEALING_KEYS, bound to the row they belong to.

Form: 1 byte key version | 12 bytes nonce | ciphertext and tag. The row's name is the associated data.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

NONCE_LENGTH = 12


class CannotUnseal(Exception):
    """The sealed value does not open: its key is not configured, or it was changed or moved to another row."""


def seal(plaintext: bytes, context: bytes) -> bytes:
    version = max(settings.SEALING_KEYS)
    nonce = secrets.token_bytes(NONCE_LENGTH)
    return bytes([version]) + nonce + AESGCM(settings.SEALING_KEYS[version]).encrypt(nonce, plaintext, context)


def unseal(sealed: bytes, context: bytes) -> bytes:
    if len(sealed) < 1 + NONCE_LENGTH:
        raise CannotUnseal("The sealed value was cut short: enter the key again.")
    version, nonce, ciphertext = sealed[0], sealed[1 : 1 + NONCE_LENGTH], sealed[1 + NONCE_LENGTH :]
    if version not in settings.SEALING_KEYS:
        raise CannotUnseal(f"Sealed under key version {version}, which SEALING_KEYS does not have: add it there.")
    try:
        return AESGCM(settings.SEALING_KEYS[version]).decrypt(nonce, ciphertext, context)
    except InvalidTag as error:
        raise CannotUnseal("The sealed value was changed or belongs to another row: enter the key again.") from error
