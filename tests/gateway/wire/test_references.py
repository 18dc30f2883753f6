"""What may name a stored object, what an answer gives away, and by what that is known again."""

from base64 import b64encode
from string import ascii_lowercase, ascii_uppercase, digits

from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.free_form import FREE_FORM
from gateway.wire.references import (
    HARMLESS,
    REFERENCES,
    Kind,
    digest_of,
    is_id_like,
    issued_in,
)

BASE64 = ascii_uppercase + ascii_lowercase + digits + "+/"
URL_SAFE = str.maketrans("+/", "-_")


def test_a_long_key_is_judged_in_a_time_that_goes_with_its_length():
    assert not is_id_like("id " * 300_000 + "x")
    assert is_id_like("x" * 300_000 + "_id" + " " * 300_000)


def test_no_field_is_in_two_tables():
    assert not set(REFERENCES) & HARMLESS
    assert not set(REFERENCES) & FREE_FORM


def test_what_an_answer_gives_away_is_known_again():
    output = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "secret"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "file_id='f'"},
        {"type": "shell_call", "id": "sh_1", "environment": {"type": "container_reference", "container_id": "cntr_2"}},
        {"type": "message", "id": "msg_1", "content": [
            {"text": "file_id", "annotations": [{"file_id": "cfile_1", "container_id": "cntr_1"}]}]},
        {"type": "file_search_call", "id": "fs_1", "results": [{"file_id": "file_1", "text": "file_2"}, None]},
        {"type": "mcp_list_tools", "id": "mcpl_1", "tools": [{"annotations": {"file_id": "file_of_another"}}]},
        None, 7, "x", {"id": 5},
    ]  # fmt: skip
    assert set(issued_in(output)) == {
        (Kind.ITEM, "rs_1"), (Kind.ITEM, "ci_1"), (Kind.ITEM, "sh_1"), (Kind.ITEM, "msg_1"), (Kind.ITEM, "mcpl_1"),
        (Kind.ITEM, "fs_1"), (Kind.OBJECT, "file_1"),
        (Kind.CONTENT, "secret"), (Kind.OBJECT, "cntr_1"), (Kind.OBJECT, "cntr_2"), (Kind.OBJECT, "cfile_1"),
    }  # fmt: skip
    assert not [*issued_in(None), *issued_in("x")]
    assert digest_of(Kind.CITED, "file_1") == digest_of(Kind.OBJECT, "file_1")
    assert digest_of(Kind.CARRIED, "rs_1") == digest_of(Kind.ITEM, "rs_1") != digest_of(Kind.OBJECT, "rs_1")


@given(content=st.binary(min_size=1), breaks=st.lists(st.tuples(st.integers(0), st.sampled_from("\n =.\t\0é"))))
def test_encrypted_content_is_known_in_whichever_spelling(content, breaks):
    text = b64encode(content).decode()
    unused = {0: 1, 1: 16, 2: 4}[len(content) % 3]  # so many last letters mean the same
    bare = text.rstrip("=")
    last = BASE64[BASE64.index(bare[-1]) + unused - 1]
    spelled = bare[:-1] + last
    for at, junk in breaks:
        spelled = spelled[: at % (len(spelled) + 1)] + junk + spelled[at % (len(spelled) + 1) :]
    digest = digest_of(Kind.CONTENT, text)
    assert {digest_of(Kind.CONTENT, s) for s in (bare, spelled, spelled.translate(URL_SAFE))} == {digest}
    assert digest_of(Kind.CONTENT, b64encode(content + b"x").decode()) != digest


def test_encrypted_content_that_is_no_base64_is_known_as_it_is_written():
    spelled = ["", "=", "你", "好", "B", "\ud800", "QQ"]
    assert len({digest_of(Kind.CONTENT, each) for each in spelled}) == len(spelled)


def test_a_name_is_no_content():
    assert digest_of(Kind.ITEM, "rs_1") != digest_of(Kind.ITEM, "rs-1")
    assert digest_of(Kind.OBJECT, "QQ") != digest_of(Kind.OBJECT, "QQ==")
