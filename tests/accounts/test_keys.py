import hashlib
import hmac
import zlib
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from accounts import keys

MADE = [keys.generate() for _ in range(20)]


def test_a_key_has_its_form_and_no_two_are_the_same():
    made = {keys.generate() for _ in range(500)}
    assert len(made) == 500
    assert all(len(key) == 45 and key.startswith("sk-tg-") and key[6:].isalnum() and key.isascii() for key in made)
    assert all(keys.is_wellformed(key) for key in made)


def test_every_character_of_the_alphabet_is_used():
    assert set("".join(keys.generate()[6:39] for _ in range(200))) == set(keys.ALPHABET)
    assert len(set(keys.ALPHABET)) == 62


def test_the_checksum_is_the_crc_in_base62():
    key = MADE[0]
    number = 0
    for character in key[-6:]:
        number = number * 62 + keys.ALPHABET.index(character)
    assert number == zlib.crc32(key[:-6].encode())


def test_every_single_wrong_character_is_refused():
    key = MADE[0]
    for place in range(len(key)):
        for other in {*keys.ALPHABET, "-", "_", " ", "é"} - {key[place]}:
            assert not keys.is_wellformed(key[:place] + other + key[place + 1 :])


def test_every_transposition_of_neighbours_is_refused():
    for key, place in product(MADE, range(44)):
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert swapped == key or not keys.is_wellformed(swapped)


def test_a_character_too_many_or_too_few_is_refused():
    key = MADE[0]
    for place in range(len(key) + 1):
        assert not keys.is_wellformed(key[:place] + "a" + key[place:])
        assert place == len(key) or not keys.is_wellformed(key[:place] + key[place + 1 :])
    assert not keys.is_wellformed(key + "\n")


@given(st.one_of(st.text(), st.text(keys.ALPHABET, min_size=39, max_size=39).map(keys.PREFIX.__add__)))
def test_garbage_is_refused(text):
    assert not keys.is_wellformed(text)


def test_the_digest_is_keyed_by_the_pepper():
    key = MADE[0]
    assert keys.digest(key, b"pepper") == hmac.new(b"pepper", key.encode(), hashlib.sha256).digest()
    assert keys.digest(key, b"pepper") != keys.digest(key, b"another")


def test_the_hint_shows_both_ends_and_no_more():
    key = MADE[0]
    assert keys.hint(key) == f"{key[:10]}...{key[-4:]}"
