"""prompt_cache_key: told apart upward, and back as it was."""

import json
import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.cache_key import LONGEST, CacheKey

ACME, GLOBEX = uuid.uuid4(), uuid.uuid4()


@given(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=80)), st.booleans())
def test_what_the_upstream_says_it_got_is_what_the_tenant_sent_and_no_other_byte_changes(key, escaped):
    own = CacheKey(ACME, key)
    assert len(own.upward) <= LONGEST
    before, after = b'{"id":"x", "prompt_cache_key" : ', b', "usage":null}'
    said = before + json.dumps(own.upward, ensure_ascii=escaped).encode() + after
    restored = own.restored(said)
    assert restored.startswith(before)
    assert restored.endswith(after)
    assert json.loads(restored)["prompt_cache_key"] == key


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_what_was_kept_by_the_upstream_is_restored_without_what_was_sent(key):
    said = json.dumps({"prompt_cache_key": CacheKey(ACME, key).upward}).encode()
    assert json.loads(CacheKey(ACME).restored(said)) == {"prompt_cache_key": key}


def test_keys_of_two_organizations_never_meet():
    keys = [None, "a", "b", "k" * 100, "k" * 101]
    upward = [CacheKey(organization, key).upward for organization in (ACME, GLOBEX) for key in keys]
    assert len(set(upward)) == len(upward)


def test_a_text_that_quotes_an_answer_is_left_as_it_is():
    own = CacheKey(ACME, "mine")
    quoted = json.dumps({"text": json.dumps({"prompt_cache_key": own.upward})}).encode()
    assert own.restored(quoted) == quoted
    assert own.restored(b'{"text": "%b"}' % own.upward.encode()) == b'{"text": "%b"}' % own.upward.encode()
