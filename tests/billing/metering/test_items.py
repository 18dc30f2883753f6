"""What is left out of a batch: Python and the database must mean the same by it."""

import uuid

import msgspec
import pytest

from billing.record import Settlement
from tests.billing.books import hold_of

ONE = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("item", "function"),
    [
        (Settlement(id=ONE, state="void", usage_source="none", status=None), "billing_ends_of"),
        (hold_of(id=ONE), "billing_holds_of"),
    ],
    ids=["end", "hold"],
)
def test_what_is_left_out_is_the_default_of_both(books, item, function):
    encoded = msgspec.json.encode([item])
    written = msgspec.json.decode(encoded)[0].keys()
    assert written == {field.name for field in msgspec.structs.fields(item) if field.required}
    row = books.execute(f"SELECT * FROM {function}(%s::json)", encoded.decode()).fetchone()
    assert row.keys() == set(item.__struct_fields__)
    assert msgspec.convert(row, type(item), strict=False) == item
