import pytest

from gateway import sealing
from gateway.sealing import CannotUnseal, seal, unseal

SECRET = b"sk-provider-0123456789"
ROW, OTHER_ROW = b"gateway_upstream:1", b"gateway_upstream:2"


def test_what_was_sealed_opens_in_its_row():
    assert unseal(seal(SECRET, ROW), ROW) == SECRET
    assert unseal(memoryview(seal(b"", ROW)), ROW) == b""


def test_it_shows_nothing_and_is_never_the_same_twice():
    sealed = seal(SECRET, ROW)
    assert SECRET not in sealed
    assert sealed != seal(SECRET, ROW)
    assert len(sealed) == 1 + sealing.NONCE_LENGTH + len(SECRET) + 16


def test_moved_to_another_row_it_does_not_open():
    with pytest.raises(CannotUnseal, match="belongs to another row: enter the key again"):
        unseal(seal(SECRET, ROW), OTHER_ROW)


def test_altered_anywhere_it_does_not_open():
    sealed = seal(SECRET, ROW)
    for place in range(len(sealed)):
        altered = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(CannotUnseal):
            unseal(altered, ROW)


def test_cut_short_it_does_not_open():
    sealed = seal(SECRET, ROW)
    for length in range(len(sealed)):
        with pytest.raises(CannotUnseal):
            unseal(sealed[:length], ROW)


def test_a_version_that_is_not_configured_is_named(settings):
    sealed = seal(SECRET, ROW)
    settings.SEALING_KEYS = {7: bytes(32)}
    with pytest.raises(CannotUnseal, match="key version 1, which SEALING_KEYS does not have: add it there"):
        unseal(sealed, ROW)


def test_new_values_are_sealed_under_the_newest_key_and_old_ones_still_open(settings):
    old = seal(SECRET, ROW)
    settings.SEALING_KEYS = {**settings.SEALING_KEYS, 9: bytes(range(32))}
    assert seal(SECRET, ROW)[0] == 9
    assert unseal(old, ROW) == SECRET
    settings.SEALING_KEYS = {1: bytes(32)}
    with pytest.raises(CannotUnseal):
        unseal(old, ROW)
